"""The change in a run folder: architecture.json, or a file of tensors whose header says where they stand.

The folder may be anybody's: reading runs nothing, and takes no more memory than the file has bytes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from dnal.architecture.architecture import LARGEST_FILE
from dnal.base.atomic import write_text, write_through
from dnal.base.errors import UserError
from dnal.base.reading import REMEDY, content, ordinary, plain_json
from dnal.base.tensors import stream
from dnal.changes import CHANGES, Change
from dnal.run.files import ARCHITECTURE, MODEL, OF_CHANGES
from dnal.run.limits import SPARE_CHANGE, TIMES_CHANGE
from dnal.space.surgery.tensors import named_tensors
from dnal.train.resume.tree import packed, unpacked

_KEY = "change"


def write_change(run: Path, change: Change) -> None:
    """Writes a change into a run's folder, under its own name. No time, no path.

    Raises:
        UserError: where the disk refuses.
    """
    tensors, document = packed(change.document())
    if change.file.endswith(".json"):
        write_text(run / change.file, json.dumps(change.document(), separators=(",", ":")) + "\n")
    else:
        text = json.dumps(document, separators=(",", ":"))
        write_through(run / change.file, lambda file: stream(file, tensors, {_KEY: text}))


def change_file(run: Path) -> str:
    """The name of the file in a run's folder that holds its change; architecture.json where there is none."""
    return next((name for name in OF_CHANGES if os.path.lexists(run / name)), ARCHITECTURE)


def read_change(run: Path) -> Change:
    """The change in a run's folder.

    Raises:
        UserError: there is none, or it is not as a run writes it.
    """
    path = run / change_file(run)
    kind = next(kind for kind in CHANGES if kind.file == path.name)
    try:
        if path.suffix == ".json":
            document = plain_json(content(path, LARGEST_FILE).decode())
        else:
            ordinary(path, SPARE_CHANGE + TIMES_CHANGE * ordinary(run / MODEL))
            document = _document(path)
    except UserError as error:
        raise UserError(f"cannot read {kind.noun} of the run: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError, SafetensorError):
        raise UserError(f"'{path}' is not {kind.noun}; {REMEDY}.") from None
    try:
        return kind.of_document(document)
    except UserError as error:
        raise UserError(f"'{path}' is not {kind.noun}: {error}") from None


def check_grown(change: Change, network: nn.Module, tensors: dict[str, tuple[int, ...]], allowed: int) -> None:
    """Refuses a change that makes tensors larger than a file of the changed network's tensors tells of.

    Args:
        network: before the change, perhaps without memory. tensors: the shapes in the file. allowed: bytes that may be
            taken for tensors that are not in the file.

    Raises:
        UserError: naming the first tensor, or with the bytes.
    """
    extra = 0
    for name, tensor in named_tensors(network):
        if name not in change.shapes or tuple(tensor.shape) != change.shapes[name]:
            continue  # of another network: that is said where it is applied
        size = 1
        for number in change.left(name):
            size *= number
        if size <= tensor.numel():
            continue
        if name not in tensors:
            extra += size * tensor.element_size()
        elif tensors[name] != change.left(name):
            raise UserError(
                f"the change makes '{name}' {change.left(name)}, and the file of tensors has {tensors[name]}; {REMEDY}."
            )
    if extra > allowed:
        raise UserError(f"the change needs {extra:,} bytes for tensors that no file holds; {REMEDY}.")


def _document(path: Path) -> object:
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {})[_KEY]
        if len(text) > LARGEST_FILE:
            raise ValueError
        return unpacked({name: file.get_tensor(name) for name in file.keys()}, plain_json(text))  # noqa: SIM118
