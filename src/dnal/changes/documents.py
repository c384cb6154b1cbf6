"""What the documents of several kinds of change hold, read from one that may be anybody's."""

from __future__ import annotations

from typing import Any

from dnal.architecture.architecture import LARGEST, LONGEST
from dnal.space.surgery.example import DIMENSIONS


def shapes_of_document(document: Any) -> dict[str, tuple[int, ...]] | None:
    """The shapes by name under "shapes" of a document; None where it has none."""
    shapes = document.get("shapes") if isinstance(document, dict) else None
    if not isinstance(shapes, dict):
        return None
    for name, shape in shapes.items():
        if not (isinstance(name, str) and len(name) <= LONGEST and isinstance(shape, list)):
            return None
        if len(shape) > DIMENSIONS or not all(type(size) is int and 0 <= size <= LARGEST for size in shape):
            return None
    return {name: tuple(shape) for name, shape in shapes.items()}
