"""A graph in an .npz file, which may be anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError
from dnal.data.graphs.raw import RawGraph
from dnal.data.npz import heads, read_arrays
from dnal.data.splits import is_mask_of_numbers

EDGES = "edge_index"
MASKS = ("train", "val", "test")
MOST_VALUES = 2**28
"""Of the features of all nodes."""


def read_graph(path: Path) -> RawGraph:
    """edge_index (2, E), y (N,), and the features: x (N, F), or the rows of a sparse matrix as indices, indptr and
    shape, perhaps with data; train, val and test: masks (N,) or the numbers of nodes.

    Raises:
        UserError: as :func:`dnal.data.npz.read_arrays`, or no such graph.
    """
    if "indptr" in heads(path):
        found = read_arrays(path, (EDGES, "y", "indices", "indptr", "shape", *MASKS), optional=("data",))
        features: NDArray[np.generic] = _dense(found, str(path))
    else:
        found = read_arrays(path, (EDGES, "y", "x", *MASKS))
        features = found["x"]
    y = found["y"]
    if y.ndim != 1:
        raise UserError(f"y is the class of each node, (N,), not of shape {y.shape}.")
    train, val, test = (_mask(found[name], len(y), name) for name in MASKS)
    return RawGraph(features, found[EDGES], y, train, val, test)


def _dense(found: dict[str, NDArray[np.generic]], path: str) -> NDArray[np.float32]:
    wrong = UserError(f"the features in {path!r} are no sparse matrix: indices, indptr and shape do not fit.")
    given = [found[name] for name in ("shape", "indices", "indptr")]
    if any(array.dtype.kind not in "iu" for array in given):
        raise wrong
    shape, indices, starts = (array.astype(np.int64) for array in given)
    if shape.shape != (2,) or shape.min() < 1:
        raise wrong
    rows, columns = map(int, shape)
    if rows * columns > MOST_VALUES:
        raise UserError(f"{rows:,} nodes of {columns:,} features are more than the {MOST_VALUES:,} numbers of a graph.")
    values: Any = found.get("data", np.ones(len(indices), np.float32))
    if (
        indices.ndim != 1 or values.shape != indices.shape or values.dtype.kind not in "biuf"
        or starts.shape != (rows + 1,) or starts[0] != 0 or starts[-1] != len(indices)
        or bool((np.diff(starts) < 0).any())
        or (len(indices) and not 0 <= indices.min() <= indices.max() < columns)
    ):  # fmt: skip
        raise wrong
    dense = np.zeros((rows, columns), np.float32)
    dense[np.repeat(np.arange(rows), np.diff(starts)), indices] = values
    return dense


def _mask(given: NDArray[np.generic], nodes: int, name: str) -> NDArray[np.bool_]:
    if given.dtype.kind == "b" and given.shape == (nodes,):
        return given.astype(np.bool_)
    if is_mask_of_numbers(given, nodes):
        raise UserError(f"{name} holds a 0 or a 1 for each node; make a mask of it with astype(bool).")
    if given.dtype.kind not in "iu" or given.ndim != 1 or (len(given) and not 0 <= given.min() <= given.max() < nodes):
        raise UserError(f"{name} must be a mask of {nodes} nodes, or the numbers of some of them.")
    mask = np.zeros(nodes, np.bool_)
    mask[given.astype(np.int64)] = True
    return mask
