"""Charts that studies share, in the style of the report: every row is to be seen."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dnal.base.statistics import Interval, mean
from dnal.report.colours import SERIES
from dnal.report.figure import Figure, Table, chart, labels, plain
from dnal.studies.study import Row

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")


def label_of(row: Row, by: Sequence[str]) -> str:
    """The settings of a row in words."""
    return ", ".join(f"{name} {row[name]}" if not isinstance(row[name], str) else str(row[name]) for name in by)


def number(row: Row, name: str) -> float:
    """A number of a row; NaN where it has none."""
    value = row.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def numbers(rows: Sequence[Row], name: str) -> list[float]:
    """:func:`number` of every row."""
    return [number(row, name) for row in rows]


def dots(
    rows: Sequence[Row], by: Sequence[str], values: str | Mapping[str, str], *, what: str, caption: str = ""
) -> Figure:
    """A line of dots per group of rows, a dot per row, and the mean of each.

    Args:
        by: the columns that make a group. values: the column of the numbers, or several with their names in the legend.
        what: the numbers are, for the axis.
    """
    columns = {values: values} if isinstance(values, str) else dict(values)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(label_of(row, by), []).append(row)
    names = labels(list(groups))
    traces: list[Any] = []
    table = []
    for place, (column, title) in enumerate(columns.items()):
        found = [[(row, number(row, column)) for row in own] for own in groups.values()]
        found = [[(row, value) for row, value in own if not math.isnan(value)] for own in found]
        means = [mean([value for _, value in own]) for own in found]
        shift = 0.0 if len(columns) == 1 else 0.5 * (place / (len(columns) - 1) - 0.5)
        traces += _line_of_dots(place, title, names, found, shift)
        traces.append(_uprights(place, means, shift))
        table += [
            [group, title, f"{each.value:.4g}", "" if math.isnan(each.low) else f"{each.low:.4g} to {each.high:.4g}",
             str(each.number)]
            for group, each in zip(groups, means, strict=True) if each.number
        ]  # fmt: skip
    best = max(table, key=lambda row: float(row[2]), default=None)
    return Figure(
        "rows",
        f"{what[:1].upper()}{what[1:]}",
        caption or "A dot is a row, an upright line the mean.",
        f"Dots of {len(rows)} rows" + ("." if best is None else f"; the largest mean is {best[2]}, of {best[0]}."),
        chart(
            traces,
            height=110 + 46 * len(groups) * max(1, math.ceil(len(columns) / 2)),
            xaxis={"title": plain(what)},
            yaxis={"tickvals": list(range(len(names))), "ticktext": names, "autorange": "reversed", "zeroline": False},
            showlegend=len(columns) > 1,
        ),
        Table(["rows", "what", "mean", "95 % interval", "number"], table, 3),
        wide=True,
    )  # fmt: skip


def _line_of_dots(
    place: int, title: str, names: Sequence[str], found: Sequence[Sequence[tuple[Row, float]]], shift: float
) -> list[Any]:
    """The dots of one column: a group is a height, its rows are along it."""
    each = [(height, row, value) for height, own in enumerate(found) for row, value in own]
    return [
        go.Scatter(
            name=plain(title), x=[value for *_, value in each], y=[height + shift for height, *_ in each],
            mode="markers",
            marker={"color": SERIES[place % len(SERIES)], "size": 9, "opacity": 0.65,
                    "symbol": SYMBOLS[place % len(SYMBOLS)]},
            customdata=[f"<b>{names[height]}</b><br>{plain(title)}, seed {row['seed']}: {value:.4g}"
                        for height, row, value in each],
            hovertemplate="%{customdata}<extra></extra>",
        )
    ]  # fmt: skip


def _uprights(place: int, means: Sequence[Interval], shift: float) -> Any:
    """An upright line at the mean of each group."""
    colour = SERIES[place % len(SERIES)]
    line = {"color": colour, "size": 22, "symbol": "line-ns", "line": {"width": 3, "color": colour}}
    return go.Scatter(
        x=[each.value for each in means], y=[height + shift for height in range(len(means))], mode="markers",
        marker=line, showlegend=False, hoverinfo="skip",
    )  # fmt: skip


def curves(
    rows: Sequence[Row], x: str, y: str, by: Sequence[str] = (), *, what: tuple[str, str], log: bool = False
) -> Figure:
    """One curve through the means per group of rows, and a dot per row.

    Args:
        x, y: columns of numbers. by: those that make a group. what: both are, for the axes. log: whether x is.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(label_of(row, by) if by else "mean", []).append(row)
    traces: list[Any] = []
    table = []
    for place, (group, own) in enumerate(groups.items()):
        colour = SERIES[place % len(SERIES)]
        at: dict[float, list[float]] = {}
        for row in own:
            if not (math.isnan(number(row, x)) or math.isnan(number(row, y))):
                at.setdefault(number(row, x), []).append(number(row, y))
        places = sorted(at)
        traces.append(
            go.Scatter(
                name=plain(group), x=places, y=[statistics.fmean(at[one]) for one in places], mode="lines",
                line={"color": colour, "width": 2}, hoverinfo="skip", legendgroup=str(place),
            )
        )  # fmt: skip
        traces.append(
            go.Scatter(
                x=[one for one in places for _ in at[one]], y=[value for one in places for value in at[one]],
                mode="markers", marker={"color": colour, "size": 8, "opacity": 0.65,
                                        "symbol": SYMBOLS[place % len(SYMBOLS)]},
                customdata=[f"<b>{plain(group)}</b><br>{plain(what[0])} {one:.4g}<br>{plain(what[1])} {value:.4g}"
                            for one in places for value in at[one]],
                hovertemplate="%{customdata}<extra></extra>", showlegend=False, legendgroup=str(place),
            )
        )  # fmt: skip
        table += [[group, f"{one:.4g}", f"{statistics.fmean(at[one]):.4g}", str(len(at[one]))] for one in places]
    return Figure(
        f"{y}-over-{x}",
        f"{what[1][:1].upper()}{what[1][1:]} over {what[0]}",
        "A dot is a row, the line goes through the means.",
        f"Curves of {len(groups)} groups, {len(rows)} rows.",
        chart(
            traces,
            height=380,
            xaxis={"title": plain(what[0]), **({"type": "log"} if log else {})},
            yaxis={"title": plain(what[1])},
            showlegend=len(groups) > 1,
        ),
        Table(["rows", what[0], what[1], "number"], table, 3),
        wide=True,
    )
