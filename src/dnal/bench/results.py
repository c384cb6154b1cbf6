"""results.csv: a row per run, with every setting; what stands there is not run again."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from dnal.base.atomic import write_text
from dnal.base.errors import UserError, one_line
from dnal.base.reading import json_of, text_of
from dnal.base.rows import Row, read_table, write_table
from dnal.bench.ground import folder_of
from dnal.bench.jobs import Run
from dnal.bench.run import row_file
from dnal.data.objective import CLASSIFICATION, OBJECTIVES

RESULTS, FAILED = "results.csv", "failed.txt"
LARGEST_ROW = 2**20
"""Bytes of one row or the reason why there is none."""
TABLE = "table of `dnal bench`"
LONGEST_REASON = 2000
"""Characters of it."""
NUMBERS = (
    "accuracy", "base_accuracy", "base_macs", "used", "samples", "rate", "choosing_seconds", "base_seconds",
)  # fmt: skip
TEXTS = ("epochs", "dnal", "torch", "device")
"""What the tables say of a row."""


def metric_of(row: Row) -> str:
    """What the columns of accuracies hold, in words; rows of before there was a choice hold accuracies."""
    figure = row.get("metric") or CLASSIFICATION.figure
    return next((each.words for each in OBJECTIVES.values() if each.figure == figure), figure)


def key_of(row: Row) -> Run:
    """Which run a row is of."""
    return Run(row["network"], float(row["share"]), int(row["seed"]), row["taught"] == "1", row["entry"])


def read_results(out: Path) -> dict[Run, Row]:
    """The rows of a folder, by run.

    Raises:
        UserError: the file is not one of ours.
    """
    path = out / RESULTS
    remedy = "move it away, and the rows that stand in the folder 'jobs' are read again, or choose another folder"
    rows = read_table(path, TABLE, remedy)
    try:
        return {key_of(row): _checked(row) for row in rows}
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"'{path}' is no {TABLE}; {remedy}.") from None


def gather(out: Path, runs: Iterable[Run]) -> dict[Run, Row]:
    """The rows of the table, and those of runs that ended after the process that writes them.

    Raises:
        UserError: one of these files is damaged.
    """
    rows = read_results(out)
    for run in runs:
        if run not in rows and os.path.lexists(row_file(out, run)):
            rows[run] = read_row(out, run)
    return rows


def failures(out: Path, runs: Iterable[Run]) -> dict[Run, str]:
    """Which rows are :class:`Impossible`, and why.

    Raises:
        UserError: one of these files is damaged.
    """
    files = {run: folder_of(out, run.name) / FAILED for run in runs}
    return {run: _reason(file) for run, file in files.items() if os.path.lexists(file)}


def write_failure(out: Path, run: Run, why: str) -> None:
    """Keeps why a row cannot be made: one line."""
    write_text(folder_of(out, run.name) / FAILED, why + "\n")


def read_row(out: Path, run: Run) -> Row:
    """The row that a finished run has left.

    Raises:
        UserError: it is none, or that of another run.
    """
    path, remedy = row_file(out, run), "remove it, and the same command makes this row again"
    document = json_of(path, LARGEST_ROW, remedy=remedy)
    try:
        row = _checked({name: str(value) for name, value in document.items()})
        if key_of(row) != run:
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"'{path}' is no row of '{run.name}'; {remedy}.") from None
    return row


def _checked(row: Row) -> Row:
    """A row of which the tables can be made."""
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in row.items()):
        raise TypeError("more or fewer fields than columns")
    for name in NUMBERS:
        if not math.isfinite(float(row[name])):
            raise ValueError(name)
    int(row["samples"])
    for name in TEXTS:
        row[name].strip()
    return row


def _reason(file: Path) -> str:
    remedy = f"remove the folder '{file.parent}', and the same command tries this row again"
    return one_line(text_of(file, LARGEST_ROW, remedy=remedy), LONGEST_REASON)


def write_results(out: Path, rows: dict[Run, Row], order: Sequence[Run]) -> None:
    """All rows, those of ``order`` first and in its order."""
    listed = [*(run for run in order if run in rows), *(run for run in rows if run not in set(order))]
    write_table(out / RESULTS, [rows[run] for run in listed])
