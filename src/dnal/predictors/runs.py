"""Finished runs of one network as a table: how many outputs each of its layers keeps, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dnal.architecture.architecture import Architecture
from dnal.base.errors import UserError
from dnal.predictors.tables import MOST_ROWS, Table
from dnal.run.change import read_change
from dnal.run.files import RESULT, runs_in
from dnal.run.loading import read_result

Widths = dict[str, int]


def widths(architecture: Architecture) -> Widths:
    """How many outputs each layer keeps, by the name of its weight; 0 where it goes with a branch.

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> space = dnal.Space.of(network, torch.randn(2, 4))
        >>> widths(dnal.Architecture.random(space, 0.5))
        {'0.weight': 4, '2.weight': 2}
    """
    return {
        name: architecture.kept.left(name, shape)[0] for name, shape in architecture.shapes.items() if len(shape) > 1
    }


def table_of_runs(folder: Path) -> Table:
    """The finished runs in a folder, which may be anybody's; nothing is loaded but their files of text.

    Its architectures are rows of widths (N, layers). Its targets are what every result tells of the compact network as
    a number: accuracy, macs, params, latency_ms and more.

    Raises:
        UserError: fewer than two finished runs, runs of different networks, or one that did something else than remove
            channels.
    """
    runs = [run for run in runs_in(folder) if (run / RESULT).exists()] if folder.is_dir() else []
    if not 2 <= len(runs) <= MOST_ROWS:
        several = "" if len(runs) == 1 else "s"
        raise UserError(
            f"'{folder}' has {len(runs)} finished run{several}, and a table has two or more; give a sweep's folder."
        )
    rows: list[Widths] = []
    fingerprints: list[str] = []
    results: list[Mapping[str, Any]] = []
    for run in runs:
        change = read_change(run)
        if change.architecture is None:
            raise UserError(f"'{run}' has no architecture of widths: {change.noun} is something else; leave it out.")
        rows.append(widths(change.architecture))
        fingerprints.append(change.architecture.fingerprint)
        results.append(read_result(run)["compact"])
    other = next((run for run, one in zip(runs, fingerprints, strict=True) if one != fingerprints[0]), None)
    if other is not None:
        raise UserError(f"'{runs[0]}' and '{other}' are of different networks; a table is of one.")
    columns = tuple(rows[0])
    names = [name for name in results[0] if all(_is_number(one.get(name)) for one in results)]
    targets = {name: np.array([float(one[name]) for one in results]) for name in names}
    numbers = np.array([[row[name] for name in columns] for row in rows], dtype=np.float64)
    return Table("runs", numbers, [run.name for run in runs], targets, columns)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
