"""A table as a source delivers it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.generic]
"""(N,): numbers, NaN where one is missing, or texts."""


@dataclass(frozen=True)
class RawTable:
    """Rows with what is to be predicted of each.

    Attributes:
        columns: each (N,), of numbers (NaN: missing) or texts (categories), by their names.
        target: (N,) or (N, T): texts or whole numbers that count classes, or numbers.
        test: the numbers of the rows that are the test set, or a mask (N,); None: a fifth of them, always the same.
        class_names: of targets that count classes from 0.
    """

    columns: dict[str, Column]
    target: NDArray[np.generic]
    test: NDArray[np.generic] | None = None
    class_names: tuple[str, ...] | None = None
