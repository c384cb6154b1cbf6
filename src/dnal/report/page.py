"""The page: everything that is shown, put into the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dnal.costs.cost import COSTS
from dnal.models import called
from dnal.report.classes import class_figures
from dnal.report.command import learn_command, like_command, remarks, versions
from dnal.report.costs import costs_figure, known_costs
from dnal.report.curves import curve_figures
from dnal.report.figure import Figure
from dnal.report.frame import rendered
from dnal.report.gates import gate_figures
from dnal.report.growth import growth_figures
from dnal.report.layers import layer_figures
from dnal.report.numbers import changed, percent, quantity, ratio, shown
from dnal.report.paid import CAVEAT, SECONDS, paid_of
from dnal.report.source import Source, finite
from dnal.report.trade_off import trade_off_figures
from dnal.report.tuning import tuning_figures
from dnal.report.weights import weight_figures
from dnal.report.worth import worth_sentences


@dataclass(frozen=True)
class Section:
    """Figures under a heading."""

    name: str
    title: str
    figures: list[Figure]


def page(sources: Sequence[Source], *, analysis: str | None = None) -> str:
    """The HTML of one or several runs. No time, no host, nothing that is loaded.

    Args:
        analysis: where the page of `dnal analyse` is, from here; None: there is none.
    """
    several, paid = len(sources) > 1, paid_of(sources)
    compared = len(paid) == 1 and len(paid[0].rows) == len(sources)  # nothing else is on the page
    heading = f"The trade-off of {len(sources)} runs"
    if compared:
        first, *others = (row.name for row in paid[0].rows)
        sources = sorted(sources, key=lambda source: [row.folder for row in paid[0].rows].index(source.folder))
        paid = paid_of(sources)
        heading = f"{first} against {', '.join(others)}"
    return rendered(
        "page.html",
        title=f"dnal: {heading.removeprefix('The ') if several else sources[0].name}",
        heading=heading,
        paid=paid,
        compared=compared,
        notes=(CAVEAT, SECONDS),
        analysis=analysis,
        metric=" or ".join(dict.fromkeys(source.config.aim.words for source in sources)),
        trade_off=trade_off_figures(sources) if several else [],
        rows=[_row(number, source) for number, source in enumerate(sources, start=1)],
        runs=[_run(number, source, compared=compared) for number, source in enumerate(sources, start=1)],
    )


def _run(number: int, source: Source, *, compared: bool) -> dict[str, Any]:
    """What the template shows of a run; ``compared``: it differs from the others in its method, not its budget."""
    result = source.result
    costs = known_costs(source)
    base, compact = source.metric
    kept = [constraint.holds for constraint in result.constraints]
    cards = [
        (COSTS[cost].words, percent(ratio(*pair)), f"{quantity(cost, pair[1])} of {quantity(cost, pair[0])}")
        for cost, pair in costs.items()
    ]
    if compact is not None:
        aim = source.config.aim
        beside = f"{changed(aim, base, compact)} to the base" if base is not None else ""
        cards.append((aim.words, aim.shown(compact), beside))
    sections = [
        Section("layers", "The network", layer_figures(source)),
        Section(
            "learning",
            "How it was learnt",
            [
                *weight_figures(source),
                *growth_figures(source),
                *gate_figures(source),
                *curve_figures(source),
                *tuning_figures(source),
            ],
        ),
        Section("classes", "The classes", class_figures(source)),
    ]
    costs_chart = costs_figure(source)
    return {
        "id": f"run-{number}",
        "name": source.name,
        "word": source.word,
        "worth": worth_sentences(source),
        "changed": [] if source.change is None else source.change.remarks(),
        "what": f"{called(source.config.model)} on {source.config.data}",
        "how": _how(source),
        "asked": source.budget,
        "title": source.name if compared else source.budget,
        "holds": None if not kept else all(kept),
        "cards": cards,
        "costs": [] if costs_chart is None else [costs_chart],
        "figures": _figures(source) if source.finished else [],
        "constraints": [
            (
                c.bound,
                quantity(c.cost, c.asked),
                quantity(c.cost, c.got),
                quantity(c.cost, c.predicted),
                c.holds,
                c.got > c.asked,
            )
            for c in result.constraints
        ],
        "predicted": any(c.predicted is not None for c in result.constraints),
        "blocks": source.details.blocks if source.details is not None else [],
        "sections": [section for section in sections if section.figures],
        "missing": source.missing,
        "commands": (learn_command(source), like_command(source)),
        "remarks": remarks(source),
        "versions": versions(source),
        "settings": [(str(key), "" if value is None else str(value)) for key, value in source.settings.items()],
        "seconds": [
            (phase, f"{seconds:.1f} s") for phase, seconds in result.seconds.items() if finite(seconds) is not None
        ],
    }


def _figures(source: Source) -> list[tuple[str, str, str, str]]:
    """Base and compact network in figures: what, base, compact, compact of base."""
    images = source.config.of_kind.counted(source.config.deploy_batch_size)
    rows = [
        (
            COSTS[cost].described(images, source.config.backend),
            quantity(cost, base),
            quantity(cost, compact),
            percent(ratio(base, compact)),
        )
        for cost, (base, compact) in known_costs(source).items()
    ]
    base, compact = source.metric
    aim = source.config.aim
    return [*rows, (f"{aim.words} (test data)", shown(aim, base), shown(aim, compact), changed(aim, base, compact))]


def _how(source: Source) -> str:
    return f"method {source.result.method}, seed {source.config.seed}"


def _row(number: int, source: Source) -> dict[str, Any]:
    """A run's row in the table of several."""
    costs = known_costs(source)
    kept = [constraint.holds for constraint in source.result.constraints]
    return {
        "number": number,
        "name": source.name,
        "asked": source.budget,
        "what": f"{called(source.config.model)} on {source.config.data}, {_how(source)}",
        "costs": [
            (quantity(cost, costs[cost][1]), percent(ratio(*costs[cost]))) if cost in costs else ("–", "")
            for cost in ("macs", "params", "latency")
        ],
        "metric": shown(source.config.aim, source.metric[1]),
        "change": changed(source.config.aim, *source.metric),
        "holds": all(kept) if kept else None,
    }
