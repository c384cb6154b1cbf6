"""Several runs beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dnal.costs.cost import COSTS
from dnal.models import called
from dnal.report.colours import BASE
from dnal.report.costs import known_costs
from dnal.report.curves import colour_of
from dnal.report.figure import Figure, Table, chart, plain
from dnal.report.numbers import quantity
from dnal.report.source import Source

SYMBOLS = ("diamond", "circle", "square", "triangle-up", "x")


def trade_off_figures(sources: Sequence[Source]) -> list[Figure]:
    """The metric against every cost that all runs know, as far as they are finished; runs of different objectives are
    not to be compared."""
    numbered = [(number, source) for number, source in enumerate(sources, start=1) if source.finished]
    if not numbered or any(None in source.metric for _, source in numbered):
        return []
    if len({source.config.aim.figure for _, source in numbered}) > 1:
        return []
    common = [cost for cost in COSTS if all(cost in known_costs(source) for _, source in numbered)]
    return [_against(cost, numbered) for cost in common]


def family(source: Source) -> str:
    """What runs have in common that make one curve."""
    weights = ", from new weights" if source.settings.get("reinitialize") is True else ""
    return f"{called(source.config.model)} on {source.config.data}, {source.result.method}{weights}"


def _against(cost: str, numbered: Sequence[tuple[int, Source]]) -> Figure:
    sources = [source for _, source in numbered]
    aim = sources[0].config.aim
    form, unit = ".2f" if aim.is_share else ".4f", f" {aim.unit}".rstrip()
    families = list(dict.fromkeys(family(source) for source in sources))
    traces, rows = [], []
    for number, name in enumerate(families):
        own = [(i, source) for i, source in numbered if family(source) == name]
        found = []
        for i, source in own:
            base, compact = known_costs(source)[cost]
            found.append((100 * compact / base, aim.factor * (source.metric[1] or 0.0), i, source))
        found.sort(key=lambda point: point[:3])
        traces.append(
            go.Scatter(
                name=plain(name), x=[x for x, *_ in found], y=[y for _, y, *_ in found],
                mode="lines+markers+text", text=[str(i) for *_, i, _ in found], textposition="top center",
                line={"color": colour_of(number), "width": 2},
                marker={"size": 10, "symbol": SYMBOLS[number % len(SYMBOLS)]},
                customdata=[
                    f"<b>{i}: {plain(source.budget)}</b><br>{plain(source.name)}<br>{COSTS[cost].words} "
                    f"{quantity(cost, known_costs(source)[cost][1])} ({x:.1f} %)<br>{aim.words} {y:{form}}{unit}"
                    for x, y, i, source in found
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
        rows += [[str(i), source.budget, f"{x:.1f} %", f"{y:{form}}{unit}"] for x, y, i, source in found]
    bases = {(family(source), source.metric[0] or 0.0): source for source in sources}
    traces.append(
        go.Scatter(
            name="base", x=[100.0] * len(bases), y=[aim.factor * value for _, value in bases], mode="markers",
            marker={"symbol": "star", "size": 13, "color": BASE},
            customdata=[f"<b>base of {plain(name)}</b><br>{aim.words} {aim.shown(value)}" for name, value in bases],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )  # fmt: skip
    best = max(sources, key=lambda source: source.metric[1] or 0.0)
    return Figure(
        f"against-{cost}",
        f"{aim.words[0].upper()}{aim.words[1:]} against {COSTS[cost].words}",
        "Each point is a run, numbered as in the table; the star is the base.",
        f"Scatter of {len(sources)} runs: the best, {best.budget}, reaches {aim.shown(best.metric[1])}.",
        chart(
            traces,
            height=360 + 18 * len(families),
            xaxis={"title": f"{COSTS[cost].words}, % of the base", "rangemode": "tozero"},
            yaxis={"title": f"{aim.words} on the test data, {aim.unit}".rstrip(", ")},
            showlegend=True,
        ),
        Table(["run", "asked", f"{COSTS[cost].words}, of the base", aim.words], rows, 2),
    )
