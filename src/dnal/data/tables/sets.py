"""The tables that ship with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dnal.data.tables.raw import RawTable


def shipped(load: str) -> Callable[[Path | None, bool], RawTable]:
    """A reader of the set that this function of ``sklearn.datasets`` loads; nothing is downloaded."""

    def read(root: Path | None, download: bool = True) -> RawTable:
        from sklearn import datasets

        bunch: Any = getattr(datasets, load)()
        columns = {str(name): np.asarray(bunch.data[:, number]) for number, name in enumerate(bunch.feature_names)}
        names = getattr(bunch, "target_names", None)
        return RawTable(columns, bunch.target, class_names=None if names is None else tuple(map(str, names)))

    return read
