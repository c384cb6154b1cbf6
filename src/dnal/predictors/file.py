"""A predictor as two files in a folder: predictor.json, and what its members learnt as predictor.safetensors.

The folder may be anybody's: reading runs nothing that it names, and takes no more memory than it has bytes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dnal.base.atomic import refusal, write_bytes, write_text
from dnal.base.errors import UserError, one_line
from dnal.base.reading import json_of
from dnal.base.version import VERSION
from dnal.predictors import PREDICTORS
from dnal.predictors.arrays import packed, unpacked
from dnal.predictors.predictor import Arrays, Predictor
from dnal.predictors.scale import Scale

FORMAT = 1
DOCUMENT, TENSORS = "predictor.json", "predictor.safetensors"
LARGEST_DOCUMENT, LARGEST_TENSORS = 2**26, 2**29
REMEDY = "make it again with `dnal predict fit`"
MOST_NAME = 2**10


@dataclass(frozen=True)
class Saved:
    """A predictor and what it was made of.

    Attributes:
        target: what it predicts. table: the name of the table. columns: names of the numbers of a row, where
            architectures are rows. labelled: the labels of the architectures that it learnt from.
    """

    predictor: Predictor
    target: str
    table: str
    columns: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()


def write_predictor(folder: str | Path, saved: Saved) -> None:
    """Writes a predictor that has learnt; the folder is made if it is not there.

    Raises:
        UserError: it has learnt nothing, the folder holds something else, or the disk refuses.
    """
    predictor, where = saved.predictor, Path(folder)
    predictor._check_fitted()
    check_folder(where)
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"'{where}' cannot be a folder ({refusal(error)}); choose another.") from None
    content, digest = packed(
        {
            f"{member}.{name}": torch.from_numpy(np.ascontiguousarray(array))
            for member, arrays in enumerate(predictor.members_)
            for name, array in arrays.items()
        }
    )
    document = {
        "format": FORMAT, "dnal": VERSION, "predictor": PREDICTORS.values(predictor), "target": saved.target,
        "table": saved.table, "columns": list(saved.columns), "labelled": list(saved.labelled),
        "scale": predictor.scale_.document(), "learnt": predictor._learnt(),
        "sha256": digest,
    }  # fmt: skip
    write_bytes(where / TENSORS, content)
    write_text(where / DOCUMENT, json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n")


def check_folder(folder: Path) -> None:
    """Refuses a folder in which no predictor can be written, before anything is learnt.

    Raises:
        UserError: it holds something else, is a link, or is no folder.
    """
    try:
        if folder.is_symlink() or (os.path.lexists(folder) and not folder.is_dir()):
            raise UserError(f"'{folder}' is no folder; choose another.")
        there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"'{folder}' cannot be read ({refusal(error)}); choose another.") from None
    if there and DOCUMENT not in there:
        raise UserError(f"'{folder}' holds '{there[0]}' and no predictor; choose another folder.")


def read_predictor(folder: str | Path) -> Saved:
    """The predictor in a folder.

    Raises:
        UserError: none is there, its files are damaged or do not belong together, or it names code of somebody.
    """
    where = Path(folder)
    if not os.path.lexists(where / DOCUMENT):
        raise UserError(f"there is no predictor in '{where}': it has no {DOCUMENT}; `dnal predict fit` makes one.")
    document = json_of(where / DOCUMENT, LARGEST_DOCUMENT, remedy=REMEDY)
    try:
        predictor, saved = _parsed(document)
        predictor.members_ = _members(where / TENSORS, document.get("sha256"), predictor.members)
        for arrays in predictor.members_:
            predictor._check_arrays(arrays)
    except UserError as error:
        raise UserError(f"'{where}' is no predictor that can be read: {one_line(str(error), 400)}") from None
    return saved


def _parsed(document: Any) -> tuple[Predictor, Saved]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError(f"this version reads format {FORMAT}; {REMEDY}.")
    given, texts = document.get("predictor"), [document.get("target"), document.get("table")]
    lists = [document.get(name, []) for name in ("columns", "labelled")]
    if not isinstance(given, dict) or not all(isinstance(text, str) and len(text) <= MOST_NAME for text in texts):
        raise UserError(f"it names no predictor, target or table; {REMEDY}.")
    if not all(isinstance(own, list) and all(isinstance(text, str) for text in own) for own in lists):
        raise UserError(f"its columns and labelled architectures are no lists of texts; {REMEDY}.")
    if PREDICTORS.names_code(given.get("name")):
        raise UserError(f"its predictor '{given['name']}' is code, which is not run; use it in Python.")
    predictor = PREDICTORS.read(given)
    predictor.scale_ = Scale.of_document(document.get("scale"))
    predictor._restore(document.get("learnt"))
    return predictor, Saved(predictor, str(texts[0]), str(texts[1]), tuple(lists[0]), tuple(lists[1]))


def _members(path: Path, digest: object, members: int) -> list[Arrays]:
    found: list[dict[str, NDArray[Any]]] = [{} for _ in range(members)]
    for name, array in unpacked(path, digest, LARGEST_TENSORS, remedy=REMEDY).items():
        member, _, rest = name.partition(".")
        if not member.isascii() or not member.isdigit() or len(member) > 3 or int(member) >= members:
            raise UserError(f"its tensor '{name}' belongs to no member; {REMEDY}.")
        if array.dtype.kind not in "if" or not np.isfinite(array).all():
            raise UserError(f"its tensor '{name}' holds something else than numbers; {REMEDY}.")
        found[int(member)][rest] = array
    return list(found)
