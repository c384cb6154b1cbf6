"""The formats by name."""

from __future__ import annotations

import difflib

from dnal.errors import UserError
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
        nearest = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"known are {', '.join(FORMATS)}."
        raise UserError(f"unknown format '{name}'; {hint}")
    return FORMATS[name]()
