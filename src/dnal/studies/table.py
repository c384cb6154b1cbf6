"""results.csv of a study: its rows as text, and what stands there as values."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from dnal.base import rows as table
from dnal.base.atomic import target_of, write_text
from dnal.base.cells import inert
from dnal.base.errors import UserError, described
from dnal.base.reading import json_of
from dnal.studies.study import Row, Setting, Value

RESULTS, MADE = "results.csv", "rows"
"""The table, and the folder of the rows that are not in it yet."""
LARGEST_ROW = 2**20
"""Bytes."""
WHAT, REMEDY = "table of `dnal study`", "move it away, or choose another folder with --out"

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]{1,3})?|-?inf|nan", re.IGNORECASE)

Key = tuple[tuple[str, str], ...]
"""Which row it is: the setting and the seed as text."""


def key_of(setting: Setting, seed: int) -> Key:
    """Which row a setting and a seed make."""
    return tuple((name, text_of(value)) for name, value in {**setting, "seed": seed}.items())


def key_in(row: Mapping[str, str], names: Sequence[str]) -> Key:
    """Which row this is; ``names``: of the settings and the seed."""
    return tuple((name, row.get(name, "")) for name in names)


def text_of(value: object) -> str:
    """A value in a cell.

    Raises:
        UserError: it is no plain value.
    """
    if value is None or isinstance(value, str):
        return inert(" ".join((value or "").split()))
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))  # also of a subclass, such as numpy's
    raise UserError(f"a row holds plain values: texts and numbers of Python, not {described(value)}.")


def value_of(cell: str) -> Value:
    """What a cell says: a number where it is one, else the text."""
    if _WHOLE.fullmatch(cell):
        return int(cell)
    return float(cell) if _NUMBER.fullmatch(cell) else cell


def values_of(row: Mapping[str, str]) -> Row:
    """A row as the checks get it, whether it was just made or read; what is empty is left out."""
    return {name: value_of(cell) for name, cell in row.items() if cell}


def read_rows(path: Path) -> list[table.Row]:
    """The rows of a table as text.

    Raises:
        UserError: it is none.
    """
    rows = table.read_table(path, WHAT, REMEDY)
    if any(not _WHOLE.fullmatch(row.get("seed", "")) for row in rows):
        raise UserError(f"'{path}' is no {WHAT}; {REMEDY}.")
    return rows


def keep_row(out: Path, key: Key, row: Mapping[str, object]) -> None:
    """A row that was just made, until it is in the table.

    Raises:
        UserError: it holds something else than plain values, or the disk refuses.
    """
    folder = out / MADE
    folder.mkdir(exist_ok=True)
    document = json.dumps({name: text_of(value) for name, value in row.items()}, indent=1)
    write_text(_file(out, key), document + "\n")


def gather(out: Path, wanted: Sequence[Key]) -> dict[Key, table.Row]:
    """The rows of a folder: those of the table, also of other seeds, and those that ended after the process that writes
    it; the table has all of them then, those that are wanted first and in their order.

    Raises:
        UserError: a file is damaged.
    """
    names = [name for name, _ in wanted[0]] if wanted else []
    rows = {key_in(row, names): row for row in read_rows(out / RESULTS)}
    fresh = [key for key in wanted if key not in rows and os.path.lexists(_file(out, key))]
    rows |= {key: _kept(_file(out, key), key) for key in fresh}
    if fresh:
        listed = [*(key for key in wanted if key in rows), *(key for key in rows if key not in set(wanted))]
        table.write_table(out / RESULTS, [rows[key] for key in listed])
        for key in fresh:
            _file(out, key).unlink()
    return rows


def tidy(out: Path) -> None:
    """While no process makes rows: takes away what killed ones were writing, and the folder of rows if it is empty."""
    with suppress(OSError):
        for file in (out / MADE).iterdir():
            if target_of(file.name) is not None:
                file.unlink()
        (out / MADE).rmdir()


def _kept(path: Path, key: Key) -> table.Row:
    remedy = "remove it, and the same command makes this row again"
    document: table.Row = json_of(path, LARGEST_ROW, remedy=remedy)
    texts = isinstance(document, dict) and all(isinstance(cell, str) for cell in document.values())
    if not texts or any(document.get(name) != cell for name, cell in key):
        raise UserError(f"'{path}' is no row of this study; {remedy}.")
    return document


def _file(out: Path, key: Key) -> Path:
    name = "_".join(f"{name}={cell}" for name, cell in key)
    digest = sha256(name.encode(errors="backslashreplace")).hexdigest()[:16]
    return out / MADE / f"{quote(name, safe=' =,', errors='replace')[:80]}-{digest}.json"
