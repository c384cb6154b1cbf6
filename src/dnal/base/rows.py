"""A table as CSV, a row per thing that was done: whole or not there, and without formulas for a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnal.base.atomic import write_text
from dnal.base.cells import inert
from dnal.base.errors import UserError
from dnal.base.reading import text_of

LARGEST = 2**26
"""Bytes of a table."""

Row = dict[str, str]
"""As CSV has it."""


def read_table(path: Path, what: str, remedy: str) -> list[Row]:
    """The rows of a table; none where there is no file.

    Args:
        what: the file should be, such as "table of `dnal bench`". remedy: for the sentence that says that it is none.

    Raises:
        UserError: it is none.
    """
    if not os.path.lexists(path):
        return []
    text = text_of(path, LARGEST, remedy=remedy)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        rows = [{}]
    if not all(isinstance(word, str) for row in rows for pair in row.items() for word in pair) or {} in rows:
        raise UserError(f"'{path}' is no {what}; {remedy}.")  # damaged, or more or fewer fields than columns
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes a table with all columns that one of the rows has, in the order in which they first come; what a row has
    not is empty. Without a row nothing is written."""
    if not rows:
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(inert, columns))
    writer.writerows([inert(row.get(name, "")) for name in columns] for row in rows)
    write_text(path, text.getvalue())


def rows_are(number: int) -> str:
    """So many of them as the subject of a sentence, with its verb.

    Examples:
        >>> rows_are(1), rows_are(3)
        ('1 row is', '3 rows are')
    """
    return f"{number} row is" if number == 1 else f"{number} rows are"
