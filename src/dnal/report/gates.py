"""How the gates decided, and under which budget."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from dnal.costs.cost import COSTS
from dnal.report.colours import ASKED, BASE, COMPACT, LEARNT, SCALE
from dnal.report.curves import Timed, colour_of, epoch_axis, line, thinned, timed
from dnal.report.figure import Figure, Table, chart, plain
from dnal.report.source import Source, finite

MOST = 400
"""Columns of a heat map."""
TICKS = (1, 5, 25, 50, 100)
"""Percent that the scale of a heat map names."""


def gate_figures(source: Source) -> list[Figure]:
    """The gates over time, the budget and its multipliers; what a method does not have is left out."""
    learnt = timed(source, "architecture")
    figures = [_gates(learnt), *_budgets(source, learnt), _multipliers(learnt)]
    return [figure for figure in figures if figure is not None]


def _gates(learnt: list[Timed]) -> Figure | None:
    with_gates = [each for each in learnt if each.epoch.gates and sum(each.epoch.gates)]
    bins = max((len(each.epoch.gates or ()) for each in with_gates), default=0)
    with_gates = [each for each in with_gates if len(each.epoch.gates or ()) == bins]
    if not with_gates:
        return None
    drawn = thinned(with_gates, MOST)
    counts = [each.epoch.gates or [] for each in drawn]
    shares = [[100 * count / sum(column) for count in column] for column in counts]
    at = [each.at for each in drawn]
    deltas = [each.epoch.values.get("delta") for each in drawn]
    heat = go.Heatmap(
        x=at, y=[(i + 0.5) / bins for i in range(bins)],
        # Most gates end in one of two bins: the square root shows the few between them too.
        z=[[math.sqrt(column[i]) or None for column in shares] for i in range(bins)],
        zmin=0, zmax=10, colorscale=SCALE,
        customdata=[[f"{column[i]} gates, {share[i]:.1f} %" for column, share in zip(counts, shares, strict=True)]
                    for i in range(bins)],
        hovertemplate="epoch %{x}, gate %{y:.2f}<br>%{customdata}<extra></extra>",
        colorbar={
            "title": {"text": "% of gates", "side": "right"}, "thickness": 12, "len": 0.72, "y": 1,
            "yanchor": "top", "tickvals": [math.sqrt(t) for t in TICKS], "ticktext": [str(t) for t in TICKS],
        },
    )  # fmt: skip
    scale = go.Scatter(
        name="δ", x=at, y=deltas, mode="lines+markers", line={"color": ASKED, "width": 2}, marker={"size": 4},
        hovertemplate="epoch %{x}: δ = %{y:.4g}<extra></extra>", xaxis="x2", yaxis="y2",
    )  # fmt: skip
    figure = chart(
        [heat, scale],
        height=430,
        showlegend=False,
        xaxis={"anchor": "y", "matches": "x2", "showticklabels": False},
        yaxis={"anchor": "x", "domain": [0.3, 1.0], "title": "gate", "range": [0, 1]},
        xaxis2={"anchor": "y2", **epoch_axis(with_gates)},
        yaxis2={"anchor": "x2", "domain": [0.0, 0.22], "title": "δ", "type": "log", "dtick": 1},
    )
    last = drawn[-1].epoch
    undecided = last.values.get("undecided")
    said = "" if undecided is None else f"; at the end {100 * undecided:.1f} % of them are between .1 and .9"
    return Figure(
        "gates",
        "The gates, as they decide",
        "Each column is an epoch: how many gates σ(δ s) have which value, from closed (0) to open (1). Below, the "
        f"scale δ that makes them decide{said}.",
        f"Heat map of the values of {sum(counts[-1]):,} gates over {len(with_gates)} epochs{said}.",
        figure,
        Table(
            ["epoch", "δ", "open", "between .1 and .9"],
            [
                [
                    str(each.epoch.epoch),
                    *(
                        "–" if (value := each.epoch.values.get(key)) is None else shown.format(value)
                        for key, shown in (("delta", "{:.4g}"), ("open", "{:.1%}"), ("undecided", "{:.1%}"))
                    ),
                ]
                for each in with_gates
            ],
            4,
        ),
        wide=True,
    )


def _budgets(source: Source, learnt: list[Timed]) -> list[Figure]:
    bounded = [constraint.cost for constraint in source.result.constraints] or ["macs"]
    figures = [_budget(source, cost, learnt) for cost in dict.fromkeys(bounded)]
    return [figure for figure in figures if figure is not None]


def _budget(source: Source, cost: str, learnt: list[Timed]) -> Figure | None:
    """Expected (soft) and rounded (hard) cost against what is allowed at the moment."""
    base = finite(source.result.base.get(COSTS[cost].figure if cost in COSTS else cost))
    own = [each for each in learnt if f"{cost}_hard" in each.epoch.values]
    if not own or not base:
        return None
    drawn = thinned(own)
    name = plain(_words(cost))
    series = [
        ("rounded gates", f"{cost}_hard", COMPACT, "solid"),
        ("soft gates", f"{cost}_soft", LEARNT, "dot"),
        ("allowed", f"limit_{cost}", ASKED, "dash"),
    ]
    traces = []
    for label, key, colour, dash in series:
        known = [each for each in drawn if key in each.epoch.values]
        if known:
            values = [100 * each.epoch.values[key] / base for each in known]
            traces.append(line(label, known, values, colour, ".1f", dash=dash))
    asked = [c.asked for c in source.result.constraints if c.cost == cost]
    if asked:
        ends = [drawn[0], drawn[-1]]
        traces.append(line("asked", ends, [100 * asked[0] / base] * 2, BASE, ".1f", dash="solid"))
        traces[-1].update(mode="lines", line={"width": 1})
    soft, hard = (own[-1].epoch.values.get(f"{cost}_{kind}") for kind in ("soft", "hard"))
    ends_at = ", ".join(
        f"{100 * value / base:.1f} % with {kind} gates"
        for value, kind in ((soft, "soft"), (hard, "rounded"))
        if value is not None
    )
    return Figure(
        f"budget-{plain(cost)}",
        f"The budget: {name}" if asked else f"The cost: {name}",
        f"{name[0].upper()}{name[1:]} in percent of the base while the architecture is learnt: as the gates stand, "
        f"rounded{', and what is allowed' if asked else ''}.",
        f"Curves of the {name}: at the end {ends_at}.",
        chart(traces, xaxis=epoch_axis(own), yaxis={"title": "% of the base", "rangemode": "tozero"}),
        Table(
            ["epoch", *(label for label, *_ in series)],
            [
                [
                    str(each.epoch.epoch),
                    *(
                        "–" if (v := each.epoch.values.get(key)) is None else f"{100 * v / base:.1f} %"
                        for _, key, *_ in series
                    ),
                ]
                for each in own
            ],
            4,
        ),
    )


def _multipliers(learnt: list[Timed]) -> Figure | None:
    start = "multiplier_"
    costs = list(dict.fromkeys(key for each in learnt for key in each.epoch.values if key.startswith(start)))
    if not any(each.epoch.values.get(cost) for each in learnt for cost in costs):
        return None
    traces = []
    for number, key in enumerate(costs):
        own = thinned([each for each in learnt if key in each.epoch.values])
        name = _words(key.removeprefix(start))
        traces.append(line(name, own, [each.epoch.values[key] for each in own], colour_of(number), ".4g"))
    most = max(each.epoch.values.get(key, 0.0) for each in learnt for key in costs)
    return Figure(
        "multipliers",
        "The multiplier",
        "How hard each bound pulls: the weight of its cost beside the loss, at 0 as long as it does not bind.",
        f"Curve of {'the multiplier' if len(costs) == 1 else f'{len(costs)} multipliers'}, at most {most:.3g}.",
        chart(
            traces,
            xaxis=epoch_axis(learnt),
            yaxis={"title": "λ", "rangemode": "tozero"},
            showlegend=True,
        ),
    )


def _words(cost: str) -> str:
    return COSTS[cost].words if cost in COSTS else cost
