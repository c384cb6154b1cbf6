"""What the terminal shows while learning: the search space, then progress bars."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dnal.cli.display import amount, line, percent
from dnal.cli.summary import print_ranges, space_line
from dnal.train.listener import Listener

if TYPE_CHECKING:
    from dnal.data.objective import Objective
    from dnal.space.space import Space

SMOOTHING = 0.05
ROOMY = 90
"""Columns of a terminal from which a bar fits beside what is said."""


class SpaceShown(Listener):
    """Prints what may vary, the reachable range of every cost and where it is computed, before anything is trained."""

    def __init__(self) -> None:
        self._ranges_shown = False

    def start(self, settings: dict[str, Any]) -> None:
        if self._ranges_shown:  # once for all runs of a trade-off
            return
        self._ranges_shown = True
        threads = settings["threads"]
        line(
            f"trains on {settings['device']}, {settings['precision']}, {settings['memory_format']}, "
            f"{threads} thread{'' if threads == 1 else 's'}, "
            f"{settings['processes']} process{'' if settings['processes'] == 1 else 'es'}"
        )
        line()

    def space(self, space: Space, ranges: list[dict[str, Any]]) -> None:
        line(space_line(space.num_variables, len(space.groups), space.num_branches, space.removable_share))
        line()
        print_ranges(ranges)
        line()


class ProgressBars(Listener):
    """A bar per phase on stderr: epoch, loss, MACs of the open gates, undecided gates, time left. A context manager.

    Shows nothing where stderr is no terminal, or if not ``shown``.
    """

    def __init__(self, *, shown: bool = True) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description:12}", markup=False),
            *((BarColumn(bar_width=None),) if console.width >= ROOMY else ()),
            TextColumn("{task.fields[status]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._bars = Progress(*columns, console=console, expand=True, disable=not (shown and console.is_terminal))
        self._task: TaskID | None = None
        self._steps = self._epochs = self._done = 0
        self._loss = 0.0
        self._measured = ""
        self._macs: float | None = None
        self._runs = self._run = 0
        self._phase = ""

    def __enter__(self) -> ProgressBars:
        if not self._bars.disable:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bars.disable:  # older versions of rich print an empty line even so
            self._bars.stop()

    def profiling(self, what: str, done: int, total: int) -> None:
        if done == 0:
            self._task = self._bars.add_task("profile", total=total, status=what)
        if self._task is not None:
            self._bars.update(self._task, completed=done, status=f"{what} {done}/{total}")

    def space(self, space: Space, ranges: list[dict[str, Any]]) -> None:
        self._macs = next((row["base"] for row in ranges if row["cost"] == "macs"), None)

    def start(self, settings: dict[str, Any]) -> None:
        self._runs += 1

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        if name == "architecture" or (name == "retrain" and self._phase != "architecture"):
            self._run += 1
        which = f" {self._run}/{self._runs}" if self._runs > 1 and self._run else ""
        self._phase = name
        self._steps, self._epochs, self._done, self._measured = steps_per_epoch, epochs, 0, ""
        self._task = self._bars.add_task(f"{name}{which}", total=epochs * steps_per_epoch, status="")

    def resumed(self, history: list[dict[str, Any]], steps: int) -> None:
        self._done = steps
        if self._task is not None:  # as a new beginning: steps of another day say nothing of the time left
            self._bars.reset(self._task, total=self._epochs * self._steps, completed=steps)

    def step(self, loss: float) -> None:
        # The loss of one batch jumps; shown is a running mean.
        self._loss = loss if self._done == 0 else self._loss + SMOOTHING * (loss - self._loss)
        self._done += 1
        epoch = min(self._epochs, 1 + (self._done - 1) // max(1, self._steps))
        self._show(epoch, completed=self._done)

    def epoch(self, record: dict[str, Any]) -> None:
        parts = []
        if "macs_hard" in record:
            hard = record["macs_hard"]
            parts.append(f"MACs {percent(hard / self._macs) if self._macs else amount(hard, 3)}")
        if "undecided" in record:
            parts.append(f"undecided {percent(record['undecided'], 0)}")
        # While gates are learned they tell more than the accuracy, and both do not fit into 80 columns.
        if not parts:
            parts += [f"{aim.words} {aim.shown(record[aim.figure])}" for aim in _known(record)]
        self._measured = "".join(f"  {part}" for part in parts)
        self._show(record["epoch"])

    def _show(self, epoch: int, completed: int | None = None) -> None:
        if self._task is not None:
            status = f"epoch {epoch}/{self._epochs}  loss {self._loss:.3f}{self._measured}"
            self._bars.update(self._task, completed=completed, status=status)


def _known(record: dict[str, Any]) -> list[Objective]:
    """The objective whose metric an epoch's record has, if it has one."""
    from dnal.data.objective import OBJECTIVES

    return [aim for aim in OBJECTIVES.values() if record.get(aim.figure) is not None][:1]
