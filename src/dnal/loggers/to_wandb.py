"""Weights & Biases: the project is `dnal`, or WANDB_PROJECT; WANDB_MODE, WANDB_DIR and the like are W&B's own."""

from __future__ import annotations

import os
from pathlib import Path

import wandb
from lightning.pytorch.loggers import WandbLogger

from dnal.loggers.opened import Opened


class Weights(WandbLogger):
    """Lightning's logger, which also ends the run."""

    def finalize(self, status: str) -> None:
        super().finalize(status)
        self.experiment.finish(exit_code=0 if status == "success" else 1)


def opened(folder: Path, known: str | None) -> Opened:
    """A run that is named like ``folder``, or the one that goes on; other runs of this process stay as they are."""
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "dnal"),
        name=folder.absolute().name,
        id=known,
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(console="off"),  # stdout belongs to the command; progress bars are no log
    )
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return Opened(Weights(experiment=run), run.id)
