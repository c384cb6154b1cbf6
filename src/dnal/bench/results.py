"""results.csv: a row per run, with every setting; what stands there is not run again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from dnal.base.atomic import write_text
from dnal.base.errors import UserError
from dnal.bench.ground import folder_of
from dnal.bench.jobs import Run
from dnal.bench.run import row_file

RESULTS, FAILED = "results.csv", "failed.txt"

Row = dict[str, str]
"""As CSV has it."""


def key_of(row: Row) -> Run:
    """Which run a row is of."""
    return Run(row["network"], float(row["share"]), int(row["seed"]), row["taught"] == "1", row["entry"])


def read_results(out: Path) -> dict[Run, Row]:
    """The rows of a folder, by run.

    Raises:
        UserError: the file is not one of ours.
    """
    path = out / RESULTS
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return {key_of(row): row for row in rows}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"'{path}' is no table of `dnal bench`; move it away, or choose another folder.") from None


def gather(out: Path, runs: Iterable[Run]) -> dict[Run, Row]:
    """The rows of the table, and those of runs that ended when nobody was there to write them."""
    rows = read_results(out)
    for run in runs:
        if run not in rows and row_file(out, run).is_file():
            rows[run] = read_row(out, run)
    return rows


def failures(out: Path, runs: Iterable[Run]) -> dict[Run, str]:
    """Which rows are :class:`Impossible`, and why."""
    files = {run: folder_of(out, run.name) / FAILED for run in runs}
    return {run: file.read_text(encoding="utf-8").rstrip("\n") for run, file in files.items() if file.is_file()}


def write_failure(out: Path, run: Run, why: str) -> None:
    """Keeps why a row cannot be made."""
    write_text(folder_of(out, run.name) / FAILED, why + "\n")


def read_row(out: Path, run: Run) -> Row:
    """The row that a finished run has left."""
    document = json.loads(row_file(out, run).read_text(encoding="utf-8"))
    return {name: str(value) for name, value in document.items()}


def write_results(out: Path, rows: dict[Run, Row], order: Sequence[Run]) -> None:
    """All rows, those of ``order`` first and in its order."""
    listed = [*(run for run in order if run in rows), *(run for run in rows if run not in set(order))]
    if not listed:
        return
    text = io.StringIO()
    columns = list(dict.fromkeys(name for run in listed for name in rows[run]))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[run] for run in listed)
    write_text(out / RESULTS, text.getvalue())
