"""A listener that tells a job to a logger of Lightning: its settings, every epoch, and the figures at the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dnal.train.listener import Listener

if TYPE_CHECKING:
    from lightning.fabric.loggers.logger import Logger

    from dnal.pipeline.result import Learned


class Log(Listener):
    """Tells a job to ``logger``, one of Lightning Fabric or of PyTorch Lightning.

    An epoch is a step of the log: the epochs of all phases in their order, 1, 2, ..., with their records under
    PHASE/NAME, such as base/loss and architecture/macs_hard. One step further stand the figures of the result, under
    result/NAME, such as result/compact_accuracy. A job that goes on from a checkpoint goes on with its steps.

    What the logger does not take is warned of and does not end the job. A context manager: the log of a job that
    ended early is closed as failed.

    Args:
        config: said beside the job's own settings.
    """

    def __init__(self, logger: Logger, config: Mapping[str, Any] | None = None) -> None:
        self._logger: Logger | None = logger
        self._config = dict(config or {})
        self._epochs = 0

    def start(self, settings: dict[str, Any]) -> None:
        self._told(lambda logger: logger.log_hyperparams({**self._config, **settings}))

    def resumed(self, history: list[dict[str, Any]], steps: int) -> None:
        self._epochs = len(history)

    def epoch(self, record: dict[str, Any]) -> None:
        self._epochs += 1
        self._told(lambda logger: logger.log_metrics(metrics_of(record), step=self._epochs))
        self._told(lambda logger: logger.save())  # were the process killed, the epoch would be there

    def finish(self, learned: Learned) -> None:
        self._told(lambda logger: logger.log_metrics(figures_of(learned), step=self._epochs + 1))
        self._close("success")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close("failed")

    def _close(self, status: str) -> None:
        self._told(lambda logger: logger.finalize(status))
        self._logger = None

    def _told(self, tell: Callable[[Logger], object]) -> None:
        if self._logger is None:
            return
        try:
            tell(self._logger)
        except Exception as error:  # a server that is gone, in whatever way, is not worth the job
            warnings.warn(
                f"{type(self._logger).__name__} did not take a part of the log ({' '.join(str(error).split())}); "
                "the job goes on.",
                stacklevel=3,
            )


def metrics_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch's record, by PHASE/NAME."""
    places = ("phase", "epoch", "epochs")
    return {
        f"{record['phase']}/{name}": float(value)
        for name, value in record.items()
        if name not in places and isinstance(value, int | float)
    }


def figures_of(learned: Learned) -> dict[str, float]:
    """The figures of both networks, and whether every bound of the budget holds, by result/NAME."""
    rows = learned.figures.rows()
    figures = {f"result/{which}_{name}": float(value) for which, row in rows.items() for name, value in row.items()}
    if learned.constraints:
        figures["result/holds"] = float(all(bound["holds"] for bound in learned.constraints))
    return figures
