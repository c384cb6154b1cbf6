"""Texts in files of anybody: lines of a text and its class (.csv, .tsv), or one text (.txt)."""

from __future__ import annotations

from pathlib import Path

from dnal.base.errors import UserError
from dnal.base.reading import text_of
from dnal.data.tables.files import LARGEST, REMEDY, has_header, lines_of, separator_of
from dnal.data.text.raw import Labelled, RawText

ENDINGS = (".tsv", ".csv", ".txt")
TEXTS, LABELS = ("text", "sentence", "review", "content"), ("label", "class", "sentiment", "category")
"""Names of the two columns."""
LOOKED_AT = 2**22
"""Characters by which a file is told from a table."""
WORDS = 3
"""Of a text, on average: cells of a table have fewer."""


def is_labelled(path: Path) -> bool:
    """Whether a file has two columns, one of which holds texts: it is called so, or has sentences."""
    if path.suffix not in ENDINGS[:2] or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LOOKED_AT)
            whole = not file.read(1)
    except (OSError, UnicodeDecodeError):
        return False
    lines = text.split("\n")
    separator = separator_of(path, lines[0])
    first = [cell.strip().strip('"').lower() for cell in lines[0].split(separator)]
    if len(first) == 2 and set(first) & set(TEXTS) and set(first) & set(LABELS):
        return True
    if not whole:
        lines = lines[:-1]  # it may go on
    if path.suffix == ".tsv" and any(line.count("\t") != 1 for line in lines if line):
        return False
    ends = [line.rpartition(separator) for line in lines if line.strip()]
    labels = {label for _, _, label in ends}
    words = sum(len(text.split()) for text, _, _ in ends)
    return bool(ends) and words >= WORDS * len(ends) and 1 < len(labels) <= max(2, len(ends) // 4) and "" not in labels


def part_in(folder: Path, *names: str) -> Path | None:
    """The file of a part, such as train.tsv; None where there is none."""
    return next((path for name in names for end in ENDINGS if (path := folder / f"{name}{end}").is_file()), None)


def read_text(path: Path) -> RawText:
    """A file, or a folder with train, val (or dev) and test, of which the last two may be missing.

    Raises:
        UserError: a file that cannot be read, or holds no such lines.
    """
    if not path.is_dir():
        return RawText(_read(path))
    train, val, test = part_in(path, "train"), part_in(path, "val", "dev", "valid"), part_in(path, "test")
    if train is None:
        raise UserError(f"{str(path)!r} has no train.tsv, train.csv or train.txt; put the training texts there.")
    first, others = _read(train), [None if part is None else _read(part) for part in (val, test)]
    if any(part is not None and isinstance(part, str) != isinstance(first, str) for part in others):
        raise UserError(f"the files in {str(path)!r} are of two forms; make all of them .txt, or none.")
    return RawText(first, *others)


def _read(path: Path) -> Labelled | str:
    if path.suffix == ".txt":
        return text_of(path.resolve(), LARGEST, remedy=REMEDY)
    lines = lines_of(path)
    if len(lines[0]) != 2:
        raise UserError(f"{str(path)!r} has {len(lines[0])} columns; a text and its class are two.")
    names = [cell.lower() for cell in lines[0]]
    named = bool(set(names) & set(TEXTS) and set(names) & set(LABELS))
    text = next((at for at, name in enumerate(names) if name in TEXTS), 0) if named else 0
    rows = lines[1:] if named or (has_header(lines) and len(lines[0][0].split()) == 1) else lines
    return Labelled(tuple(row[text] for row in rows), tuple(row[1 - text] for row in rows))
