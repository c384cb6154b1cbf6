"""The metric over the rounds in which a network changed, against its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from dnal.report.colours import COMPACT
from dnal.report.curves import MOST, Timed
from dnal.report.figure import Figure, Table, chart, plain
from dnal.report.source import Source

Point = tuple[float, float, Timed]
"""A size, the metric in its unit, and the epoch."""


def over_rounds(
    source: Source,
    name: str,
    title: str,
    note: str,
    points: Sequence[Point],
    *,
    axis: dict[str, str],
    hover: str,
    size: Callable[[float], str],
    words: tuple[str, str],
    columns: dict[str, Callable[[Timed], str]],
) -> Figure:
    """The figure.

    Args:
        name, title, note: of the figure; the title goes on after the metric. points: the end of each round, the first
            one first. axis: of the sizes, a logarithmic one. hover: a point's size, in plotly's words. size: as text.
        words: the heading of the sizes, and what stands behind one in a sentence. columns: further ones of the table.
    """
    aim = source.config.aim
    form, unit = ".2f" if aim.is_share else ".4f", f" {aim.unit}".rstrip()
    drawn = points[::-1][:: -(-len(points) // MOST)][::-1]
    trace = go.Scatter(
        name=source.word, x=[x for x, *_ in drawn], y=[y for _, y, _ in drawn],
        mode="lines+markers", line={"color": COMPACT, "width": 2}, marker={"size": 8},
        hovertemplate=f"{hover}: %{{y:{form}}}{unit}<extra></extra>",
    )  # fmt: skip
    first, last = points[0], points[-1]
    return Figure(
        name,
        f"{aim.words[0].upper()}{aim.words[1:]} {title}",
        f"On the validation data, at the end of the base and of each round; the axis is logarithmic.{note}",
        f"Curve from {first[1]:{form}}{unit} with {size(first[0])}{words[1]} to {last[1]:{form}}{unit} with "
        f"{size(last[0])}.",
        chart([trace], xaxis=axis, yaxis={"title": aim.unit or aim.words}),
        Table(
            ["phase", words[0], *columns, f"{aim.words}{f', {aim.unit}' if aim.unit else ''}"],
            [
                [plain(e.epoch.phase), size(x), *(column(e) for column in columns.values()), f"{y:{form}}"]
                for x, y, e in points
            ],
            1,
        ),
    )
