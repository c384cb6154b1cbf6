"""The CSV that a benchmark fills row by row: what is there is not measured again."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a result file; none where there is none yet."""
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes a result file of rows that are measured together, instead of what was there."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def append_rows(path: Path, fields: Sequence[str], rows: Sequence[Mapping[str, object]]) -> list[dict[str, str]]:
    """Adds rows to a result file, and gives them back as :func:`read_rows` will read them."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields)
        if new:
            writer.writeheader()
        writer.writerows(rows)
    return [{field: str(row.get(field, "")) for field in fields} for row in rows]
