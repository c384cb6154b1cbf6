"""Tables of architectures whose accuracies and latencies are known, from files that may be anybody's.

Three forms of .npz are known, by the arrays in them:

* ``edges`` (N, 6), ``accuracy`` (N, 3): NAS-Bench-201. Edges are in the order of ``CELL_EDGES``, 0 none, 1 skip, 2 1x1,
  3 3x3, 4 pool; accuracies in %, on CIFAR-10, CIFAR-100, ImageNet16-120. Where they are there, ``latency_ms`` (N, D)
  and ``devices`` (D,), their names.
* ``arch`` (N, L), ``accuracy`` (N, K): NAS-Bench-Macro. The choice of each layer, and its trainings, of which the mean
  counts; ``params`` and ``macs`` (N,) where they are there.
* ``operations`` (N, n), ``adjacency`` (N, n, n): any others, as of :class:`dnal.predictors.Graph`, all of one size.
  Every other array (N,) is a target by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError, all_names, printable
from dnal.data.npz import heads, read_arrays
from dnal.predictors.graph import INPUT, OUTPUT, Graph, check_graphs
from dnal.predictors.predictor import Architectures

CELL_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Of a cell of NAS-Bench-201, between its four tensors; each has an operation."""
CELL_OPERATIONS = ("none", "skip", "1x1", "3x3", "pool")
ACCURACIES = ("cifar10", "cifar100", "imagenet16-120")
CELLS, MACRO = "nasbench201", "macro"
"""Names of tables whose operations have a meaning that we know: another one's of the same number is not the same."""
MOST_ROWS = 2**20
MOST_TARGETS = 2**10


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures and what is known of them.

    Attributes:
        name: of the table. architectures: N graphs, or rows of numbers. labels: a short text for each.
        targets: by name, (N,) each; NaN where it was not measured.
        columns: names of the numbers of a row, where architectures are rows.
    """

    name: str
    architectures: Architectures
    labels: list[str]
    targets: Mapping[str, NDArray[np.float64]]
    columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def target(self, name: str) -> NDArray[np.float64]:
        """The values of a target (N,).

        Raises:
            UserError: there is none of this name, with those that there are.
        """
        if name not in self.targets:
            kind = name.partition(":")[0]
            near = [one for one in self.targets if one.partition(":")[0] == kind] or list(self.targets)
            raise UserError(f"the table has no target '{name}'{all_names(name, near)}")
        return self.targets[name]


def read_table(path: Path) -> Table:
    """The table in an .npz file.

    Raises:
        UserError: no such file, none of the forms above, or damage.
    """
    shapes = heads(path)
    for keys, read in FORMS.items():
        if all(key in shapes for key in keys):
            rows = shapes[keys[0]][0] if shapes[keys[0]] else 0
            if not 2 <= rows <= MOST_ROWS:
                raise UserError(f"'{path}' has {rows:,} architectures; a table has 2 to {MOST_ROWS:,}.")
            try:
                return read(path, shapes)
            except UserError as error:
                raise UserError(f"'{path}' is no table: {error}") from None
    read_arrays(path, ("edges", "accuracy"))  # says what is wrong with a file that is none
    raise UserError(f"'{path}' is no table that is known; its arrays are edges, arch, or operations and adjacency.")


def cells(edges: NDArray[np.integer[Any]]) -> list[Graph]:
    """Cells of NAS-Bench-201 as graphs of eight nodes: each edge is a node, between an input and an output.

    Args:
        edges: (N, 6), as the table has them.
    """
    size = len(CELL_EDGES) + 2
    adjacency = np.zeros((size, size), bool)
    for place, (start, end) in enumerate(CELL_EDGES, 1):
        adjacency[0, place] = start == 0
        adjacency[place, -1] = end == 3
        for other, (begins, _) in enumerate(CELL_EDGES, 1):
            adjacency[place, other] = end == begins
    ends = np.zeros((len(edges), 1), np.int64)
    operations = np.concatenate([ends + INPUT, edges.astype(np.int64) + 2, ends + OUTPUT], 1)
    return _graphs(operations, np.broadcast_to(adjacency, (len(edges), size, size)))


def chains(choices: NDArray[np.integer[Any]]) -> list[Graph]:
    """Networks whose layers follow one another, each with a choice: its number and 4 is the operation.

    Args:
        choices: (N, L).
    """
    ends = np.zeros((len(choices), 1), np.int64)
    operations = np.concatenate([ends + INPUT, choices.astype(np.int64) + 4, ends + OUTPUT], 1)
    size = operations.shape[1]
    return _graphs(operations, np.broadcast_to(np.eye(size, k=1, dtype=bool), (len(choices), size, size)))


def _graphs(operations: NDArray[np.int64], adjacency: NDArray[np.bool_]) -> list[Graph]:
    """Checked together, which takes a hundredth of the time."""
    check_graphs(operations, adjacency)
    found = []
    for own, edges in zip(operations, adjacency, strict=True):
        graph = object.__new__(Graph)
        object.__setattr__(graph, "operations", own)
        object.__setattr__(graph, "adjacency", edges)
        found.append(graph)
    return found


def _nasbench201(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Table:
    arrays = read_arrays(path, ("edges", "accuracy"), ("latency_ms", "devices"))
    edges, accuracy = _whole(arrays["edges"], "edges"), _numbers(arrays["accuracy"], "accuracy")
    if edges.ndim != 2 or edges.shape[1] != len(CELL_EDGES) or edges.max(initial=0) >= len(CELL_OPERATIONS):
        raise UserError("edges are (N, 6) operations from 0 to 4.")
    if accuracy.shape != (len(edges), len(ACCURACIES)):
        raise UserError(f"accuracy is (N, {len(ACCURACIES)}), not {accuracy.shape}.")
    targets = {"accuracy": accuracy[:, 0]}
    targets |= {f"accuracy:{name}": column for name, column in zip(ACCURACIES, accuracy.T, strict=True)}
    if "latency_ms" in arrays and "devices" in arrays:
        latency, devices = _numbers(arrays["latency_ms"], "latency_ms"), arrays["devices"]
        if devices.dtype.kind != "U" or devices.ndim != 1 or latency.shape != (len(edges), len(devices)):
            raise UserError("latency_ms is (N, D), and devices are D names.")
        if len(devices) > MOST_TARGETS:
            raise UserError(f"{len(devices):,} devices are more than {MOST_TARGETS:,}.")
        targets |= {f"latency:{printable(str(name))}": one for name, one in zip(devices, latency.T, strict=True)}
    names = ["|".join(CELL_OPERATIONS[one] for one in row) for row in edges.tolist()]
    return Table(CELLS, cells(edges), names, targets)


def _macro(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Table:
    arrays = read_arrays(path, ("arch", "accuracy"), ("params", "macs"))
    choices, accuracy = _whole(arrays["arch"], "arch"), _numbers(arrays["accuracy"], "accuracy")
    if choices.ndim != 2 or accuracy.ndim not in (1, 2) or len(accuracy) != len(choices):
        raise UserError("arch is (N, L), and accuracy (N,) or (N, K).")
    targets = {"accuracy": accuracy if accuracy.ndim == 1 else accuracy.mean(1)}
    for name in ("params", "macs"):
        if name in arrays:
            targets[name] = _column(arrays[name], name, len(choices))
    return Table(MACRO, chains(choices), ["-".join(map(str, row)) for row in choices.tolist()], targets)


def _general(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Table:
    number = shapes["operations"][0]
    names = [name for name, shape in shapes.items() if shape == (number,)][:MOST_TARGETS]
    arrays = read_arrays(path, ("operations", "adjacency", *names))
    operations, adjacency = _whole(arrays["operations"], "operations"), arrays["adjacency"]
    if adjacency.dtype.kind not in "biu":
        raise UserError("adjacency holds 0 and 1.")
    graphs = _graphs(operations, adjacency.astype(bool))
    targets = {printable(name): _column(arrays[name], name, number) for name in names}
    return Table(printable(path.stem), graphs, [str(row) for row in range(number)], targets)


FORMS: dict[tuple[str, ...], Callable[[Path, Mapping[str, tuple[int, ...]]], Table]] = {
    ("edges", "accuracy"): _nasbench201,
    ("arch", "accuracy"): _macro,
    ("operations", "adjacency"): _general,
}


def _whole(array: NDArray[np.generic], name: str) -> NDArray[np.int64]:
    if array.dtype.kind not in "iu" or (array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**31):
        raise UserError(f"{name} holds whole numbers, 0 or more.")
    return array.astype(np.int64)


def _numbers(array: NDArray[np.generic], name: str) -> NDArray[np.float64]:
    if array.dtype.kind not in "iuf":
        raise UserError(f"{name} holds numbers.")
    found = array.astype(np.float64)
    infinite = np.argwhere(np.isinf(found))
    if len(infinite):
        raise UserError(f"{name} is infinite in row {infinite[0][0]}; write NaN for what was not measured.")
    return found


def _column(array: NDArray[np.generic], name: str, number: int) -> NDArray[np.float64]:
    found = _numbers(array, printable(name))
    if found.shape != (number,):
        raise UserError(f"{printable(name)} is ({number},), not {found.shape}.")
    return found
