"""What is left of the weights, round by round, and what it was worth."""

from __future__ import annotations

from itertools import groupby

import plotly.graph_objects as go

from dnal.report.colours import COMPACT
from dnal.report.curves import MOST, timed
from dnal.report.figure import Figure, Table, chart, plain
from dnal.report.source import Source

KEPT = "kept"
"""The share of the weights that is there, in a line of log.jsonl; the base has none."""


def weight_figures(source: Source) -> list[Figure]:
    """The metric at the end of each round against the share of the weights that it kept, where weights were masked."""
    aim = source.config.aim
    own = [each for each in timed(source) if aim.figure in each.epoch.values]
    if not any(KEPT in each.epoch.values for each in own):
        return []
    rounds = [list(group)[-1] for _, group in groupby(own, lambda e: (e.epoch.phase, e.epoch.values.get(KEPT, 1.0)))]
    points = [(100 * e.epoch.values.get(KEPT, 1.0), aim.factor * e.epoch.values[aim.figure], e) for e in rounds]
    points = [point for point in points if point[0] > 0]
    if not points:
        return []
    form, unit = ".2f" if aim.is_share else ".4f", f" {aim.unit}".rstrip()
    drawn = points[::-1][:: -(-len(points) // MOST)][::-1]
    trace = go.Scatter(
        name=source.word, x=[x for x, *_ in drawn], y=[y for _, y, _ in drawn],
        mode="lines+markers", line={"color": COMPACT, "width": 2}, marker={"size": 8},
        hovertemplate=f"%{{x:.3g}} % of the weights: %{{y:{form}}}{unit}<extra></extra>",
    )  # fmt: skip
    first, last = points[0], points[-1]
    return [
        Figure(
            "weights",
            f"{aim.words[0].upper()}{aim.words[1:]} against the weights that stay",
            "On the validation data, at the end of the base and of each round; the axis is logarithmic.",
            f"Curve from {first[1]:{form}}{unit} with {first[0]:.3g} % of the weights to {last[1]:{form}}{unit} with "
            f"{last[0]:.3g} %.",
            chart(
                [trace],
                xaxis={"title": "weights that stay, %", "type": "log", "autorange": "reversed"},
                yaxis={"title": aim.unit or aim.words},
            ),
            Table(
                ["phase", "weights that stay", f"{aim.words}{f', {aim.unit}' if aim.unit else ''}"],
                [[plain(e.epoch.phase), f"{x:.3g} %", f"{y:{form}}"] for x, y, e in points],
                1,
            ),
        )
    ]
