"""The network layer by layer, before and after."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import plotly.graph_objects as go

from dnal.changes import Change
from dnal.report.colours import BASE, COMPACT, OTHER
from dnal.report.figure import Figure, Table, chart, labels, plain, short
from dnal.report.numbers import percent, quantity, ratio
from dnal.report.source import Source
from dnal.run.details import Details, Side, Weight

MOST = 240
"""So many layers are drawn at once: those that cost most, in their order."""
ROW = 20
"""Pixels of a layer."""
BROAD = 42
"""Characters of a line that is shown at the mouse."""

Pair = tuple[float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Width:
    """A weight: its outputs and inputs, parameters, and in words what its channels belong to or why they stay."""

    name: str
    outputs: tuple[int, int]
    inputs: tuple[int, int] | None
    params: tuple[int, int]
    fixed: bool
    words: list[str]


@dataclass(frozen=True)
class Load:
    """What a module computes: MACs of one example, predicted milliseconds where they are known."""

    path: str
    macs: Pair
    latency_ms: Pair | None


def widths(source: Source) -> list[Width]:
    """The weights of a run's network, in its order."""
    if source.change is None:
        return []
    if source.details is None:
        return _bare(source.change)
    return [
        _width(weight, source.change, source.details)
        for layer in source.details.layers
        for weight in layer.weights
        if weight.name in source.change.shapes and weight.sides
    ]


def loads(source: Source) -> list[Load]:
    """What the modules of a run's network compute, in the order of the forward pass."""
    layers = [] if source.details is None else source.details.layers
    return [Load(layer.path or "the network itself", layer.macs, layer.latency_ms) for layer in layers]


def layer_figures(source: Source) -> list[Figure]:
    """Widths, MACs and time per layer, as far as they are known."""
    figures = []
    rows = widths(source)
    if rows:
        figures.append(_widths_figure(rows, source.word, explained=source.details is not None))
    computed = loads(source)
    if any(load.macs[0] for load in computed):
        figures.append(
            _bars(
                "layer-macs", "MACs per layer", "MACs of one example, before and after.", "macs", source.word,
                [(load.path, load.macs) for load in computed if load.macs[0] > 0],
            )
        )  # fmt: skip
    times = [(load.path, load.latency_ms) for load in computed if load.latency_ms is not None]
    measured = not times and source.result.worth is not None
    if measured and source.result.worth is not None:
        times = [(path or "the network itself", pair) for path, pair in source.result.worth.layers.items()]
    if times:
        images = source.config.of_kind.counted(source.config.deploy_batch_size)
        how = "As measured in each module" if measured else "As the latency model of this run predicts it"
        figures.append(
            _bars(
                "layer-latency", "Time per layer", f"{how}, for {images} on {source.config.backend}.", "latency",
                source.word,
                [(path, pair) for path, pair in times if pair[0] > 0],
                {load.path: percent(ratio(*load.macs)) for load in computed if load.macs[0]},
            )
        )  # fmt: skip
    return figures


def _widths_figure(rows: list[Width], word: str, *, explained: bool) -> Figure:
    drawn = _costliest(rows, lambda row: row.params[0])
    names = labels([_layer(row.name) for row in drawn])
    hover = [
        "<br>".join(
            [f"<b>{short(_layer(row.name), BROAD)}</b>", *_sizes(row), *(p for w in row.words for p in _folded(w))]
        )
        for row in drawn
    ]
    kinds = [(word, COMPACT, "", False)] + ([(f"{word}, stays as it is", OTHER, "/", True)] if explained else [])
    traces = [_wide(names, [row.outputs[0] for row in drawn], hover)]
    for kind, colour, pattern, fixed in kinds:
        own = [i for i, row in enumerate(drawn) if row.fixed == fixed or not explained]
        if own:
            bar = _thin(kind, [names[i] for i in own], [drawn[i].outputs[1] for i in own], colour)
            traces.append(bar.update(marker={"pattern": {"shape": pattern}}))
    kept, whole = sum(row.outputs[1] for row in rows), sum(row.outputs[0] for row in rows)
    gone = sum(row.outputs[1] == 0 for row in rows)
    left_out = f", {gone} {'layer is' if gone == 1 else 'layers are'} gone" if gone else ""
    more = whole < kept
    caption = f"Channels that each layer makes: the wide bar is the base's, the thin one the {word} network's."
    if explained:
        caption += " Point at a layer to see its groups, and why channels stay."
    return Figure(
        "widths",
        "The network, layer by layer",
        caption + _left_out(rows, drawn),
        f"Bars: {len(rows)} layers {'have' if more else 'keep'} {kept:,} {'after' if more else 'of'} {whole:,} channels"
        f"{left_out}.",
        chart(traces, height=_height(drawn), barmode="overlay", **_axes("channels")),
        Table(
            ["layer", "group or reason", "outputs", "left", "inputs", "left", "parameters", "left"],
            [
                [
                    _layer(row.name), "; ".join(row.words[:2]),
                    *(f"{n:,}" for n in row.outputs),
                    *(("–", "–") if row.inputs is None else (f"{n:,}" for n in row.inputs)),
                    *(f"{n:,}" for n in row.params),
                ]
                for row in rows
            ],
            6,
        ),
        wide=len(rows) > 80,
    )  # fmt: skip


