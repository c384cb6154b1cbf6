"""Graphs of everybody's, and the network for them against the formula of its paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

import dnal
from dnal import data, models
from dnal.base.errors import UserError

NODES, FEATURES = 12, 5


def arrays(**changes: Any) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    y = np.arange(NODES) % 3
    content = {
        "x": (draw.random((NODES, FEATURES)) < 0.5).astype(np.uint8), "edge_index": draw.integers(0, NODES, (2, 20)),
        "y": y, "train": np.arange(NODES) < 6, "val": np.array([6, 7, 8]), "test": np.arange(NODES) >= 9,
    }  # fmt: skip
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def saved(tmp_path: Path, **changes: Any) -> str:
    np.savez(tmp_path / "graph.npz", **arrays(**changes))
    return str(tmp_path / "graph.npz")


def test_targets_are_those_of_masked_nodes(tmp_path: Path) -> None:
    found = data.load(saved(tmp_path))
    assert (found.kind, found.classes, found.input_shape) == ("graphs", 3, (NODES, FEATURES, 20))
    kept = [(part.y[0] != -100).nonzero().flatten().tolist() for part in (found.train, found.val, found.test)]
    assert kept == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert found.test.y[0, 9:].tolist() == [0, 1, 2]
    batch = next(iter(data.loaders(found, 64).train))
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "features": (1, NODES, FEATURES), "edges": (1, 2, 20), "labels": (1, NODES),
    }  # fmt: skip
    few = data.load(saved(tmp_path), limit_train=3)
    assert sorted(few.train.y[few.train.y >= 0].tolist()) == [0, 1, 2]


def test_sparse_features_are_those_of_scipy(tmp_path: Path) -> None:
    dense = arrays()["x"].astype(np.float32)
    rows = scipy.sparse.csr_matrix(dense * 3)
    sparse = {"indices": rows.indices, "indptr": rows.indptr, "shape": np.array(rows.shape), "data": rows.data}
    found = data.load(saved(tmp_path, x=None, **sparse))
    expected = dense / np.maximum(dense.sum(1, keepdims=True), 1e-12)
    got = found.train.batch(torch.arange(1), 0)["features"][0]
    assert torch.allclose(got, torch.from_numpy(expected))
    for name, wrong in (
        ("indices", rows.indices + 5),
        ("indptr", rows.indptr[:-1]),
        ("shape", np.array([NODES, 2**40])),
    ):
        with pytest.raises(UserError):
            data.load(saved(tmp_path, x=None, **{**sparse, name: wrong}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"edge_index": np.array([[0], [NODES]])}, "join the nodes"),
        ({"edge_index": np.zeros((3, 4), int)}, "whole numbers"),
        ({"x": np.full((NODES, 2), np.nan)}, "NaN"),
        ({"x": np.zeros((NODES + 1, 2))}, "features must be"),
        ({"train": np.zeros(NODES, bool)}, "holds some"),
        ({"val": np.array([NODES])}, "val must be a mask"),
        ({"y": np.arange(NODES) - 1}, "negative"),
        ({"y": np.int64(1)}, "y is the class of each node"),
        ({"test": None}, "has no test"),
    ],
)
def test_wrong_graphs_are_a_sentence(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=expected):
        data.load(saved(tmp_path, **changes))


def test_the_network_is_that_of_the_paper() -> None:
    """Kipf and Welling (2017), equation 2, with dense matrices; also for several graphs at once."""
    torch.manual_seed(0)
    network = models.create("gcn/small", classes=3, input_shape=(NODES, FEATURES, 20)).eval()
    features, edges = torch.randn(2, NODES, FEATURES), torch.randint(NODES, (2, 2, 20))
    expected = []
    for x, (source, target) in zip(features, edges, strict=True):
        joined = torch.eye(NODES)
        for a, b in zip(source.tolist(), target.tolist(), strict=True):
            joined[b, a] += a != b  # an edge to itself is there already
        root = joined.sum(1).rsqrt().diag()
        around = root @ joined @ root
        first, second = network.layers  # type: ignore[misc]
        expected.append((around @ second(torch.relu(around @ first(x)))).T)
    with torch.no_grad():
        assert torch.allclose(network(features, edges), torch.stack(expected), atol=1e-5)


def test_neighbours_tell_what_a_node_does_not() -> None:
    found = data.load("blocks")
    learned = dnal.learn(
        models.create("gcn/small"), *data.loaders(found, 1), budget="macs<=30%", optimizer="adamw", lr=0.01,
        epochs=(60, 30, 60),
    )  # fmt: skip
    assert learned.figures.compact.metric > 0.9
    from sklearn.linear_model import LogisticRegression

    x = found.train.batch(torch.arange(1), 0)["features"][0].numpy()
    own = LogisticRegression().fit(x[found.train.y[0] >= 0], found.train.y[found.train.y >= 0])
    assert own.score(x[found.test.y[0] >= 0], found.test.y[found.test.y >= 0]) < learned.figures.compact.metric - 0.1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": (np.arange(NODES) < 6).astype(np.int64)}, "train holds a 0 or a 1 for each node"),
        ({"val": np.array([5, 6, 7])}, "1 of the 12 nodes are in train and in val"),
        ({"test": np.arange(NODES) >= 0}, "6 of the 12 nodes are in train and in test"),
        ({"y": np.zeros(NODES, np.int64)}, "all nodes are of one class"),
        (
            {"x": None, "indices": np.zeros(2), "indptr": np.arange(13), "shape": np.array(["a", "b"])},
            "no sparse matrix",
        ),
        (
            {"x": None, "indices": np.arange(12) % 5 + 0.5, "indptr": np.arange(13), "shape": [12, 5]},
            "no sparse matrix",
        ),
    ],
)
def test_what_a_graph_cannot_mean(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        data.load(saved(tmp_path, **changes))


def test_nodes_of_no_part_may_have_no_class(tmp_path: Path) -> None:
    y = np.arange(NODES) % 3
    y[[8, 11]] = -1
    found = data.load(saved(tmp_path, y=y, val=np.array([6, 7]), test=np.array([9, 10])))
    assert found.classes == 3
    assert [int((part.y >= 0).sum()) for part in (found.train, found.val, found.test)] == [6, 2, 2]
