"""The tensors of a place: one file of safetensors, or several that an index names. They may be anybody's."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dnal.base.errors import UserError, one_line
from dnal.base.reading import json_of, ordinary
from dnal.models.huggingface.place import Place

SINGLE, INDEX, PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
LARGEST_INDEX = 2**24
MOST_FILES = 1000
SPARE, TIMES = 2**26, 4
"""Bytes that the files may have beside any network, and for each byte of it: there are heads of other tasks."""
REMEDY = "restore it, or give another folder"


def tensors_of(place: Place, needed: int) -> dict[str, Tensor]:
    """All tensors of a place by name.

    Args:
        needed: bytes of the network that they are for.

    Raises:
        UserError: no weights, pickled ones, damaged files, an index that names others, or more than such a network has.
    """
    files, named = _files(place)
    size = sum(ordinary(path, remedy=REMEDY) for path in files)
    if size > SPARE + TIMES * needed:
        raise UserError(
            f"the weights of '{one_line(place.name, 80)}' have {size:,} bytes, and the network of its config.json "
            f"{needed:,}: they are another network's; give another folder."
        )
    found: dict[str, Tensor] = {}
    for path in files:
        found |= _read(path)
    for name in named:
        if name not in found:
            raise UserError(
                f"'{one_line(place.name, 80)}' has no tensor '{one_line(name, 80)}', which {INDEX} names; {REMEDY}."
            )
    return found


def _files(place: Place) -> tuple[list[Path], list[str]]:
    """The files, and the names of the tensors that an index tells of."""
    single = place.file(SINGLE)
    if single is not None:
        return [single], []
    index = place.file(INDEX)
    if index is None:
        if place.folder is not None and (place.folder / PICKLED).exists():
            raise UserError(
                f"'{place.name}' has pickled weights only ({PICKLED}), which could run any code; write them again with "
                "save_pretrained where you trust them."
            )
        raise UserError(
            f"'{one_line(place.name, 80)}' has no {SINGLE}; give a folder with weights, or start without --weights."
        )
    document = json_of(index, LARGEST_INDEX, remedy=REMEDY)
    named = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(named, dict) or not named or not all(isinstance(each, str) for each in named.values()):
        raise UserError(f"'{index}' names no files of tensors; {REMEDY}.")
    names = sorted(set(named.values()))
    for name in names:
        if name != Path(name).name or "\\" in name or not name.endswith(".safetensors"):
            raise UserError(f"'{index}' names '{one_line(name, 80)}', which is no file of this folder; {REMEDY}.")
    if len(names) > MOST_FILES:
        raise UserError(f"'{index}' names {len(names):,} files, more than {MOST_FILES:,}; {REMEDY}.")
    return [path for name in names if (path := place.file(name, needed=True)) is not None], list(named)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' is no whole file of safetensors ({error}); {REMEDY}.") from None
