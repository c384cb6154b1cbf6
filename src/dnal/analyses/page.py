"""The page of an analysis: what was found in figures and charts, and the images that flip."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from dnal.analyses.analysis import Analysis, Looked, Pair
from dnal.analyses.figures import (
    calibration_figure,
    class_figure,
    corruption_figures,
    likeness_figures,
    margin_figure,
    people_figure,
    routing_figure,
    shift_figure,
    smoothness_figure,
)
from dnal.analyses.measures.figures import ranking_figure, values_figure
from dnal.base.statistics import Interval
from dnal.report.figure import Figure
from dnal.report.frame import rendered
from dnal.report.numbers import percent, quantity
from dnal.report.pictures import picture_of

SHOWN = 24
"""Images of each kind of flip."""


class Shown(NamedTuple):
    """An image on the page, in words, and its picture, "" where it has none."""

    number: int
    label: str
    said: str
    more: str
    picture: str


def page(analysis: Analysis) -> str:
    """The HTML. No time, no host, nothing that is loaded."""
    networks = analysis.networks
    heading = ", ".join(one.name for one in networks if not one.base) or networks[0].name
    return rendered(
        "analysis.html",
        "dnal.analyses",
        title=f"dnal: analysis of {heading}",
        heading="What became of the examples" if analysis.pairs else "What is inside",
        what=f"{heading} on {len(analysis.targets):,} test examples of {analysis.data.name}",
        remarks=analysis.remarks,
        rows=[(one.name, _cells(one)) for one in networks],
        general=[
            margin_figure(analysis), calibration_figure(analysis),
            *(found for found in (routing_figure(analysis), smoothness_figure(analysis)) if found is not None),
        ],
        pairs=[_pair(analysis, number, pair) for number, pair in enumerate(analysis.pairs, start=1)],
        people=[figure for figure in (people_figure(analysis),) if figure is not None],
        measures=_measures(analysis),
        likeness=likeness_figures(analysis),
        alike=[] if len(networks) != 2 else [
            f"{kind[:1].upper()}{kind[1:]}: {float(found[0, 1]):.3f}." for kind, found in analysis.likeness.items()
        ],
        corruptions=corruption_figures(analysis),
    )  # fmt: skip


def _measures(analysis: Analysis) -> list[Figure]:
    """The measures of the networks, and how well each ranks them."""
    own = [(one.name, one.measured, one.gap) for one in analysis.networks]
    told = [(name, found, gap) for name, found, gap in own if found is not None and gap is not None]
    if not told:
        return []
    names, measured, gaps = zip(*told, strict=True)
    words = {"base": "bases", "changed": "compact networks"}
    return [
        values_figure(names, measured, gaps),
        *(ranking_figure(found, words[word], f"ranking-{word}") for word, found in analysis.rankings.items()),
    ]


def _cells(one: Looked) -> list[str]:
    """A network's row in the table."""
    found = one.geometry
    seen = ["–"] * 3
    if found is not None:
        angle = f"{float(found.angles.median().rad2deg()):.1f}°"
        seen = [f"{float(one.margins.median()):.3g}", angle, str(int(found.zero.sum()))]
    ece, sure = f"{100 * one.calibration.ece:.1f}", percent(float(one.confidence.mean()))
    return [quantity("macs", one.macs), percent(one.accuracy), ece, sure, *seen]


def _pair(analysis: Analysis, number: int, pair: Pair) -> dict[str, Any]:
    counts, total = pair.flips.counts(), len(analysis.targets)
    base, compact = (analysis.networks[one] for one in (pair.base, pair.compact))
    cards = [
        ("accuracy", _points(pair.accuracy, 100), "points to the base, 95 % of examples"),
        ("fragile", f"{counts['fragile']:,}", f"{percent(counts['fragile'] / total)} are right in the base alone"),
        (
            "repaired",
            f"{counts['repaired']:,}",
            f"{percent(counts['repaired'] / total)} are right in {compact.name} alone",
        ),
    ]
    if not math.isnan(pair.lowest):
        cards.append(
            ("near a boundary", percent(pair.lowest), "of the flips are in the lowest decile of the base's margins")
        )
    figures = [
        figure
        for figure in (
            shift_figure(analysis, pair, f"shift-{number}"), class_figure(analysis, pair, f"classes-{number}"),
        )
        if figure is not None
    ]  # fmt: skip
    return {
        "id": f"pair-{number}",
        "title": f"{compact.name} beside {base.name}",
        "cards": cards,
        "differences": [
            (what, f"{found.value:+.3g}", f"{found.low:+.3g} to {found.high:+.3g}")
            for what, found in (
                ("margin, in median lengths", pair.margin), ("length, over the median one", pair.length),
                ("angle, degrees", pair.angle),
            )
            if found is not None
        ],
        "attribution": _attribution(pair, compact.word),
        "figures": figures,
        "ends": [
            (title, what, shown)
            for title, what, shown in (
                ("Fragile", f"Right in {base.name}, wrong in {compact.name}; those first that the base was surest of.",
                 _shown(analysis, pair, "fragile")),
                ("Repaired", f"Wrong in {base.name}, right in {compact.name}; first those that it had most wrong.",
                 _shown(analysis, pair, "repaired")),
            )
            if shown
        ],
    }  # fmt: skip


def _attribution(pair: Pair, word: str) -> list[str]:
    """Where the difference comes from, in sentences; ``word``: what the network is called beside its base."""
    found = pair.attribution
    if found is None:
        return []
    sentences = [
        f"The loss changes by {found.loss:+.3g}: {found.direction:+.3g} comes with the directions of the features and "
        f"the last layer, {found.length:+.3g} with the lengths. The base with the {word} network's lengths has "
        f"{percent(found.base_of_its_length)} right, the {word} network with the base's "
        f"{percent(found.compact_of_its_length)}."
    ]
    if not math.isnan(found.by_direction):
        sentences.append(
            f"Of the fragile examples {percent(found.by_direction, 0)} are wrong by the new directions alone, "
            f"{percent(found.by_length, 0)} by the new lengths alone."
        )
    return sentences


def _shown(analysis: Analysis, pair: Pair, outcome: str) -> list[Shown]:
    """The examples of an outcome, those first whose margin in the base is largest in size."""
    if not analysis.single:
        return []
    base, compact = (analysis.networks[one] for one in (pair.base, pair.compact))
    own = getattr(pair.flips, outcome).nonzero()[:, 0]
    order = own[torch.argsort(base.margins[own].abs(), descending=True, stable=True)][:SHOWN]
    found = []
    for number in order.tolist():
        names = [analysis.classes[int(each[number])] for each in (base.seen.predictions, compact.seen.predictions)]
        people = (
            ""
            if analysis.disagreement is None
            else f", people's disagreement {float(analysis.disagreement[number]):.2f}"
        )
        found.append(
            Shown(
                number, analysis.classes[int(analysis.targets[number])], f"{names[0]} → {names[1]}",
                f"margin {float(base.margins[number]):+.2f} → {float(compact.margins[number]):+.2f}{people}",
                picture_of(analysis.data, analysis.data.test, number),
            )
        )  # fmt: skip
    return found


def _points(found: Interval, factor: float) -> str:
    return f"{factor * found.value:+.2f} [{factor * found.low:+.2f}, {factor * found.high:+.2f}]"
