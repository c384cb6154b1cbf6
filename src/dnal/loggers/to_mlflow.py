"""MLflow: where MLFLOW_TRACKING_URI says, else MLflow's own file in the current directory; the experiment is `dnal`,
or MLFLOW_EXPERIMENT_NAME."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
from lightning.pytorch.loggers import MLFlowLogger
from mlflow.exceptions import MlflowException

from dnal.base.errors import UserError
from dnal.loggers.opened import Opened


def opened(folder: Path, known: str | None) -> Opened:
    """A run that is named like ``folder``, or the one that goes on.

    Raises:
        UserError: the run that goes on is not there.
    """
    where = mlflow.get_tracking_uri()
    client = mlflow.MlflowClient(where)
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "dnal")
    if known is not None:
        try:
            client.update_run(known, status="RUNNING")
        except MlflowException as error:
            raise UserError(
                f"the log of this run, {known}, is not in the MLflow of '{where}' ({error}); go on where it was begun, "
                "or set MLFLOW_TRACKING_URI to where it is."
            ) from None
        return Opened(MLFlowLogger(experiment, tracking_uri=where, run_id=known), known)
    found = client.get_experiment_by_name(experiment)
    group = client.create_experiment(experiment) if found is None else found.experiment_id
    run = client.create_run(group, run_name=folder.absolute().name).info.run_id
    return Opened(MLFlowLogger(experiment, tracking_uri=where, run_id=run), run)
