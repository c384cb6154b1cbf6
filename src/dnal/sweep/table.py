"""trials.csv: a row per trial, in the order of the configuration."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnal.base.cells import inert
from dnal.base.errors import UserError
from dnal.base.reading import json_of
from dnal.sweep.attempt import attempts, last_words
from dnal.sweep.configuration import Value

Row = dict[str, Any]

GROUPS = ("base", "compact", "asked", "got", "predicted", "seconds")
"""Figures of result.json, as GROUP_FIGURE: of both networks, per bounded cost, and per phase."""
LARGEST = 2**20
"""Bytes of a result.json."""
FINISHED, FAILED, WAITING = "finished", "failed", "waiting"


def row_of(
    name: str, settings: Mapping[str, Value], run: str | Path, log: Path, result: Path, command: str, *, over: bool
) -> Row:
    """What is known of a trial.

    Args:
        settings: what varies. run: the run's folder, as a user would write it.
        log, result: files of the trial, which need not be there.
        command: what reproduces it. over: it is not gone on with.

    Raises:
        UserError: one of these files is damaged.
    """
    row: Row = {"trial": name, **settings}
    figures = _read(result) if result.is_file() else {}
    finished = bool(figures)
    row["status"] = FINISHED if finished else FAILED if over else WAITING
    row["attempts"] = attempts(log)
    row |= figures
    row |= {"run": str(run), "command": command, "error": "" if finished else last_words(log)}
    return row


def csv_of(rows: Sequence[Row], varied: Sequence[str]) -> str:
    """The table as CSV; a figure that only some trials have is empty elsewhere."""
    figures = [
        column
        for group in GROUPS
        for column in dict.fromkeys(key for row in rows for key in row)
        if column.startswith(f"{group}_") and column not in varied
    ]
    columns = ["trial", *varied, "status", "attempts", *figures, "holds", "run", "command", "error"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(inert, columns))
    writer.writerows([inert(cell(row.get(column))) for column in columns] for row in rows)
    return text.getvalue()


def _read(path: Path) -> Row:
    """The figures of result.json.

    Raises:
        UserError: it is no result; with what makes it again.
    """
    remedy = f"remove the folder '{path.parent}', and the same command makes this trial again"
    result = json_of(path, LARGEST, remedy=remedy)
    try:
        row = _figures(result)
        if not all(value is None or isinstance(value, int | float) for value in row.values()):
            raise TypeError
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"'{path}' is no result of a run; {remedy}.") from None
    return row


def _figures(result: Mapping[str, Any]) -> Row:
    """result.json as one level of names."""
    row: Row = {}
    for group in ("base", "compact", "seconds"):
        row |= {f"{group}_{figure}": value for figure, value in result[group].items()}
    for bound in result["constraints"]:
        row |= {f"{key}_{bound['cost']}": bound[key] for key in ("asked", "got", "predicted") if key in bound}
    if result["constraints"]:
        row["holds"] = all(bound["holds"] for bound in result["constraints"])
    return row


def cell(value: object) -> str:
    """As YAML would have it; an option that was left out is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(cell, value))
    return repr(value) if isinstance(value, float) else str(value)
