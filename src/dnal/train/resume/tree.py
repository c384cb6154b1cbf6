"""Nested states as tensors and a document: what safetensors and JSON can hold, and back."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

PLAIN = (str, int, float, bool, type(None))


def packed(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a tree by number, and the rest as a document for JSON that says where they stand.

    Trees are of dicts (any plain keys), lists, tuples, tensors and plain values, such as a module's, an optimizer's or
    a loader's ``state_dict()``.

    Raises:
        TypeError: for anything else, with its place.
    """
    tensors: dict[str, Tensor] = {}

    def pack(value: Any, place: str) -> Any:
        if isinstance(value, Tensor):
            name = str(len(tensors))
            tensors[name] = value.detach()
            return {"tensor": name}
        if isinstance(value, dict):
            return {"dict": [[pack(k, place), pack(v, f"{place}.{k}")] for k, v in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [pack(v, f"{place}.{i}") for i, v in enumerate(value)]}
        if isinstance(value, list):
            return [pack(v, f"{place}.{i}") for i, v in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}  # JSON has no word for it
        if isinstance(value, PLAIN):
            return value
        raise TypeError(f"{place.lstrip('.')} is a {type(value).__name__}, which no checkpoint can hold")

    return tensors, pack(tree, "")


def unpacked(tensors: dict[str, Tensor], document: Any) -> Any:
    """The tree that :func:`packed` took apart.

    Raises:
        KeyError, TypeError, ValueError: for what it has not written.
    """
    if isinstance(document, list):
        return [unpacked(tensors, value) for value in document]
    if not isinstance(document, dict):
        return document
    ((kind, content),) = document.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {unpacked(tensors, key): unpacked(tensors, value) for key, value in content}
    if kind == "tuple":
        return tuple(unpacked(tensors, value) for value in content)
    if kind == "float":
        return float(content)
    raise ValueError(f"a state has no '{kind}'")


def all_finite(tree: Any) -> bool:
    """Whether every number in the tensors of a tree is finite."""
    if isinstance(tree, Tensor):
        return bool(torch.isfinite(tree).all())
    if isinstance(tree, dict):
        return all(all_finite(value) for value in tree.values())
    return all(all_finite(value) for value in tree) if isinstance(tree, list | tuple) else True
