"""The options as the commands need them: numbers within their ranges, and the help that several of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnal.base.errors import UserError
from dnal.base.options import Range, word_of
from dnal.loggers.names import NAMES
from dnal.settings import MOST

NETWORK, LEARNING, PLACE, RUN = "Network and data", "Learning", "Processes", "The run"
"""Headings of the options in the help of the commands that begin a job."""
DEVICES = "Processes on this machine, one a device; default 1, or what torchrun or SLURM started."
NODES = "Machines; default 1, or what the launcher says."
STRATEGY = (
    "How processes train together: a strategy of Lightning Fabric, such as ddp; auto: ddp where there are several."
)
CHECKPOINT_EVERY = "Steps between checkpoints; ends of epochs and phases are kept besides."
LOG_TO = f"Also log the run to {', '.join(NAMES[:-1])} or {NAMES[-1]} (extras of these names install them); repeatable."
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for other programs.")]
"""Every command's; progress goes to stderr then."""
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only what a script needs, and no progress.")]
"""Of the commands that take their time."""
TRUST = (
    "a package that RUN names, whose code may be run; a model, which may have any size and fetch its weights; or data, "
    "which may be fetched; repeatable."
)
REPORT = "Write report.html at the end; `dnal report` does it later too."

Model = Annotated[str, typer.Option(metavar="M", help="A name of `dnal models`, or the folder of a finished run.")]
"""Of the commands that look at a network without data."""

With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="NAME[:KEY=VALUE,...]",
        help="A technique to train with, beside the method's own; `dnal techniques` lists all; repeatable.",
        rich_help_panel=LEARNING,
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A technique of the method's own to leave out, such as distillation; repeatable.",
        rich_help_panel=LEARNING,
    ),
]
Devices = Annotated[int | None, typer.Option(metavar="N", help=DEVICES, rich_help_panel=PLACE)]
Nodes = Annotated[int | None, typer.Option(metavar="N", help=NODES, rich_help_panel=PLACE)]
Strategy = Annotated[str, typer.Option(metavar="S", help=STRATEGY, rich_help_panel=PLACE)]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Folder of the run, or of the runs of several budgets or methods; default: in runs/.",
        rich_help_panel=RUN,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run at --out.", rich_help_panel=RUN)]
CheckpointEvery = Annotated[int, typer.Option(metavar="N", help=CHECKPOINT_EVERY, rich_help_panel=RUN)]
LogTo = Annotated[list[str] | None, typer.Option(metavar="L", help=LOG_TO, rich_help_panel=RUN)]
Report = Annotated[bool, typer.Option("--report/--no-report", help=REPORT, rich_help_panel=RUN)]
"""Options of the commands that begin a job."""

COUNT = Range(least=1, most=MOST)
AMOUNT = Range(above=0, most=1e30)


def within(range: Range, option: str, value: float | None) -> None:
    """Refuses a number outside of the range; None is one that was not given."""
    if value is not None and not range.holds(value):
        raise UserError(f"{option} is {range}, not {word_of(value)}.")
