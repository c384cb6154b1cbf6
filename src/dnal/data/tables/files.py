"""Tables in files of anybody: .csv, .tsv, .npz and .npy."""

from __future__ import annotations

import csv
import io
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError, one_line
from dnal.base.reading import text_of
from dnal.data.npz import heads, read_array, read_arrays
from dnal.data.tables.raw import Column, RawTable

LARGEST = 2**30
"""Bytes of a file of text."""
MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
"""Cells without a value, whatever their case."""
REMEDY = "give another file"
SPLIT = "x_train"
_FIELD = threading.Lock()


def separator_of(path: Path, first: str) -> str:
    """By what the cells of a file are separated: tabs in a .tsv; else tabs, semicolons or commas, of which its first
    line has most."""
    return "\t" if path.suffix == ".tsv" else max("\t;,", key=first.count)


def lines_of(path: Path) -> list[list[str]]:
    """The cells of each line that has some. Separated by tabs, semicolons or commas: by which of them the first line
    has most.

    Raises:
        UserError: no ordinary file of text, or lines of different lengths, naming the first.
    """
    text = text_of(path.resolve(), LARGEST, remedy=REMEDY).removeprefix("\ufeff")
    separator = separator_of(path, text.partition("\n")[0])
    try:
        lines = _split(text, separator)
    except csv.Error as error:
        raise UserError(f"{str(path)!r} is no table ({error}); {REMEDY}.") from None
    if len(lines) < 2:
        raise UserError(f"{str(path)!r} has {len(lines)} lines; a table has several rows.")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(lines[0]):
            raise UserError(
                f"line {number} of {str(path)!r} has {len(line)} cells, and the first one {len(lines[0])}; mend it, or "
                "quote cells that hold a separator."
            )
    return lines


def _split(text: str, separator: str) -> list[list[str]]:
    """The cells of each line that has some. A line ends where a file's lines do, and not at the other signs at which
    texts may be broken; a cell may be as long as the file."""
    how: dict[str, Any] = {"quoting": csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL}
    with _FIELD:  # the limit is one of the whole process
        before = csv.field_size_limit(LARGEST)
        try:
            read = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, **how)
            return [[cell.strip() for cell in line] for line in read if any(line)]
        finally:
            csv.field_size_limit(before)


def has_header(lines: list[list[str]]) -> bool:
    """Whether the first line names the columns: one of its cells is a word, and all below it are numbers; or none is a
    number, and some in the second line are; or it has names of which no column holds any again."""
    first, rest = lines[0], lines[1:]
    words = [at for at, cell in enumerate(first) if _number(cell) is None and cell.lower() not in MISSING]
    if any(_column([line[at] for line in rest]).dtype.kind != "U" for at in words):
        return True
    if any(_number(cell) is not None for cell in first):
        return False
    if any(_number(cell) is not None for cell in rest[0]):
        return True
    return all(name not in {line[at] for line in rest} for at, name in enumerate(first))


