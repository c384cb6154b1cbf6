"""Tables as CSV, which people open in spreadsheets: no cell is a formula there."""

from __future__ import annotations

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a formula may begin with."""


def inert(cell: str) -> str:
    """The text of a cell, with an apostrophe before what a spreadsheet would compute; numbers stay.

    Examples:
        >>> inert("=1+1"), inert("-0.5"), inert("macs<=30%")
        ("'=1+1", '-0.5', 'macs<=30%')
    """
    if not cell.startswith(FORMULAS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
