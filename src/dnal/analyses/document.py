"""An analysis as plain values and as tables."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from dnal.analyses.analysis import Analysis, Pair
from dnal.analyses.flips import OUTCOMES
from dnal.analyses.measures.bank import Measured
from dnal.analyses.measures.of_runs import Ranking
from dnal.base.statistics import Interval

Rows = list[dict[str, str]]


def document_of(analysis: Analysis) -> dict[str, Any]:
    """Everything except for the single examples, as JSON has it; a number that is none is None."""
    names = [one.name for one in analysis.networks]
    corrupted = analysis.corrupted
    return {
        "data": analysis.data.name,
        "examples": len(analysis.targets),
        "networks": [
            {
                "name": one.name, "run": one.run, "base": one.base, "macs": one.macs, "accuracy": one.accuracy,
                "ece": _number(one.calibration.ece), "confidence": float(one.confidence.mean()),
                "margin": None if one.geometry is None else _number(float(one.margins.median())),
                "angle_degrees": None if one.geometry is None else float(one.geometry.angles.median().rad2deg()),
                "length": None if one.geometry is None else float(one.geometry.lengths.median()),
                "zero_features": None if one.geometry is None else int(one.geometry.zero.sum()),
                "smoothness": None if one.smoothness is None else _number(one.smoothness),
                "routing": None if one.routing is None else {
                    "loads": _matrix(one.routing.loads), "entropy": one.routing.entropy.tolist(),
                    "certainty": one.routing.certainty.tolist(), "changed": one.routing.changed.tolist(),
                },
                "gap": one.gap,
                "measures": None if one.measured is None else _measured(one.measured),
            }
            for one in analysis.networks
        ],
        "pairs": [_pair(pair, names) for pair in analysis.pairs],
        "likeness": {kind: _matrix(found) for kind, found in analysis.likeness.items()},
        "corruptions": None if corrupted is None else {
            "names": list(corrupted.names), "severities": list(corrupted.severities), "images": corrupted.images,
            "rows": [{**row._asdict(), "network": names[row.network]} for row in corrupted.rows],
            "apart": [
                {
                    "base": names[analysis.pairs[one.pair].base], "compact": names[analysis.pairs[one.pair].compact],
                    "corruption": one.corruption, **_interval(one.accuracy),
                }
                for one in corrupted.apart
            ],
            "redundancy": _matrix(corrupted.redundancy),
        },
        "rankings": {word: _ranking(found, names) for word, found in analysis.rankings.items()},
        "remarks": list(analysis.remarks),
    }  # fmt: skip


def classes_table(analysis: Analysis) -> Rows:
    """A row per class: its examples, what each network has right of them, and what flips."""
    rows = []
    for number, name in enumerate(analysis.classes):
        own = analysis.targets == number
        row = {"class": str(number), "name": name, "examples": str(int(own.sum()))}
        for one in analysis.networks:
            right = one.seen.correct[own].double()
            row[f"{one.name}: accuracy"] = _text(float(right.mean()) if len(right) else math.nan)
            if one.geometry is not None:
                row[f"{one.name}: margin"] = _text(float(one.margins[own].median()) if len(right) else math.nan)
        for pair in analysis.pairs:
            word = analysis.networks[pair.compact].name
            row[f"{word}: fragile"] = str(int(pair.flips.fragile[own].sum()))
            row[f"{word}: repaired"] = str(int(pair.flips.repaired[own].sum()))
        rows.append(row)
    return rows


def examples_table(analysis: Analysis) -> Rows:
    """A row per example: its class, what each network says and where it sees it, and what becomes of it."""
    columns: dict[str, list[str]] = {
        "example": [str(n) for n in range(len(analysis.targets))],
        "class": [analysis.classes[target] for target in analysis.targets.tolist()],
    }
    for one in analysis.networks:
        columns[f"{one.name}: says"] = [analysis.classes[said] for said in one.seen.predictions.tolist()]
        columns[f"{one.name}: confidence"] = _texts(one.confidence)
        if one.geometry is not None:
            columns[f"{one.name}: angle, degrees"] = _texts(one.geometry.angles.rad2deg())
            columns[f"{one.name}: length"] = _texts(one.geometry.lengths)
            columns[f"{one.name}: margin"] = _texts(one.geometry.margins)
            columns[f"{one.name}: zero features"] = [str(int(zero)) for zero in one.geometry.zero.tolist()]
    for pair in analysis.pairs:
        columns[f"{analysis.networks[pair.compact].name}: outcome"] = pair.flips.names()
    if analysis.disagreement is not None:
        columns["people's disagreement"] = _texts(analysis.disagreement)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def corruptions_table(analysis: Analysis) -> Rows:
    """A row per network, corruption and severity; none where no corruptions were looked at."""
    if analysis.corrupted is None:
        return []
    return [
        {
            name: analysis.networks[row.network].name if name == "network" else _cell(value)
            for name, value in row._asdict().items()
        }
        for row in analysis.corrupted.rows
    ]


def measures_table(analysis: Analysis) -> Rows:
    """A row per network that was measured: its gap, margin, the noise it bears, and all measures."""
    return [
        {
            "network": one.name, "run": one.run, "gap": _text(one.gap or 0.0), "examples": str(one.measured.examples),
            "training accuracy": _text(one.measured.accuracy), "margin": _text(one.measured.margin),
            "sigma": _text(one.measured.sigma), "sigma, in units of each weight": _text(one.measured.sigma_magnitude),
            **{name: _text(value) for name, value in one.measured.values.items()},
        }
        for one in analysis.networks if one.measured is not None
    ]  # fmt: skip


def _measured(found: Measured) -> dict[str, Any]:
    return {
        "examples": found.examples, "training_accuracy": found.accuracy, "margin": found.margin, "sigma": found.sigma,
        "sigma_magnitude": found.sigma_magnitude,
        "values": {name: _number(value) for name, value in found.values.items()},
    }  # fmt: skip


def _ranking(found: Ranking, names: list[str]) -> dict[str, Any]:
    return {
        "networks": [names[number] for number in found.networks], "settings": list(found.axes),
        "measures": {
            row.measure: {
                "tau": _interval(row.tau), "granulated": _number(row.granulated.mean),
                "by_setting": {axis: _number(value) for axis, value in row.granulated.by_axis.items()},
                "conditional_information": _number(row.information.least), "worst_pairs": _number(row.worst[0]),
            }
            for row in found.rows
        },
    }  # fmt: skip


def _pair(pair: Pair, names: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"base": names[pair.base], "compact": names[pair.compact], **pair.flips.counts()}
    for name in ("accuracy", "margin", "length", "angle"):
        interval = getattr(pair, name)
        found[f"{name}_difference"] = None if interval is None else _interval(interval)
    found["flips_in_the_lowest_decile"] = _number(pair.lowest)
    found["attribution"] = (
        None if pair.attribution is None else {name: _number(value) for name, value in vars(pair.attribution).items()}
    )
    if pair.people is not None:
        found["people"] = {
            "disagreement": {name: pair.people.means.get(name) for name in OUTCOMES},
            "auroc_of_flips": _interval(pair.people.flips),
            "auroc_of_fragile": _interval(pair.people.fragile),
        }
    return found


def _interval(found: Interval) -> dict[str, Any]:
    return {"value": _number(found.value), "low": _number(found.low), "high": _number(found.high)}


def _matrix(found: Tensor) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in found.tolist()]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: object) -> str:
    return "" if value is None else _text(value) if isinstance(value, float) else str(value)


def _texts(values: Tensor) -> list[str]:
    return [_text(value) for value in values.tolist()]


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
