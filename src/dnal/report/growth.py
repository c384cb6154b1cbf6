"""How a network grew, round by round, and what it was worth."""

from __future__ import annotations

from itertools import groupby

import plotly.graph_objects as go

from dnal.costs.budget import amount
from dnal.report.colours import COMPACT
from dnal.report.curves import MOST, timed
from dnal.report.figure import Figure, Table, chart, plain
from dnal.report.source import Source

GREW = "bottleneck"
"""What only the epochs of a network that grows tell, in a line of log.jsonl, beside its "params" and "macs"."""


def growth_figures(source: Source) -> list[Figure]:
    """The metric at the end of the base and of each round against the parameters, where a network grew in rounds."""
    aim, ends = source.config.aim, (source.result.base.get("params"), source.result.compact.get("params"))
    own = [each for each in timed(source) if aim.figure in each.epoch.values]
    if not any(GREW in each.epoch.values for each in own):
        return []
    sizes = [each.epoch.values.get("params") for each in own]
    first = next(number for number, size in enumerate(sizes) if size is not None)
    sizes = [
        size if size is not None else ends[0] if number < first else ends[1] for number, size in enumerate(sizes)
    ]  # fmt: skip
    rounds = [
        list(group)[-1]
        for _, group in groupby(zip(own, sizes, strict=True), lambda pair: (pair[0].epoch.phase, pair[1]))
    ]
    points = [(size, aim.factor * each.epoch.values[aim.figure], each) for each, size in rounds if size]
    form, unit = ".2f" if aim.is_share else ".4f", f" {aim.unit}".rstrip()
    drawn = points[::-1][:: -(-len(points) // MOST)][::-1]
    trace = go.Scatter(
        name=source.word, x=[x for x, *_ in drawn], y=[y for _, y, _ in drawn],
        mode="lines+markers", line={"color": COMPACT, "width": 2}, marker={"size": 8},
        hovertemplate=f"%{{x:,}} parameters: %{{y:{form}}}{unit}<extra></extra>",
    )  # fmt: skip
    begin, end = points[0], points[-1]
    return [
        Figure(
            "growth",
            f"{aim.words[0].upper()}{aim.words[1:]} while the network grew",
            "On the validation data, at the end of the base and of each round; the axis is logarithmic. The bottleneck "
            "is what the layers could not follow of the loss's gradient before they grew, of an example.",
            f"Curve from {begin[1]:{form}}{unit} with {amount('params', begin[0])} parameters to {end[1]:{form}}{unit} "
            f"with {amount('params', end[0])}.",
            chart(
                [trace],
                xaxis={"title": "parameters", "type": "log"},
                yaxis={"title": aim.unit or aim.words},
            ),
            Table(
                ["phase", "parameters", "bottleneck before", f"{aim.words}{f', {aim.unit}' if aim.unit else ''}"],
                [
                    [
                        plain(e.epoch.phase),
                        amount("params", x),
                        f"{e.epoch.values[GREW]:.3g}" if GREW in e.epoch.values else "–",
                        f"{y:{form}}",
                    ]
                    for x, y, e in points
                ],
                1,
            ),
        )
    ]
