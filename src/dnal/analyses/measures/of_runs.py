"""Generalisation measures of the networks of runs, and how well each measure ranks them."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from dnal import data as dnal_data
from dnal.analyses.likeness import spread
from dnal.analyses.measures.bank import NO_NOISE, UNKNOWN_START, Measured, generalisation, names_of
from dnal.analyses.measures.ranking import (
    Flip,
    Granulated,
    Information,
    Point,
    flip,
    granulated,
    information,
    tau,
    worst,
)
from dnal.base.statistics import Interval
from dnal.data.dataset import Chosen, Dataset, plain
from dnal.run.config import Config

USUAL, FEWEST = 1000, 100
"""Training examples on which networks are measured, and of very large ones."""
WORK = 2**36
"""MACs of one pass over them, above which there are fewer."""
LEAST = 4
"""Networks that are ranked."""
MOST_AXES = 6
"""Of the settings in which runs differ; of more, the first ones count."""
NOT_ASKED = frozenset(
    {
        *("dnal", "torch", "seed", "data_sha256", "class_names", "mean", "std", "target_mean", "target_std", "root"),
        *("workers", "against", "threads", "device", "devices", "command"),
    }
)
"""What stands in config.yaml and is no choice of how a network is trained."""


@dataclass(frozen=True)
class Ranked:
    """How well a measure ranks networks by their gap, the training minus the test accuracy.

    Attributes:
        tau: Kendall's, with an interval over the networks. granulated: by the settings in which they differ; flip: two
            of them along which the measure ranks in opposite ways. information: given settings. worst: the largest
            share of wrongly ordered pairs where a single setting varies, and where.
    """

    measure: str
    tau: Interval
    granulated: Granulated
    flip: Flip | None
    information: Information
    worst: tuple[float, Point]


@dataclass(frozen=True)
class Ranking:
    """All measures over the networks of one kind.

    Attributes:
        networks: their numbers. axes: the settings in which they differ. rows: the best first.
    """

    networks: tuple[int, ...]
    axes: tuple[str, ...]
    rows: tuple[Ranked, ...]


def usual_examples(macs: float | None) -> int:
    """On how many training examples a network of so many MACs is measured.

    Examples:
        >>> usual_examples(4e7), usual_examples(4e9)
        (1000, 100)
    """
    return USUAL if not macs else max(FEWEST, min(USUAL, int(WORK / macs)))


def measured_on(
    network: nn.Module, dataset: Dataset, batch: int, examples: int, *, initial: nn.Module | None = None
) -> Measured:
    """:func:`generalisation` of a network on so many training examples, evenly spaced, as they are. That a network
    bears all noise, as one that has hardly learnt does, its sigma says.

    Args:
        initial: the same before training; None where that is not known, which nothing is said of.

    Raises:
        UserError: as there.
    """
    part = plain(dataset.train)
    few = Chosen(part, spread(len(part), examples))
    loader = dnal_data.loaders(replace(dataset, test=few), batch).test
    found = generalisation(network, initial, loader)
    expected = (UNKNOWN_START, NO_NOISE)
    return replace(found, remarks=tuple(remark for remark in found.remarks if not remark.startswith(expected)))


def point_of(config: Config) -> dict[str, Hashable]:
    """How a run was asked for, as settings by name; those in settings as "method.name"."""
    found: dict[str, Hashable] = {}
    _flatten(config.model_dump(mode="json"), "", found)
    return found


def ranking_of(
    measured: Mapping[int, Measured], gaps: Mapping[int, float], points: Mapping[int, Point]
) -> Ranking | None:
    """Holds the measures of networks against their gaps.

    Args:
        measured, gaps, points: by the number of the network.

    Returns:
        None for fewer than four networks.
    """
    chosen = sorted(measured)
    if len(chosen) < LEAST:
        return None
    told = _told([points[number] for number in chosen])
    target = [gaps[number] for number in chosen]
    rows = []
    for name in names_of(*(measured[number] for number in chosen)):
        values = [measured[number].values[name] for number in chosen]
        by_axis = granulated(values, target, told)
        rows.append(
            Ranked(name, tau(values, target), by_axis, flip(by_axis.by_axis), information(values, target, told),
                   worst(values, target, told))
        )  # fmt: skip
    rows.sort(key=lambda row: -math.inf if math.isnan(row.tau.value) else row.tau.value, reverse=True)
    return Ranking(tuple(chosen), tuple(told[0]), tuple(rows))


def _told(points: Sequence[Point]) -> list[Point]:
    """The same points with those axes alone that tell something that none before them did."""
    axes: list[str] = []
    known: set[tuple[int, ...]] = set()
    for axis in dict.fromkeys(name for point in points for name in point):
        values = [point.get(axis) for point in points]
        first = tuple(values.index(value) for value in values)
        if len(set(values)) > 1 and first not in known and len(axes) < MOST_AXES:
            known.add(first)
            axes.append(axis)
    return [{axis: point.get(axis) for axis in axes} for point in points]


def _flatten(document: Mapping[str, Any], before: str, found: dict[str, Hashable]) -> None:
    for name, value in document.items():
        if not before and name in NOT_ASKED:
            continue
        if isinstance(value, Mapping):
            _flatten(value, f"{before}{name}.", found)
        else:
            found[before + name] = value if isinstance(value, str | int | float) else json.dumps(value)
