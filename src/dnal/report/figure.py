"""A figure of the report: a chart of plotly, what it shows in words, and its numbers as a table."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

LONGEST = 28
"""Characters of a name beside a chart."""


@dataclass(frozen=True)
class Table:
    """Rows of text; ``numbers``: how many columns at the end hold numbers."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        name: for links; another one for every figure of a run.
        caption: how to read it. alt: what it shows, for who does not see it.
        wide: it takes the whole width of the page.
    """

    name: str
    title: str
    caption: str
    alt: str
    chart: go.Figure
    table: Table | None = None
    wide: bool = False

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.chart.layout.height)

    def specification(self) -> dict[str, Any]:
        """The chart as plain values."""
        found: dict[str, Any] = json.loads(self.chart.to_json())
        found["layout"].pop("template", None)  # the page has one per theme
        return found


def chart(traces: Sequence[Any], *, height: int = 320, **layout: Any) -> go.Figure:
    """A chart with the legend above it, and without what the themes bring."""
    legend = bool(layout.pop("showlegend", len(traces) > 1))
    return go.Figure(
        list(traces),
        {
            "template": "none",
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 40 if legend else 12, "b": 8},
            "legend": {"orientation": "h", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"},
            "showlegend": legend,
            **layout,
        },
    )


def plain(text: object) -> str:
    """A text as it stands: what plotly would take for markup is none."""
    return html.escape("".join(c if c.isprintable() else " " for c in str(text)), quote=False)


def short(text: str, longest: int = LONGEST) -> str:
    """A long name with its middle left out, as :func:`plain` text."""
    if len(text) > longest:
        text = f"{text[: longest // 3]}…{text[-(longest - longest // 3 - 1) :]}"
    return plain(text)


def labels(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """A label for each name: short, and another one for each, since a chart puts equal ones together."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        label = short(name, longest)
        seen[label] = seen.get(label, 0) + 1
        found.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return found
