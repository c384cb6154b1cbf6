"""A description of a network's example inputs: structure, shapes, types and the range of whole numbers, as JSON.

Small enough to stand in an architecture's file, and enough to make inputs like them without the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.space.surgery.inputs import Inputs

Example = dict[str, Any]
"""One of {"shape", "dtype"} with {"low", "high"} for whole numbers, {"tuple": [...]}, {"list": [...]}, {"dict": {...}}
and {"value": a plain constant}."""

LARGEST = 2**28
"""Numbers in one tensor of an example; a file that asks for more is not believed."""

DIMENSIONS = 64
"""As many as a tensor of torch has."""

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
CONSTANTS = (bool, int, float, str, type(None))

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]


def described(inputs: Inputs) -> Example | None:
    """The description of inputs; None where they hold something that has none (an object of the user's)."""
    try:
        return parsed(_described(inputs))
    except (UserError, RecursionError):
        return None


def _described(tree: Any) -> Example:
    if isinstance(tree, Tensor):
        found: Example = {"shape": list(tree.shape), "dtype": str(tree.dtype).removeprefix("torch.")}
        if not tree.is_floating_point() and tree.numel() and not tree.is_complex():
            found |= {"low": int(tree.min()), "high": int(tree.max())}
        return found
    if isinstance(tree, Mapping):
        return {"dict": {key: _described(value) for key, value in tree.items()}}
    if type(tree) in (tuple, list):
        return {type(tree).__name__: [_described(item) for item in tree]}
    return {"value": tree}


def parsed(document: Any) -> Example:
    """A description, if that is what the document is.

    Raises:
        UserError: saying what is wrong.
    """
    if not isinstance(document, dict):
        raise UserError("its example inputs are not described.")
    keys = set(document)
    if keys == {"dict"}:
        entries = document["dict"]
        if not isinstance(entries, dict) or not all(isinstance(key, str) for key in entries):
            raise UserError("its example inputs are no dict of names.")
        return {"dict": {key: parsed(value) for key, value in entries.items()}}
    if keys in ({"tuple"}, {"list"}):
        (kind,) = keys
        if not isinstance(document[kind], list):
            raise UserError(f"its example inputs are no {kind}.")
        return {kind: [parsed(item) for item in document[kind]]}
    if keys == {"value"}:
        if type(document["value"]) not in CONSTANTS:
            raise UserError("its example inputs hold a constant that is none.")
        return dict(document)
    return _tensor(document)


def _tensor(document: dict[str, Any]) -> Example:
    shape, dtype = document.get("shape"), document.get("dtype")
    sizes = isinstance(shape, list) and len(shape) <= DIMENSIONS and all(type(n) is int and n >= 0 for n in shape)
    if not sizes or math.prod(shape or []) > LARGEST or dtype not in DTYPES:
        raise UserError("its example inputs hold a tensor without a shape or type that can be made.")
    extra = set(document) - {"shape", "dtype"}
    kind = DTYPES[dtype]
    if extra:
        low, high = document.get("low"), document.get("high")
        if kind.is_floating_point or extra != {"low", "high"} or type(low) is not int or type(high) is not int:
            raise UserError("its example inputs hold a range that is none.")
        smallest, largest = (0, 1) if kind is torch.bool else (torch.iinfo(kind).min, torch.iinfo(kind).max)
        if not smallest <= low <= high <= largest:
            raise UserError("its example inputs hold a range that is none.")
    elif not kind.is_floating_point and math.prod(shape or []):
        raise UserError("its example inputs hold whole numbers without a range.")
    return dict(document)


def made(example: Example, draw: Draw, generator: torch.Generator, device: torch.device) -> Any:
    """Inputs of a description: floating-point tensors by ``draw``, whole numbers anywhere in their range."""
    if "dict" in example:
        return {key: made(value, draw, generator, device) for key, value in example["dict"].items()}
    if "tuple" in example:
        return tuple(made(item, draw, generator, device) for item in example["tuple"])
    if "list" in example:
        return [made(item, draw, generator, device) for item in example["list"]]
    if "value" in example:
        return example["value"]
    shape, dtype = tuple(example["shape"]), DTYPES[example["dtype"]]
    if dtype.is_floating_point:
        return draw(shape, generator).to(device, dtype)
    low, high = example.get("low", 0), example.get("high", 0)
    whole = (torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low + 1)).floor().long() + low
    return whole.clamp(low, high).to(device, dtype)
