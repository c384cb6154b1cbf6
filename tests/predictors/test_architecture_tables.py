"""Tables from files that may be anybody's, and from runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from architectures import EDGES

from dnal import UserError
from dnal.architecture.architecture import Architecture
from dnal.predictors import read_table
from dnal.predictors.runs import table_of_runs

N = len(EDGES)
CELLS_FILE = {
    "edges": EDGES.astype(np.uint8), "accuracy": np.random.default_rng(0).uniform(10, 95, (N, 3)),
    "latency_ms": np.random.default_rng(1).uniform(1, 9, (N, 2)), "devices": np.array(["fast", "slow\x1b[31m"]),
}  # fmt: skip


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_a_table_of_cells_has_accuracies_and_devices(tmp_path: Path) -> None:
    table = read_table(saved(tmp_path / "t.npz", **CELLS_FILE))
    assert len(table) == len(table.architectures) == N
    assert (table.target("accuracy") == table.target("accuracy:cifar10")).all()
    assert (table.target("latency:fast") == CELLS_FILE["latency_ms"][:, 0]).all()
    assert list(table.targets)[-1] == "latency:slow [31m"
    with pytest.raises(UserError, match="did you mean 'latency:fast'"):
        table.target("latency:fats")


def test_a_table_of_chains_has_the_mean_accuracy(tmp_path: Path) -> None:
    choices = np.random.default_rng(0).integers(3, size=(20, 8))
    accuracy = np.random.default_rng(0).normal(90, 1, (20, 3))
    table = read_table(saved(tmp_path / "m.npz", arch=choices, accuracy=accuracy, macs=np.arange(20)))
    assert (table.target("accuracy") == accuracy.mean(1)).all()
    graph = table.architectures[3]
    assert graph.operations.tolist() == [0, *(choices[3] + 4), 1]
    assert (graph.adjacency == np.eye(10, k=1, dtype=bool)).all()


def test_any_table_of_graphs_is_read(tmp_path: Path) -> None:
    operations, adjacency = np.tile([0, 4, 5, 1], (6, 1)), np.tile(np.eye(4, k=1, dtype=np.uint8), (6, 1, 1))
    table = read_table(saved(tmp_path / "g.npz", operations=operations, adjacency=adjacency, score=np.arange(6)))
    assert list(table.targets) == ["score"]
    assert table.architectures[0].operations.tolist() == [0, 4, 5, 1]


WRONG = {
    "an operation that there is not": {**CELLS_FILE, "edges": EDGES + 1},
    "five edges": {**CELLS_FILE, "edges": EDGES[:, :5]},
    "edges with fractions": {**CELLS_FILE, "edges": EDGES + 0.5},
    "text for accuracy": {**CELLS_FILE, "accuracy": np.full((N, 3), "a")},
    "fewer accuracies": {**CELLS_FILE, "accuracy": CELLS_FILE["accuracy"][:-1]},
    "numbers for devices": {**CELLS_FILE, "devices": np.arange(2)},
    "one row": {name: array if name == "devices" else array[:1] for name, array in CELLS_FILE.items()},
    "nothing known": {"x": np.arange(3)},
    "an edge backwards": {"operations": np.tile([0, 4, 1], (3, 1)), "adjacency": np.ones((3, 3, 3), bool)},
    "too many nodes": {"operations": np.tile([0, *[4] * 70, 1], (3, 1)), "adjacency": np.zeros((3, 72, 72), bool)},
    "no layers": {"arch": np.zeros((5, 0), int), "accuracy": np.ones(4)},
    "a choice that is too large": {"arch": np.full((5, 2), 2**40), "accuracy": np.arange(5.0)},
    "objects": {"edges": np.array([None] * 5), "accuracy": np.ones(5)},
}


@pytest.mark.parametrize("arrays", WRONG.values(), ids=WRONG.keys())
def test_a_file_that_is_no_table_is_a_sentence(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(UserError):
        read_table(saved(tmp_path / "w.npz", **arrays))


def test_no_file_and_a_damaged_one_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_table(tmp_path / "none.npz")
    path = saved(tmp_path / "t.npz", **CELLS_FILE)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError):
        read_table(path)


def test_runs_are_a_table_of_widths(finished: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(finished, tmp_path / name)
    table = table_of_runs(tmp_path)
    assert table.labels == ["a", "b"]
    assert {"accuracy", "macs", "params"} <= set(table.targets)
    architecture = Architecture.load(finished / "architecture.json")
    rows = np.asarray(table.architectures)
    for column, width in zip(table.columns, rows[0], strict=True):
        kept = architecture.kept[column][0]
        assert width == (architecture.shapes[column][0] if kept is None else len(kept))
    assert (rows[0] < [architecture.shapes[column][0] for column in table.columns]).any()
    with pytest.raises(UserError, match="two or more"):
        table_of_runs(tmp_path / "a")
