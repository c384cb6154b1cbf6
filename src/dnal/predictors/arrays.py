"""Arrays in a file of safetensors beside a document that holds its digest: a predictor's, a zoo's."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import Tensor

from dnal.base.errors import UserError, one_line
from dnal.base.reading import content
from dnal.base.tensors import stream


def packed(tensors: Mapping[str, Tensor]) -> tuple[bytes, str]:
    """The content of such a file, and its digest."""
    file = io.BytesIO()
    stream(file, tensors)
    return file.getvalue(), hashlib.sha256(file.getvalue()).hexdigest()


def unpacked(path: Path, digest: object, largest: int, *, remedy: str) -> dict[str, NDArray[Any]]:
    """The arrays of such a file, which may be anybody's.

    Args:
        path: of the file; its document has the same name, and ends in ".json".
        digest: that of the document. largest: bytes. remedy: what to do where the file cannot be used.

    Raises:
        UserError: it is too large, is another one, or is damaged.
    """
    raw = content(path, largest, remedy=remedy)
    if hashlib.sha256(raw).hexdigest() != digest:
        document = path.with_suffix(".json").name
        raise UserError(f"{path.name} is not the one that {document} was written with; {remedy}.")
    try:
        return dict(load(raw))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path.name} is damaged ({one_line(str(error), 100)}); {remedy}.") from None
