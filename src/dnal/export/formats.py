"""The formats by name."""

from __future__ import annotations

from dnal.base.errors import UserError, suggestion
from dnal.export.format import Format
from dnal.export.onnx_file import Onnx
from dnal.export.pt2_file import Pt2

# A new format is a file and an entry here.
FORMATS: dict[str, type[Format]] = {kind.name: kind for kind in (Onnx, Pt2)}


def format_of(name: str) -> Format:
    """The format of this name.

    Raises:
        UserError: an unknown name, or one whose packages are not installed, with the remedy.
    """
    if name not in FORMATS:
        raise UserError(f"unknown format '{name}'; {suggestion(name, FORMATS)}")
    return FORMATS[name]()
