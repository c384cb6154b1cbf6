"""A data set from one graph: all of it is every batch, and what is asked is the class of some nodes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.data.dataset import Dataset, TensorPart
from dnal.data.graphs.raw import RawGraph
from dnal.data.kind import Wanted
from dnal.data.labels import check_labels, classes_told
from dnal.data.splits import limited
from dnal.train.evaluate import IGNORED

PARTS = ("train", "val", "test")


def from_graph(name: str, raw: RawGraph, wanted: Wanted) -> Dataset:
    """A data set of one example: features (1, N, F) and edges (1, 2, E), and the classes (1, N) of the nodes of each
    part; those of all others are -100, which neither loss nor accuracy counts. Features that count (none is negative)
    are divided by their sum for each node.

    Raises:
        UserError: anything wrong with the graph, or with what is wanted.
    """
    nodes = len(raw.y)
    x = np.asarray(raw.features)
    if x.ndim != 2 or len(x) != nodes or x.dtype.kind not in "biuf" or not x.size:
        raise UserError(f"the features must be numbers (N, F) for {nodes} nodes, not {x.dtype} {x.shape}.")
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    if not bool(np.isfinite(x).all()):
        raise UserError("the features have NaN or infinite values; mend or remove them.")
    if x.min() >= 0:
        x = (x / np.maximum(x.sum(axis=1, keepdims=True, dtype=np.float64), 1e-12)).astype(np.float32)
    edges = np.asarray(raw.edges)
    if edges.ndim != 2 or len(edges) != 2 or edges.dtype.kind not in "iu" or not edges.size:
        raise UserError(f"the edges must be whole numbers (2, E), not {edges.dtype} {edges.shape}.")
    if not 0 <= edges.min() <= edges.max() < nodes:
        raise UserError(f"the edges join the nodes {edges.min()} to {edges.max()}, and there are 0 to {nodes - 1}.")
    classes = wanted.classes if raw.class_names is None else wanted.classes or len(raw.class_names)
    masks = _checked_masks(raw, nodes)
    y = _known(raw, masks, classes)
    classes = classes or classes_told(y[torch.stack(masks).any(0)])
    if classes < 2:
        raise UserError("all nodes are of one class; there is nothing to tell apart.")
    train = masks[0].nonzero().flatten()
    masks[0] = torch.zeros(nodes, dtype=torch.bool)
    masks[0][limited(train, y, wanted.limit_train, wanted.seed, "nodes")] = True
    sizes = (nodes, int(x.shape[1]), int(edges.shape[1]))
    if wanted.input_shape not in (None, sizes):
        raise UserError(f"'{name}' has the sizes {sizes}, not {wanted.input_shape}; leave the input away.")
    inputs = {
        "features": torch.from_numpy(x)[None], "edges": torch.from_numpy(edges.astype(np.int64))[None],
    }  # fmt: skip
    first, second, third = (TensorPart(inputs, _told(y, mask)) for mask in masks)
    names = raw.class_names or ()
    names += tuple(str(number) for number in range(len(names), classes))
    return Dataset(name, classes, names, sizes, first, second, third, kind="graphs")


def _checked_masks(raw: RawGraph, nodes: int) -> list[Tensor]:
    masks = [torch.from_numpy(np.asarray(mask, dtype=np.bool_)) for mask in (raw.train, raw.val, raw.test)]
    for part, mask in zip(PARTS, masks, strict=True):
        if mask.shape != (nodes,) or not bool(mask.any()):
            raise UserError(f"{part} must be a mask of {nodes} nodes that holds some.")
    for first, second in ((0, 1), (0, 2), (1, 2)):
        both = int((masks[first] & masks[second]).sum())
        if both:
            raise UserError(
                f"{both} of the {nodes} nodes are in {PARTS[first]} and in {PARTS[second]}; take one for each."
            )
    return masks


def _known(raw: RawGraph, masks: list[Tensor], classes: int | None) -> Tensor:
    """The classes (N,); of nodes in no mask it does not matter what is said, such as -1, and they are 0."""
    given, used = np.asarray(raw.y), torch.stack(masks).any(0).numpy()
    if given.shape == used.shape and given.dtype.kind in "iu":
        given = np.where(used, given, np.zeros_like(given))
    return check_labels(given, images=len(raw.y), classes=classes, what="y")


def _told(y: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, y, torch.full_like(y, IGNORED))[None]