def _bars(
    name: str,
    title: str,
    caption: str,
    cost: str,
    word: str,
    rows: list[tuple[str, Pair]],
    macs: Mapping[str, str] | None = None,
) -> Figure:
    """Base and compact network by layer; ``macs``: what is left of each layer's MACs, to stand beside."""
    drawn = _costliest(rows, lambda row: row[1][0])
    names = labels([path for path, _ in drawn])
    hover = [
        f"<b>{plain(path)}</b><br>base {quantity(cost, pair[0])}<br>{word} {quantity(cost, pair[1])} "
        f"({percent(ratio(*pair))})"
        for path, pair in drawn
    ]
    traces = [
        _wide(names, [pair[0] for _, pair in drawn], hover),
        _thin(word, names, [pair[1] for _, pair in drawn], COMPACT),
    ]
    before, after = (sum(pair[i] for _, pair in rows) for i in (0, 1))
    largest = max(rows, key=lambda row: row[1][0])
    return Figure(
        name,
        title,
        caption + _left_out(rows, drawn),
        f"Bars: {len(rows)} layers, from {quantity(cost, before)} to {quantity(cost, after)} together; the costliest "
        f"is {largest[0]}, from {quantity(cost, largest[1][0])} to {quantity(cost, largest[1][1])}.",
        chart(traces, height=_height(drawn), barmode="overlay", **_axes("ms" if cost == "latency" else "MACs")),
        Table(
            ["layer", "base", word, f"{word} / base", *([] if macs is None else ["of its MACs"])],
            [
                [
                    path,
                    *(quantity(cost, n) for n in pair),
                    percent(ratio(*pair)),
                    *([] if macs is None else [macs.get(path, "–")]),
                ]
                for path, pair in rows
            ],
            3 if macs is None else 4,
        ),
        wide=len(rows) > 80,
    )


def _wide(y: Sequence[str], x: Sequence[float], hover: Sequence[str]) -> go.Bar:
    """The base, which says what both bars are."""
    return go.Bar(
        name="base", y=list(y), x=list(x), orientation="h", width=0.8, marker={"color": BASE}, opacity=0.4,
        customdata=list(hover), hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _thin(name: str, y: Sequence[str], x: Sequence[float], colour: str) -> go.Bar:
    return go.Bar(
        name=name, y=list(y), x=list(x), orientation="h", width=0.42, marker={"color": colour}, hoverinfo="skip"
    )


def _axes(unit: str) -> dict[str, dict[str, object]]:
    return {
        "xaxis": {"title": unit, "rangemode": "tozero", "side": "bottom"},
        "yaxis": {"type": "category", "autorange": "reversed", "tickfont": {"size": 11}, "dtick": 1},
    }


def _height(rows: Sequence[object]) -> int:
    return 110 + ROW * len(rows)


def _costliest(rows: list[T], cost: Callable[[T], float]) -> list[T]:
    if len(rows) <= MOST:
        return rows
    chosen = set(sorted(range(len(rows)), key=lambda i: -cost(rows[i]))[:MOST])
    return [row for i, row in enumerate(rows) if i in chosen]


def _left_out(rows: Sequence[object], drawn: Sequence[object]) -> str:
    return "" if len(rows) == len(drawn) else f" Drawn are the {len(drawn)} largest of {len(rows)}; the table has all."


def _layer(name: str) -> str:
    return name.removesuffix(".weight")


def _sizes(row: Width) -> list[str]:
    gone = "" if row.outputs[1] else ": gone with its branch"
    lines = [f"outputs {row.outputs[0]:,} → {row.outputs[1]:,}{gone}"]
    if row.inputs is not None:
        lines.append(f"inputs {row.inputs[0]:,} → {row.inputs[1]:,}")
    return [*lines, f"parameters {row.params[0]:,} → {row.params[1]:,}"]


def _width(weight: Weight, change: Change, details: Details) -> Width:
    sides = weight.sides
    # Most weights make what their first dimension holds; transposed convolutions the second.
    makes = next((d for d, side in enumerate(sides) if _makes(weight, d, side, details)), 0)
    outputs, others = sides[makes], [side for d, side in enumerate(sides) if d != makes]
    words = _words("outputs", outputs, details)
    for side in others:
        words += [] if side.size == 1 and not side.groups else _words("inputs", side, details)
    return Width(
        weight.name,
        (outputs.size, outputs.left),
        (others[0].size, others[0].left) if others else None,
        _params(weight.name, change),
        not outputs.groups,
        words,
    )


def _makes(weight: Weight, dimension: int, side: Side, details: Details) -> bool:
    return any(f"{weight.name}[{dimension}]" in details.groups[group].written_by for group in side.groups)


def _words(what: str, side: Side, details: Details) -> list[str]:
    lines = []
    for number in side.groups[:3]:
        group = details.groups[number]
        lines.append(f"{what}: group {_layer(group.name)}, {group.left:,} of {group.width:,} left")
        if len(side.groups) == 1:  # what is shown at the mouse has to fit a phone
            for verb, places in (("written by", group.written_by), ("read by", group.read_by)):
                lines += [f"{verb} {', '.join(places[:2])}{', …' if len(places) > 2 else ''}"] if places else []
    if len(side.groups) > 3:
        lines.append(f"{what}: and {len(side.groups) - 3} more groups")
    return lines + [f"{what} stay: {reason}" for reason in side.reasons]


def _folded(text: str) -> list[str]:
    """A line as lines that fit beside a finger, as :func:`plain` text; those after the first are indented."""
    return [plain(part) for part in textwrap.wrap(text, BROAD, subsequent_indent="   ")]


def _params(name: str, change: Change) -> tuple[int, int]:
    return math.prod(change.shapes[name]), math.prod(change.left(name))


def _bare(change: Change) -> list[Width]:
    """What the change alone tells."""
    rows = []
    for name, shape in change.shapes.items():
        if len(shape) < 2 or not name.endswith("weight"):
            continue
        left = change.left(name)
        params = _params(name, change)
        rows.append(Width(name, (shape[0], left[0]), (shape[1], left[1]), params, left[0] == shape[0], []))
    return rows
