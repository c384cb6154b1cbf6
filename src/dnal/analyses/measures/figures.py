"""Tables and charts of generalisation measures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from dnal.analyses.measures.bank import BANK, Measured
from dnal.analyses.measures.of_runs import Ranked, Ranking
from dnal.report.colours import SERIES
from dnal.report.figure import Figure, Table, chart, labels, plain

WHAT = {one.name: one.what for one in BANK}
SIDE_BY_SIDE = 8
"""Networks whose measures stand in one table."""


def words(name: str) -> str:
    """A measure as people write it."""
    return name.replace("_", " ")


def values_figure(names: Sequence[str], measured: Sequence[Measured], gaps: Sequence[float]) -> Figure:
    """The measures of networks, over those of the first; all of them in the table."""
    kept = [one.name for one in BANK if any(one.name in found.values for found in measured)]
    shown = list(zip(names, measured, gaps, strict=True))[:SIDE_BY_SIDE]
    traces = [
        go.Bar(
            name=plain(name), y=labels([words(one) for one in kept]),
            x=[_over(found.values.get(one), measured[0].values.get(one), one) for one in kept], orientation="h",
            marker={"color": SERIES[place % len(SERIES)]},
            hovertemplate=f"{plain(name)}, %{{y}}: %{{x:.3g}}<extra></extra>",
        )
        for place, (name, found, _) in enumerate(shown)
    ]  # fmt: skip
    rows = [[f"{words(one)}: {WHAT[one]}", *(_known(found, one) for _, found, _ in shown)] for one in kept]
    rows += [
        ["margin, in logits", *(f"{found.margin:.4g}" for _, found, _ in shown)],
        ["noise in the weights that takes a tenth", *(f"{found.sigma:.3g}" for _, found, _ in shown)],
        ["the same in units of each weight", *(f"{found.sigma_magnitude:.3g}" for _, found, _ in shown)],
        ["training minus test accuracy, points", *(f"{100 * gap:.2f}" for _, _, gap in shown)],
    ]
    return Figure(
        "measures", "Generalisation measures",
        f"On {measured[0].examples:,} training examples. Bars: over the first network; of logarithms (log) the "
        "difference. Larger is meant to go with a larger gap to the test accuracy. Distances from the initial weights "
        "are those of bases alone: a changed network begins where its base ends, in other shapes.",
        f"Bars of {len(kept)} measures of {len(shown)} networks.",
        chart(traces, height=140 + 18 * len(kept) * min(3, len(shown)), xaxis={"title": "over the first network"},
              yaxis={"type": "category", "dtick": 1, "autorange": "reversed"}, barmode="group",
              showlegend=len(shown) > 1),
        Table(["measure", *(name for name, _, _ in shown)], rows, len(shown)),
        wide=True,
    )  # fmt: skip


def ranking_figure(ranking: Ranking, what: str, name: str) -> Figure:
    """How well each measure ranks networks by their gap; ``what``: they are, in words."""
    rows = ranking.rows
    shown = labels([words(row.measure) for row in rows])
    traces = [
        go.Scatter(
            x=[row.tau.value for row in rows], y=shown, name="all pairs", mode="markers",
            marker={"color": SERIES[0], "size": 9},
            error_x={"type": "data", "symmetric": False, "array": [row.tau.high - row.tau.value for row in rows],
                     "arrayminus": [row.tau.value - row.tau.low for row in rows], "color": SERIES[0], "thickness": 1},
            hovertemplate="%{y}: tau %{x:.2f}<extra></extra>",
        ),
        *(
            go.Scatter(
                x=[row.granulated.by_axis.get(axis, math.nan) for row in rows], y=shown, name=plain(axis),
                mode="markers", marker={"color": SERIES[place % len(SERIES)], "size": 7, "symbol": "diamond-open"},
                hovertemplate=f"%{{y}} along {plain(axis)}: %{{x:.2f}}<extra></extra>",
            )
            for place, axis in enumerate(ranking.axes, start=1)
        ),
    ]  # fmt: skip
    return Figure(
        name, f"Which measures rank {what} by their gap",
        f"Kendall's rank correlation with training minus test accuracy over {len(ranking.networks)} networks, its "
        "interval of 95 % over them, and where a single setting varies. 1: ranks as the gap does, -1: the other way "
        "round. A measure that flips between settings says little of a new network.",
        f"Dots of {len(rows)} measures; the largest correlation is {rows[0].tau.value:.2f}, of "
        f"{words(rows[0].measure)}." if rows else "No measures.",
        chart(traces, height=140 + 20 * len(rows), xaxis={"title": "rank correlation", "range": [-1.05, 1.05]},
              yaxis={"type": "category", "dtick": 1, "autorange": "reversed"}, showlegend=True),
        Table(
            ["measure", "tau", "95 %", "granulated", *ranking.axes, "information", "worst pairs", "flips"],
            [_cells(row, ranking.axes) for row in rows], 6 + len(ranking.axes),
        ),
        wide=True,
    )  # fmt: skip


def _cells(row: Ranked, axes: Sequence[str]) -> list[str]:
    turned = "" if row.flip is None else f"{row.flip.right} / {row.flip.wrong}"
    return [
        words(row.measure), _number(row.tau.value), f"{_number(row.tau.low)} to {_number(row.tau.high)}",
        _number(row.granulated.mean), *(_number(row.granulated.by_axis.get(axis, math.nan)) for axis in axes),
        _number(row.information.least), _number(row.worst[0]), turned,
    ]  # fmt: skip


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _known(found: Measured, name: str) -> str:
    return f"{found.values[name]:.4g}" if name in found.values else "–"


def _over(value: float | None, first: float | None, name: str) -> float | None:
    if value is None or first is None:
        return None
    ratio = value / first if first else math.nan
    found = value - first if name.startswith("log_") else ratio
    return found if math.isfinite(found) else None
