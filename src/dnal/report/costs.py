"""What base and compact network cost."""

from __future__ import annotations

import plotly.graph_objects as go

from dnal.costs.cost import COSTS
from dnal.report.colours import ASKED, BASE, COMPACT
from dnal.report.figure import Figure, chart
from dnal.report.numbers import percent, quantity, ratio
from dnal.report.source import Source, finite

WITHIN = 75.0
"""Percent of the base from which on a bar's number is within it: beside it a narrow page has no room."""


def known_costs(source: Source) -> dict[str, tuple[float, float]]:
    """The costs that both networks have a figure of: base and compact."""
    found = {}
    for name, cost in COSTS.items():
        base, compact = (finite(row.get(cost.figure)) for row in (source.result.base, source.result.compact))
        if base is not None and compact is not None and base > 0:
            found[name] = (base, compact)
    return found


def costs_figure(source: Source) -> Figure | None:
    """Every cost of the compact network as a share of the base's, and what was asked."""
    costs = known_costs(source)
    if not costs:
        return None
    names = [COSTS[cost].words for cost in costs]
    shares = [100 * compact / base for base, compact in costs.values()]
    hover = [
        f"<b>{COSTS[cost].words}</b><br>base {quantity(cost, base)}<br>{source.word} {quantity(cost, compact)}"
        for cost, (base, compact) in costs.items()
    ]
    traces = [
        go.Bar(
            name="base", y=names, x=[100.0] * len(names), orientation="h", width=0.7, marker={"color": BASE},
            opacity=0.35, customdata=hover, hovertemplate="%{customdata}<extra></extra>",
        ),
        go.Bar(
            name=source.word, y=names, x=shares, orientation="h", width=0.4, marker={"color": COMPACT},
            customdata=hover, hovertemplate="%{customdata}<extra></extra>", cliponaxis=False,
            text=[f"  {share:.1f} %" for share in shares], insidetextfont={"color": "white"},
            textposition=["inside" if share > WITHIN else "outside" for share in shares],
        ),
    ]  # fmt: skip
    asked = [c for c in source.result.constraints if c.cost in costs]
    if asked:
        traces.append(
            go.Scatter(
                name="asked", y=[COSTS[c.cost].words for c in asked],
                x=[100 * c.asked / costs[c.cost][0] for c in asked],
                mode="markers", marker={"symbol": "line-ns", "size": 26, "line": {"color": ASKED, "width": 3}},
                customdata=[f"asked {quantity(c.cost, c.asked)}" for c in asked],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
    words = ", ".join(f"{COSTS[cost].words} {percent(ratio(*pair))}" for cost, pair in costs.items())
    return Figure(
        "costs",
        "What it costs",
        f"The {source.word} network in percent of the base"
        + ("; the upright mark is what was asked." if asked else "."),
        f"Bars: the {source.word} network has, of the base's costs, {words}.",
        chart(
            traces,
            height=90 + 46 * len(names),
            barmode="overlay",
            xaxis={"title": "% of the base", "range": [0, max(122.0, *(share * 1.22 for share in shares))]},
            yaxis={"type": "category", "autorange": "reversed"},
        ),
    )
