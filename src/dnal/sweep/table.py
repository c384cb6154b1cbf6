"""trials.csv: a row per trial, in the order of the configuration."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnal.sweep.attempt import attempts, last_words
from dnal.sweep.configuration import Value

Row = dict[str, Any]

GROUPS = ("base", "compact", "asked", "got", "predicted", "seconds")
"""Figures of result.json, as GROUP_FIGURE: of both networks, per bounded cost, and per phase."""
FINISHED, FAILED, WAITING = "finished", "failed", "waiting"


def row_of(
    name: str, settings: Mapping[str, Value], run: str | Path, log: Path, result: Path, command: str, *, over: bool
) -> Row:
    """What is known of a trial.

    Args:
        settings: what varies. run: the run's folder, as a user would write it.
        log, result: files of the trial, which need not be there.
        command: what reproduces it. over: nobody goes on with it.
    """
    row: Row = {"trial": name, **settings}
    figures = _figures(json.loads(result.read_text(encoding="utf-8"))) if result.is_file() else {}
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
    writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


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