def read_table(path: Path, target: str | None) -> RawTable:
    """The table in a file of text.

    Args:
        target: the name of the column to predict, or its number from 1; None: the last one.

    Raises:
        UserError: as :func:`lines_of`; or there is no such column.
    """
    lines = _without_empty(lines_of(path))
    header = has_header(lines)
    names = lines[0] if header else [str(number) for number in range(1, len(lines[0]) + 1)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{str(path)!r} has two columns '{one_line(twice, 80)}'; give each a name of its own.")
    rows = lines[1:] if header else lines
    columns = {name: _column([row[at] for row in rows]) for at, name in enumerate(names)}
    if names[0] == "" and len(names) > 2 and np.array_equal(columns[""], np.arange(len(rows))):
        warnings.warn(
            f"the first column of {str(path)!r} has no name and counts the rows; it is left out.", stacklevel=2
        )
        del columns[""]
    return split_off(columns, target, str(path))


def _without_empty(lines: list[list[str]]) -> list[list[str]]:
    """Without columns at the end that have neither a name nor a value, as separators at the ends of lines make them."""
    width = max((at + 1 for line in lines for at, cell in enumerate(line) if cell), default=0)
    return [line[:width] for line in lines]


def split_off(columns: dict[str, Column], target: str | None, what: str) -> RawTable:
    """A table whose target is one of the columns: by its name, or its number from 1; None: the last.

    Raises:
        UserError: there is no such column, or no other one.
    """
    names = list(columns)
    name = names[-1] if target is None else target
    if name not in columns and name.isdecimal() and 0 < int(name) <= len(names):
        name = names[int(name) - 1]
    if name not in columns:
        raise UserError(f"{what!r} has no column '{name}'; it has {one_line(', '.join(names), 200)}.")
    if len(columns) < 2:
        raise UserError(f"{what!r} has one column; a table has others to predict it from.")
    return RawTable({key: own for key, own in columns.items() if key != name}, columns[name])


def read_arrays_of_table(path: Path, target: str | None) -> RawTable:
    """A table of numbers in an .npz file (x (N, F) and y (N,) or (N, T), perhaps test: rows or a mask; or x_train,
    y_train, x_test and y_test), or in an .npy file (N, F + 1), whose target is a column.

    Raises:
        UserError: as :func:`dnal.data.npz.read_arrays`; or it is no such table.
    """
    if path.suffix == ".npy":
        whole = read_array(path)
        if whole.ndim != 2:
            raise UserError(f"{str(path)!r} must be a table (N, F + 1), not {whole.shape}.")
        return split_off({str(at): whole[:, at - 1] for at in range(1, whole.shape[1] + 1)}, target, str(path))
    if target is not None:
        raise UserError("target= names a column of a file of text or .npy; an .npz file has its targets as y.")
    if SPLIT in heads(path):
        found = read_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
        for key in "xy":
            shapes = [found[f"{key}_{part}"].shape for part in ("train", "test")]
            if not all(shapes) or shapes[0][1:] != shapes[1][1:]:
                raise UserError(
                    f"{key}_train and {key}_test in {str(path)!r} have the shapes {shapes[0]} and {shapes[1]}, which "
                    "do not go together; give both the same columns."
                )
        x, y = (np.concatenate([found[f"{key}_train"], found[f"{key}_test"]]) for key in "xy")
        test: NDArray[np.generic] | None = np.arange(len(found["x_train"]), len(x))
    else:
        found = read_arrays(path, ("x", "y"), optional=("test",))
        x, y, test = found["x"], found["y"], found.get("test")
    if x.ndim != 2 or not y.ndim or len(y) != len(x):
        raise UserError(f"x and y in {str(path)!r} must be (N, F) and (N,) or (N, T), not {x.shape} and {y.shape}.")
    return RawTable({str(at): x[:, at - 1] for at in range(1, x.shape[1] + 1)}, y, test)


def _column(cells: list[str]) -> NDArray[np.generic]:
    """Numbers, whole ones as such, where every cell is one or missing; else the texts. A comma is a decimal one where
    it makes numbers of all cells, and not always three figures stand behind it: 1,250 may be a thousand."""
    dots = any("." in cell for cell in cells)
    if not dots and any("," in cell and len(cell.rpartition(",")[2]) != 3 for cell in cells):
        plain = _column([cell.replace(",", ".") for cell in cells])
        return plain if plain.dtype.kind != "U" else np.array(cells, dtype=np.str_)
    numbers = [_number(cell) for cell in cells]
    known = [number for number in numbers if number is not None]
    absent = [number is None for number in numbers]
    if not known or any(gap and cell.lower() not in MISSING for gap, cell in zip(absent, cells, strict=True)):
        return np.array(cells, dtype=np.str_)
    values = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
    whole = not any(absent) and not any("." in cell or "e" in cell.lower() for cell in cells)
    return values.astype(np.int64) if whole and bool((np.abs(values) < 2**53).all()) else values


def _number(cell: str) -> float | None:
    """Also one that is infinite, which is refused later; of "nan" there is none."""
    if "_" in cell:  # Python's, and nobody else's
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return None if np.isnan(value) else value
