"""What is left of the weights, round by round, and what it was worth."""

from __future__ import annotations

from itertools import groupby

from dnal.report.curves import timed
from dnal.report.figure import Figure
from dnal.report.rounds import over_rounds
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
    return [
        over_rounds(
            source, "weights", "against the weights that stay", "", points,
            axis={"title": "weights that stay, %", "type": "log", "autorange": "reversed"},
            hover="%{x:.3g} % of the weights", size=lambda x: f"{x:.3g} %",
            words=("weights that stay", " of the weights"),
            columns={},
        )
    ]  # fmt: skip
