"""The page of a search: its course, and the best networks drawn."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from dnal.base.errors import UserError
from dnal.base.options import word_of
from dnal.base.registry import text_of_values
from dnal.costs.budget import amount
from dnal.costs.cost import COSTS
from dnal.data.objective import CLASSIFICATION, Objective
from dnal.models.genomes.families import FAMILIES, is_genome
from dnal.models.genomes.neurons import ACTIVATIONS
from dnal.report.colours import ASKED, BASE, COMPACT, LEARNT, OTHER
from dnal.report.figure import Figure, Table, chart, labels, plain
from dnal.report.frame import rendered
from dnal.report.numbers import quantity
from dnal.run.config import read_config
from dnal.run.files import RESULT
from dnal.run.loading import read_result
from dnal.run.searched import Asked, Line, read_asked, read_lines

DESCENT = "descent"
"""What stands for the sampler where nothing is sampled."""
HOLLOW = " A hollow dot is a network that was stopped early, at what it was worth by then."
DRAWN = 5
"""Networks that are drawn, the best first."""
COLOURS = {
    "conv": COMPACT, "max": ASKED, "avg": ASKED, "pool": ASKED, "fc": LEARNT, "dense": LEARNT, "head": LEARNT,
    "h": LEARNT, "bn": BASE, "fbn": BASE, "drop": OTHER, "fdrop": OTHER, "flat": BASE,
}  # fmt: skip
WORDS = {
    "conv": "convolution", "max": "max pooling", "avg": "average pooling", "pool": "pooling", "fc": "fully connected",
    "dense": "fully connected", "bn": "batch norm", "fbn": "batch norm", "drop": "dropout", "fdrop": "dropout",
    "flat": "flat", "head": "scores", "h": "hidden layer",
}  # fmt: skip


def search_page(folder: Path) -> str:
    """The HTML of a search in a folder, which may be anybody's and need not be finished. Nothing is built or run.

    Raises:
        UserError: a damaged folder, or one in which no network was trained yet.
    """
    asked, lines = read_asked(folder), read_lines(folder)
    if not lines:
        raise UserError(f"no network of the search in '{folder}' was trained yet; the same `dnal search` goes on.")
    finished = os.path.lexists(folder / RESULT)
    aim = read_config(folder).aim if finished else CLASSIFICATION
    result: Mapping[str, Any] = read_result(folder) if finished else {}
    whole = [line for line in lines if line.fitness is not None and not line.stopped]
    best = sorted(whole, key=lambda line: -float(line.fitness or 0))
    figures = result.get("compact", {})
    cards = [
        (cost.words, amount(cost.name, figures[cost.figure]), _bounded(result, cost.name))
        for cost in COSTS.values() if isinstance(figures.get(cost.figure), int | float)
    ]  # fmt: skip
    if isinstance(figures.get(aim.figure), int | float):
        cards.append((aim.words, aim.shown(figures[aim.figure]), "test data"))
    failed = [(line.model, line.why) for line in lines if line.fitness is None]
    return rendered(
        "search.html",
        title=f"dnal search: {folder.name or folder.absolute().name}",
        heading=f"{text_of_values(asked.sampler).partition(':')[0]} in {text_of_values(asked.space).partition(':')[0]}",
        what=f"{len(lines)} networks on {asked.options.get('data', 'data')}, budget {asked.budget}, seed "
        f"{asked.options.get('seed', '')}",
        best=best[0].model if best else None,
        cards=cards,
        missing=[] if finished else ["This search is not finished; the same command goes on with it."],
        failed=failed,
        course=[] if not best else [course_figure(lines, aim), costs_figure(lines, aim)],
        networks=[drawn_figure(number, line, aim) for number, line in enumerate(_different(best)[:DRAWN], 1)],
        command=command(asked),
        settings=[(name, word_of(value) if value is not None else "") for name, value in asked.options.items()],
        details=[("space", text_of_values(asked.space)), ("sampler", text_of_values(asked.sampler))],
    )


def command(asked: Asked) -> str:
    """What makes the search again."""
    words = ["dnal", "search", "--space", text_of_values(asked.space)]
    if asked.sampler.get("name") != DESCENT:
        words += ["--sampler", text_of_values(asked.sampler)]
    words += ["--budget", asked.budget]
    for name, value in asked.options.items():
        if value is not None:
            said = ",".join(map(str, value)) if isinstance(value, list) else word_of(value)
            words += [f"--{name.replace('_', '-')}", said]
    return shlex.join(words)


def course_figure(lines: Sequence[Line], aim: Objective) -> Figure:
    """What each network was worth, in the order in which they were asked for, and the best so far."""
    values = [None if line.fitness is None else aim.factor * line.fitness for line in lines]
    best: list[float | None] = []
    for line, value in zip(lines, values, strict=True):
        before = best[-1] if best else None
        no_better = value is None or line.stopped or (before is not None and before >= value)
        best.append(before if no_better else value)
    numbers, stopped = list(range(1, len(lines) + 1)), sum(line.stopped for line in lines)
    hollow = f", {stopped} of them hollow" if stopped else ""
    unit = f" {aim.unit}".rstrip()
    last = next(value for value in reversed(best) if value is not None)
    asked = any(line.predicted is not None for line in lines)

    def shown(value: float | None) -> str:
        return "–" if value is None else aim.shown(value)

    return Figure(
        "course",
        "The course of the search",
        "A dot is a network that was trained, in the order in which they were asked for; the line is the best so far. "
        f"Measured on the data by which networks are compared, after a short training.{HOLLOW if stopped else ''}",
        f"{len(lines)} dots{hollow}; the best so far ends at {last:.2f}{unit}.",
        chart(
            [
                go.Scatter(
                    name="network", x=numbers, y=values, mode="markers",
                    marker={"color": COMPACT, "size": 8, "symbol": [_symbol(line) for line in lines]},
                    customdata=[
                        f"{plain(line.model[:120])}<br>round {line.round}{_stopped_early(line)}" for line in lines
                    ],
                    hovertemplate=f"%{{x}}: %{{y:.2f}}{unit}<br>%{{customdata}}<extra></extra>",
                ),
                go.Scatter(
                    name="best so far", x=numbers, y=best, mode="lines", hoverinfo="skip",
                    line={"color": ASKED, "width": 2, "shape": "hv"},
                ),
            ],
            xaxis={"title": "networks that were trained"}, yaxis={"title": aim.unit or aim.words},
        ),
        Table(
            ["number", "network", "round", *(["predicted"] if asked else []), aim.words],
            [
                [str(number), line.model, str(line.round), *([shown(line.predicted)] if asked else []),
                 _worth(line, aim)]
                for number, line in zip(numbers, lines, strict=True)
            ],
            2,
        ),
        wide=True,
    )  # fmt: skip


def costs_figure(lines: Sequence[Line], aim: Objective) -> Figure:
    """What networks were worth against what they cost."""
    found = [line for line in lines if line.fitness is not None and "macs" in line.costs]
    unit = f" {aim.unit}".rstrip()
    return Figure(
        "costs",
        f"{aim.words[:1].upper()}{aim.words[1:]} against MACs",
        "A dot is a network; the axis is logarithmic. Networks that break the budget are not trained and not shown."
        f"{HOLLOW if any(line.stopped for line in found) else ''}",
        f"{len(found)} dots.",
        chart(
            [
                go.Scatter(
                    x=[max(1.0, line.costs["macs"]) for line in found],
                    y=[aim.factor * float(line.fitness or 0) for line in found], mode="markers",
                    marker={"color": COMPACT, "size": 8, "symbol": [_symbol(line) for line in found]},
                    customdata=[
                        f"{plain(line.model[:120])}<br>{amount('macs', line.costs['macs'])} MACs{_stopped_early(line)}"
                        for line in found
                    ],
                    hovertemplate=f"%{{customdata}}: %{{y:.2f}}{unit}<extra></extra>",
                )
            ],
            xaxis={"title": "MACs", "type": "log"}, yaxis={"title": aim.unit or aim.words},
        ),
        wide=True,
    )  # fmt: skip


def drawn_figure(number: int, line: Line, aim: Objective) -> Figure:
    """A network as a row of bars per layer: how wide it is, and what it is."""
    prefix, _, text = line.model.partition("/")
    genome = [*FAMILIES[prefix].parse(text)] if is_genome(line.model) else []
    layers = [(layer.kind, list(layer.values)) for layer in genome] + [("head", [])]
    names = labels([f"{place}. {_said(kind, values)}" for place, (kind, values) in enumerate(layers, 1)])
    widths, width = [], 1
    for kind, values in layers:
        width = int(values[0]) if kind in ("conv", "fc", "dense") else sum(map(int, values)) if kind == "h" else width
        widths.append(width if kind != "head" else 1)
    costs = ", ".join(f"{quantity(name, line.costs.get(name))} {COSTS[name].words}" for name in ("macs", "params"))
    said = [[str(place), _said(kind, values)] for place, (kind, values) in enumerate(layers, 1)]
    colours = [COLOURS.get(kind, BASE) for kind, _ in layers]
    return Figure(
        f"network-{number}",
        f"{number}. {aim.words} {aim.shown(line.fitness)}",
        f"{costs}. A bar is a layer, from the image at the top to the scores; it is as long as the layer is wide.",
        f"{len(layers)} layers: {', '.join(WORDS.get(kind, kind) for kind, _ in layers)}.",
        chart(
            [
                go.Bar(
                    x=widths, y=names, orientation="h", marker={"color": colours},
                    hovertemplate="%{y}<extra></extra>",
                )
            ],
            height=70 + 26 * len(layers),
            yaxis={"autorange": "reversed"}, xaxis={"title": "channels or units"}, showlegend=False,
        ),
        Table(["layer", "what"], said, 0),
    )  # fmt: skip


def _symbol(line: Line) -> str:
    return "circle-open" if line.stopped else "circle"


def _stopped_early(line: Line) -> str:
    """What is added to the words for a network that was not trained to its end."""
    return f", stopped early after {len(line.curve)} epoch{'s' if len(line.curve) != 1 else ''}" if line.stopped else ""


def _worth(line: Line, aim: Objective) -> str:
    return "–" if line.fitness is None else f"{aim.shown(line.fitness)}{_stopped_early(line)}"


def _said(kind: str, values: Sequence[Any]) -> str:
    """A layer in words."""
    word = WORDS.get(kind, kind)
    if kind == "conv":
        return " ".join([word, f"{values[1]}x{values[1]}, {values[0]}", *map(str, values[2:])])
    if kind in ("fc", "dense"):
        return " ".join([word, *map(str, values)])
    if kind == "h":
        said = (f"{number} {name}" for number, name in zip(values, ACTIVATIONS, strict=True) if number)
        return f"{word}: {', '.join(said)}"
    if kind == "pool":
        return f"{values[0]} {word} {values[1]}, stride {values[2]}"
    return f"{word} {values[0]} %" if values else word


def _different(lines: Sequence[Line]) -> list[Line]:
    return list({line.model: line for line in lines}.values())


def _bounded(result: Mapping[str, Any], cost: str) -> str:
    """What was asked of a cost, beside what it is."""
    for bound in result.get("constraints", []):
        if bound.get("cost") == cost:
            return f"asked {bound.get('bound')}{'' if bound.get('holds') else ', which it misses'}"
    return ""
