"""What the commands print: tables on a terminal in colour, anywhere else plain and as wide as they need to be."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 10_000


def console() -> Console:
    """stdout; not a terminal: no colour, and no line is broken or cut."""
    terminal = sys.stdout.isatty()
    return Console(file=sys.stdout, highlight=False, force_terminal=terminal, width=None if terminal else WIDE)


def line(text: str = "") -> None:
    """One line as it stands: brackets in names are no markup, and a long path is not broken."""
    console().print(Text(text), soft_wrap=True)


def json_document(document: Any) -> None:
    """JSON for other programs."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A table of (heading, whether its values are numbers) columns."""
    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading, number in columns:
        grid.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    console().print(grid)


def amount(value: float | None, digits: int = 4) -> str:
    """313464832 as "313.5 M"; whole numbers below a thousand as they are."""
    if value is None:
        return "-"
    unit, size = next(((u, z) for u, z in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if abs(value) >= z), ("", 1.0))
    scaled = value / size
    decimals = 0 if not unit and scaled == int(scaled) else max(0, digits - len(str(int(abs(scaled)))))
    return f"{scaled:.{decimals}f} {unit}".rstrip()


def percent(share: float | None, digits: int = 1) -> str:
    """0.3 as "30.0 %"."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"
