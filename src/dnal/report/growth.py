"""How a network grew, round by round, and what it was worth."""

from __future__ import annotations

from itertools import groupby

from dnal.costs.budget import amount
from dnal.report.curves import Timed, timed
from dnal.report.figure import Figure
from dnal.report.rounds import over_rounds
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
    return [
        over_rounds(
            source, "growth", "while the network grew",
            " The bottleneck is what the layers could not follow of the loss's gradient before they grew, of an "
            "example.",
            points, axis={"title": "parameters", "type": "log"}, hover="%{x:,} parameters",
            size=lambda x: amount("params", x), words=("parameters", " parameters"),
            columns={"bottleneck before": _bottleneck},
        )
    ]  # fmt: skip


def _bottleneck(each: Timed) -> str:
    values = each.epoch.values
    return f"{values[GREW]:.3g}" if GREW in values else "–"
