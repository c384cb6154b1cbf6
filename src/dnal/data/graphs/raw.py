"""A graph as a source delivers it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RawGraph:
    """One graph, some of whose nodes have a known class.

    Attributes:
        features: of each node, (N, F).
        edges: from row 0 to row 1, whole numbers (2, E); of a graph without directions both ways.
        y: the class of each node, (N,).
        train, val, test: which nodes are for what, masks (N,).
        class_names: None: numbers.
    """

    features: NDArray[np.generic]
    edges: NDArray[np.generic]
    y: NDArray[np.generic]
    train: NDArray[np.bool_]
    val: NDArray[np.bool_]
    test: NDArray[np.bool_]
    class_names: tuple[str, ...] | None = None
