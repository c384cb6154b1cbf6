"""How a command ends that makes rows, of which some may be left: the same command goes on with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from dnal.base.rows import rows_are
from dnal.cli.display import line
from dnal.cli.errors import Ended, say

FAILURES = 1


@contextmanager
def heard(what: str) -> Iterator[Any]:
    """Signals: the first one stops after what is in progress, a second one ends the command at once.

    Args:
        what: is made, in the plural, such as "rows".
    """
    from dnal.cli.stopping import Signals, Terminated

    try:
        with Signals() as signals:
            yield signals
    except Terminated as terminated:
        raise Ended(
            terminated.number, f"ended at once; the same command goes on with the {what} that are left."
        ) from None


def failed(sentence: str) -> None:
    """Says that something went wrong, and ends the command.

    Raises:
        typer.Exit: with status 1.
    """
    say(sentence)
    raise typer.Exit(FAILURES)


def check_whole(signalled: int | None, *, killed: bool, left: int) -> None:
    """Ends a command that did not come to its end by itself.

    Raises:
        Ended: after a signal. typer.Exit: with status 1 where a process was killed.
    """
    if signalled is not None:
        raise Ended(signalled, "interrupted; the same command goes on.")
    if killed:
        failed(f"a process was killed; {rows_are(left)} left; the same command goes on.")


def tell_left(left: int) -> None:
    """Says how many rows are still to be made, if any are; that is no failure."""
    if left:
        line(f"{rows_are(left)} left; the same command goes on.")
