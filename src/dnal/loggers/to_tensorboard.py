"""TensorBoard's files, in the job's own folder: `tensorboard --logdir runs` shows all runs side by side."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.tensorboard import TensorBoardLogger

from dnal.base.errors import UserError
from dnal.loggers.names import BOARD
from dnal.loggers.opened import Opened

FIGURES = ("compact_accuracy", "compact_macs", "compact_params", "compact_latency_ms", "base_accuracy")
"""Of the result, beside the settings in the table of all runs."""


class Board(TensorBoardLogger):
    """Fabric's logger; settings stand in TensorBoard's table from the start, and the figures join them at the end."""

    def log_hyperparams(
        self,
        params: dict[str, Any] | Namespace,
        metrics: dict[str, Any] | None = None,
        step: int | None = None,
    ) -> None:
        from torch.utils.tensorboard.summary import hparams

        if metrics is not None or isinstance(params, Namespace):
            super().log_hyperparams(params, metrics, step)
            return
        # Lightning's own would draw placeholders of the figures as if they were measured.
        plain = self._sanitize_params({name: _plain(value) for name, value in params.items()})
        for summary in hparams(plain, {f"result/{figure}": None for figure in FIGURES})[:2]:
            self.experiment._get_file_writer().add_summary(summary)
        self.experiment.flush()

    def cut(self, epochs: int) -> None:
        """TensorBoard forgets the steps after so many; before the first is written."""
        self._kwargs["purge_step"] = epochs + 1


def opened(folder: Path, known: str | None) -> Opened:
    """The files in ``folder``; a log that goes on has another file there.

    Raises:
        UserError: their folder is a link, through which they would be written elsewhere.
    """
    if (folder / BOARD).is_symlink():
        raise UserError(f"'{folder / BOARD}' is a link; remove it, and the log is written into the run.")
    board = Board(folder, name="", version=BOARD)
    return Opened(board, BOARD, board.cut)


def _plain(value: object) -> object:
    """Lists as people read them."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
