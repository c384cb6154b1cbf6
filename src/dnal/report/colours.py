"""Colours that the colour-blind tell apart, and what changes between light and dark.

Blue, vermillion, green and purple are those of Okabe and Ito (https://jfly.uni-koeln.de/color/) that stand out from
white and from black alike (3:1 or more), so that a mark has one colour in every theme. The continuous scale is cividis.
"""

from __future__ import annotations

from typing import Any

BASE = "#808080"
COMPACT = "#0072B2"
ASKED = "#D55E00"
LEARNT = "#009E73"
OTHER = "#CC79A7"
SERIES = (COMPACT, ASKED, LEARNT, OTHER, BASE)
PHASES = {"base": BASE, "architecture": ASKED, "retrain": COMPACT}
SCALE = "Cividis"

_SURFACES = {
    "light": {"text": "#1b1f24", "grid": "#e3e6ea", "line": "#9aa1a9", "surface": "#ffffff"},
    "dark": {"text": "#e6e8eb", "grid": "#30363d", "line": "#6b737c", "surface": "#1c2026"},
}


def themes() -> dict[str, Any]:
    """Per theme a template of plotly: everything that is no mark."""
    return {name: _template(**colours) for name, colours in _SURFACES.items()}


def _template(text: str, grid: str, line: str, surface: str) -> dict[str, Any]:
    axis = {
        "gridcolor": grid,
        "linecolor": line,
        "zerolinecolor": line,
        "ticks": "outside",
        "ticklen": 5,
        "tickcolor": "rgba(0,0,0,0)",
        "automargin": True,
        "title": {"standoff": 8},
    }
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": text, "family": "system-ui, sans-serif", "size": 13},
            "hoverlabel": {
                "bgcolor": surface,
                "bordercolor": line,
                "font": {"color": text, "size": 13},
                "align": "left",
            },
            "xaxis": axis,
            "yaxis": axis,
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": line, "activecolor": text},
        }
    }
