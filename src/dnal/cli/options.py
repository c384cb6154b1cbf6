"""The options as the commands need them: numbers within their ranges, and the help that several of them share."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from dnal.base.errors import UserError
from dnal.loggers.names import NAMES
from dnal.settings import MOST

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
    "What RUN names and you know: a package, whose code may be run; a model, which may have any size and fetch its "
    "weights; data, which may be fetched; repeatable."
)
REPORT = "Write report.html at the end; `dnal report` does it later too."

MOST_REAL = 1e30


def whole(option: str, value: int | None, least: int = 1, most: int = MOST) -> None:
    """Refuses a number below ``least`` or above ``most``."""
    if value is not None and value < least:
        raise UserError(f"{option} is {least} or more, not {value}.")
    if value is not None and value > most:
        raise UserError(f"{option} is {most} or less, not {value}.")


def positive(option: str, value: float | None) -> None:
    """Refuses a number that is not finite and above zero, or of which float32 makes infinity."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise UserError(f"{option} is a number above zero, not {value:g}.")
    if value is not None and value > MOST_REAL:
        raise UserError(f"{option} is {MOST_REAL:g} or less, not {value:g}.")
