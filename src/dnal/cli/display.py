"""What the commands print: tables on a terminal in colour, anywhere else plain and as wide as they need to be."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dnal.base.errors import printable

WIDE = 10_000
_documents: TextIO | None = None
"""stdout, while it is kept for a document."""


def console() -> Console:
    """stdout; not a terminal: no colour, and no line is broken or cut. With NO_COLOR there is none on a terminal."""
    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        highlight=False,
        force_terminal=terminal,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=None if terminal else WIDE,
    )


def line(text: str = "") -> None:
    """One line as it stands: brackets in names are no markup, and a long path is not broken."""
    console().print(Text(printable(text)), soft_wrap=True)


@contextmanager
def document_alone() -> Iterator[None]:
    """While it lasts only :func:`json_document` writes to stdout; what anybody else prints, such as a network's own
    code, goes to stderr."""
    global _documents
    _documents = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _documents = None


def json_document(document: Any) -> None:
    """JSON for other programs; a number that is none or infinite, which JSON does not know, is null."""
    text = json.dumps(_finite(document), indent=1, allow_nan=False)
    (_documents or sys.stdout).write(f"{text}\n")


def teller(*, quiet: bool, as_json: bool) -> Callable[[str], None]:
    """Tells how far a command is, a line at a time: on stdout; on stderr, where stdout holds a document; if quiet,
    nowhere."""
    if quiet:
        return lambda text: None
    return (lambda text: print(printable(text), file=sys.stderr, flush=True)) if as_json else line  # noqa: T201


def table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A table of (heading, whether its values are numbers) columns."""
    title_text = None if title is None else Text(printable(title))
    grid = Table(title=title_text, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading, number in columns:
        grid.add_column(Text(printable(heading)), justify="right" if number else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    console().print(grid)


def amount(value: float | None, digits: int = 4) -> str:
    """313464832 as "313.5 M"; whole numbers below a thousand as they are."""
    if value is None:
        return "-"
    unit, size = next(((u, z) for u, z in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if abs(value) >= z), ("", 1.0))
    scaled = value / size
    decimals = 0 if not unit and scaled == int(scaled) else max(0, digits - len(str(int(abs(scaled)))))
    return f"{scaled:.{decimals}f} {unit}".rstrip()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def percent(share: float | None, digits: int = 1) -> str:
    """0.3 as "30.0 %"."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"
