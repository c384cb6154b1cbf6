"""--log-to mlflow, read back from MLflow's own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from interrupted import interrupted

from cli_program import Program
from dnal import loggers
from dnal.base.errors import UserError
from dnal.loggers.log import metrics_of
from dnal.loggers.names import LOGGERS
from dnal.run import read_result
from dnal.run.files import LOG

pytestmark = pytest.mark.slow
mlflow = pytest.importorskip("mlflow")


@pytest.fixture(autouse=True)
def store(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new one."""
    uri = f"sqlite:///{here}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return uri


def test_a_killed_run_goes_on_in_its_own_log(
    store: str, here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted("mlflow", monkeypatch)
    client = mlflow.MlflowClient(store)
    key = json.loads((here / "run" / LOGGERS).read_text())["mlflow"]
    assert client.get_run(key).info.status == "FAILED"
    resumed = dnal("resume", "run", "--quiet")
    assert resumed.status == 0, resumed.err

    experiment = client.get_experiment_by_name("dnal")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (key, "run", "FINISHED")
    assert (run.data.params["model"], run.data.params["budget"]) == ("vgg_small", "macs<=30%")
    records = [json.loads(line) for line in (here / "run" / LOG).read_text().splitlines()]
    for step, record in enumerate(records, 1):
        for name, value in metrics_of(record).items():
            if not name.endswith("/seconds"):  # an epoch whose checkpoint was lost is told twice
                told = [metric.value for metric in client.get_metric_history(key, name) if metric.step == step]
                assert told == pytest.approx([value] * len(told)), (name, step)
                assert len(told) == (2 if step == 2 else 1)
    result = read_result(here / "run")
    assert run.data.metrics["result/compact_macs"] == result["compact"]["macs"]
    assert run.data.metrics["result/compact_accuracy"] == pytest.approx(result["compact"]["accuracy"])


def test_a_log_that_is_elsewhere_is_told(here: Path) -> None:
    (here / "run").mkdir()
    (here / "run" / LOGGERS).write_text('{"mlflow": "0123456789abcdef0123456789abcdef"}')
    log: Any = loggers.log_to("mlflow", here / "run")
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_URI to where it is"):
        log.space(None, [])
