"""What training looked like, epoch by epoch through all phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dnal.report.colours import ASKED, COMPACT, OTHER, PHASES, SERIES
from dnal.report.figure import Figure, Table, chart, plain
from dnal.report.source import Epoch, Source

MOST = 1000
"""Points of a curve; of more, every so many are drawn."""
WIDE = 20.0
"""A loss that falls to less than one of so many parts is drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Timed:
    """An epoch and its number, counted through all phases."""

    at: int
    epoch: Epoch


def timed(source: Source, phase: str | None = None) -> list[Timed]:
    """The epochs of a run, or of one phase."""
    return [Timed(at, e) for at, e in enumerate(source.log, start=1) if phase in (None, e.phase)]


def thinned(epochs: Sequence[Timed], most: int = MOST) -> list[Timed]:
    """At most so many of them, evenly, the last one always."""
    every = -(-len(epochs) // most) or 1
    return list(epochs[::-1][::every][::-1])


def line(
    name: str, epochs: Sequence[Timed], values: Sequence[float], colour: str, shown: str, *, dash: str = "solid"
) -> go.Scatter:
    """A curve; ``shown``: the format of a value, such as ".2f"."""
    return go.Scatter(
        name=plain(name), x=[each.at for each in epochs], y=list(values),
        mode="lines+markers" if len(epochs) < 60 else "lines",
        line={"color": colour, "dash": dash, "width": 2}, marker={"size": 4},
        hovertemplate=f"{plain(name)}<br>epoch %{{x}}: %{{y:{shown}}}<extra></extra>",
    )  # fmt: skip


def epoch_axis(epochs: Sequence[Timed]) -> dict[str, object]:
    """The axis on which epochs are counted: whole numbers."""
    few = len(epochs) <= 12
    return {"title": "epoch, all phases", "tickformat": "d", **({"dtick": 1} if few else {})}


def curve_figures(source: Source) -> list[Figure]:
    """Loss and accuracy of all phases, and of soft and rounded gates where both were measured."""
    aim = source.config.aim
    return [
        figure
        for figure in (
            over_phases(source, "loss", "Loss", "Mean loss of the training batches.", 1.0, ".4f", ""),
            over_phases(
                source,
                aim.figure,
                aim.words[0].upper() + aim.words[1:],
                "On the validation data, at the end of each epoch."
                + (" While gates are learnt, with gates rounded to open and closed." if _gated(source) else ""),
                aim.factor,
                ".2f" if aim.is_share else ".4f",
                aim.unit,
            ),
            _soft_against_hard(source),
        )
        if figure is not None
    ]


def over_phases(
    source: Source, key: str, title: str, caption: str, factor: float, shown: str, unit: str
) -> Figure | None:
    """A number of the epochs, a curve for each phase; None where no epoch has it.

    Args:
        key: of the number in a line of the log, and the figure's name. factor: what it is multiplied by. shown: the
            format of a value, such as ".2f".
    """
    traces, rows, said = [], [], []
    values: list[float] = []
    for phase in dict.fromkeys(epoch.phase for epoch in source.log):
        own = [each for each in timed(source, phase) if key in each.epoch.values]
        if not own:
            continue
        values += (numbers := [factor * each.epoch.values[key] for each in own])
        drawn = thinned(own)
        traces.append(
            line(phase, drawn, [factor * e.epoch.values[key] for e in drawn], PHASES.get(phase, OTHER), shown)
        )
        rows += [[plain(phase), str(each.epoch.epoch), f"{n:{shown}}"] for each, n in zip(own, numbers, strict=True)]
        said.append(f"phase {phase} from {numbers[0]:{shown}} to {numbers[-1]:{shown}}")
    if not traces:
        return None
    logarithmic = key == "loss" and 0 < min(values) < max(values) / WIDE
    if key == "loss" and "distillation" in str(source.settings.get("techniques")):
        caption += " From the second phase on it includes what the teacher asks, so phases are not to be compared."
    return Figure(
        key,
        title,
        caption,
        f"Curve of the {title.lower()}{f' in {unit}' if unit else ''}: {'; '.join(said)}.",
        chart(
            traces,
            xaxis=epoch_axis(timed(source)),
            yaxis={"title": unit or title.lower(), **({"type": "log", "dtick": 1} if logarithmic else {})},
            showlegend=True,
        ),
        Table(["phase", "epoch", f"{title.lower()}{f', {unit}' if unit else ''}"], rows, 2),
    )


def _gated(source: Source) -> bool:
    return any("gates" in e.values or e.gates for e in source.log)


def _soft_against_hard(source: Source) -> Figure | None:
    aim = source.config.aim
    names, form = (f"{aim.figure}_soft", aim.figure), ".2f" if aim.is_share else ".4f"
    own = [e for e in timed(source) if set(names) <= e.epoch.values.keys()]
    if not own:
        return None
    drawn = thinned(own)
    soft, hard = ([aim.factor * e.epoch.values[key] for e in drawn] for key in names)
    unit = f" {aim.unit}".rstrip()
    return Figure(
        "soft-hard",
        "Soft against hard gates",
        f"{aim.words[0].upper()}{aim.words[1:]} of the network that is trained, with soft gates, and of the same one "
        "with gates rounded: the gap is what rounding costs.",
        f"Two curves: at the end {soft[-1]:{form}}{unit} with soft gates, {hard[-1]:{form}}{unit} with rounded ones.",
        chart(
            [line("soft", drawn, soft, ASKED, form, dash="dot"), line("rounded", drawn, hard, COMPACT, form)],
            xaxis=epoch_axis(own),
            yaxis={"title": aim.unit or aim.words},
        ),
        Table(
            ["epoch", *(f"{name}, {aim.unit}".rstrip(", ") for name in ("soft", "rounded"))],
            [[str(e.epoch.epoch), f"{s:{form}}", f"{h:{form}}"] for e, s, h in zip(drawn, soft, hard, strict=True)],
            3,
        ),
    )


def colour_of(number: int) -> str:
    """Of a series among several."""
    return SERIES[number % len(SERIES)]
