"""An architecture as a row of numbers: operations and edges written out, counts, or the paths through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError
from dnal.predictors.graph import (
    MOST_NODES,
    MOST_OPERATIONS,
    SAME,
    Graph,
    check_all,
    pruned,
    stacked,
    through,
)  # fmt: skip

Encoding = Literal["paths", "counts", "flat"]
ENCODINGS = ("paths", "counts", "flat")
MOST_PATHS = 2**12
"""Different ones through an architecture."""
MOST_COLUMNS = 2**14
Path = tuple[int, ...]


def paths(graph: Graph) -> Counter[Path]:
    """The operations along each path from the input to the output, and how many paths have them.

    A path ends where nothing is passed on, and what passes on the same is no part of it.

    Raises:
        UserError: more than 4,096 different ones.

    Examples:
        >>> import numpy as np
        >>> from dnal.predictors.graph import NOTHING, SAME, Graph
        >>> adjacency = np.zeros((5, 5), bool)
        >>> adjacency[0, 1:4] = adjacency[1:4, 4] = True
        >>> dict(paths(Graph([0, 4, SAME, NOTHING, 1], adjacency)))
        {(4,): 1, (): 1}
    """
    live = pruned(graph)
    operations, reads = live.operations.tolist(), live.adjacency.T.tolist()
    here: list[Counter[Path]] = [Counter({(): 1})]
    for node in range(1, len(operations)):
        found: Counter[Path] = Counter()
        own = () if operations[node] == SAME or node == len(operations) - 1 else (operations[node],)
        for before, read in enumerate(reads[node][:node]):
            if read:
                for path, number in here[before].items():
                    found[path + own] += number
        if len(found) > MOST_PATHS:
            raise UserError(f"an architecture has more than {MOST_PATHS:,} paths; use encoding=counts or flat.")
        here.append(found)
    return here[-1]


def counts(graphs: Sequence[Graph], operations: int) -> NDArray[np.float64]:
    """How many nodes compute each operation: (N, 2 * operations), all of them, then those on a path."""
    found = np.zeros((len(graphs), 2, operations))
    for row, graph in zip(found, graphs, strict=True):
        alive = graph.operations[through(graph)]
        for part, own in zip(row, (graph.operations, alive), strict=True):
            part += np.bincount(own[own < operations], minlength=operations)
    return found.reshape(len(graphs), -1)


def flat(graphs: Sequence[Graph], nodes: int, operations: int) -> NDArray[np.float64]:
    """The operation of each place as 0 and 1, and the edges above the diagonal: (N, nodes * operations + pairs).

    Raises:
        UserError: a graph with more nodes.
    """
    found = stacked(graphs, nodes)
    if found.operations.shape[1] > nodes:
        raise UserError(f"an architecture has more than the {nodes} nodes of those learnt from; use encoding=paths.")
    one_hot = found.operations[..., None] == np.arange(operations)
    edges = found.adjacency[:, *np.triu_indices(nodes, 1)]
    return np.concatenate([one_hot.reshape(len(graphs), -1), edges], 1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Features:
    """How architectures become rows of numbers: fixed by those that it was made of.

    Attributes:
        encoding: of graphs; "numbers" where architectures are rows of numbers.
        nodes, operations: the most that there were. paths: the columns of paths.
        shift, scale: (F,) subtracted from, and divided by, of each column: every column has mean 0, and one divisor for
            all makes the mean variance 1; rows of numbers have a divisor each.
    """

    encoding: Encoding | Literal["numbers"]
    nodes: int
    operations: int
    paths: tuple[Path, ...]
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, architectures: Any, encoding: Encoding) -> Self:
        """Of these architectures.

        Raises:
            UserError: neither graphs nor rows of finite numbers.
        """
        raw: Any = cls("numbers", 0, 0, (), np.zeros(0), np.ones(0))
        if are_graphs(architectures):
            graphs = list(architectures)
            check_all(graphs)
            nodes = max(map(len, graphs))
            operations = 1 + max(int(graph.operations.max()) for graph in graphs)
            known: tuple[Path, ...] = ()
            if encoding == "paths":
                known = tuple(sorted({path for graph in graphs for path in paths(graph)}))
            raw = cls(encoding, nodes, operations, known, np.zeros(0), np.ones(0))
        found = raw._rows(architectures)
        if found.shape[1] > MOST_COLUMNS:
            raise UserError(f"{found.shape[1]:,} columns are more than {MOST_COLUMNS:,}; use encoding=counts.")
        spread = found.std(0)
        whole = np.sqrt(np.square(spread).mean())
        scale = np.where(spread > 0, spread, 1.0) if raw.encoding == "numbers" else np.full(len(spread), whole or 1.0)
        return cls(raw.encoding, raw.nodes, raw.operations, raw.paths, found.mean(0), scale)

    def __call__(self, architectures: Any) -> NDArray[np.float64]:
        """(N, F).

        Raises:
            UserError: another kind of architectures than it was made of.
        """
        found: NDArray[np.float64] = (self._rows(architectures) - self.shift) / self.scale
        return found

    def _rows(self, architectures: Any) -> NDArray[np.float64]:
        if self.encoding == "numbers":
            return _numbers(architectures, len(self.shift))
        graphs = list(architectures)
        check_all(graphs)
        if self.encoding == "flat":
            return flat(graphs, self.nodes, self.operations)
        found = counts(graphs, self.operations)
        if self.encoding == "counts":
            return found
        columns = {path: place for place, path in enumerate(self.paths)}
        along = np.zeros((len(graphs), len(columns)))
        for row, graph in zip(along, graphs, strict=True):
            for path, number in paths(graph).items():
                if path in columns:
                    row[columns[path]] = number
        return np.concatenate([found, along], 1)

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "encoding": self.encoding, "nodes": self.nodes, "operations": self.operations,
            "paths": [list(path) for path in self.paths], "shift": self.shift.tolist(), "scale": self.scale.tolist(),
        }  # fmt: skip

    @classmethod
    def of_document(cls, document: Any) -> Self:
        """What :meth:`document` returned.

        Raises:
            UserError: it tells of no features.
        """
        try:
            encoding, nodes, operations = (document[name] for name in ("encoding", "nodes", "operations"))
            known = tuple(tuple(int(one) for one in path) for path in document["paths"])
            shift, scale = (np.array([float(one) for one in document[name]]) for name in ("shift", "scale"))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError("it has no features.") from None
        sizes = {"numbers": len(shift), "counts": 2 * operations if isinstance(operations, int) else 0}
        whole = all(type(one) is int for one in (nodes, operations))
        if encoding not in (*ENCODINGS, "numbers") or not whole:
            raise UserError("its features are of no encoding that there is.")
        if not (0 <= nodes <= MOST_NODES and 0 <= operations <= MOST_OPERATIONS):
            raise UserError("its features are of larger graphs than there are.")
        sizes["paths"] = sizes["counts"] + len(known)
        sizes["flat"] = nodes * operations + nodes * (nodes - 1) // 2
        fits = len(shift) == len(scale) == sizes[encoding] and len(shift) <= MOST_COLUMNS
        if not fits or not np.isfinite(shift).all() or not np.isfinite(scale).all() or (scale <= 0).any():
            raise UserError("its features do not fit their columns.")
        return cls(encoding, nodes, operations, known, shift, scale)


def are_graphs(architectures: Any) -> bool:
    """Whether these are graphs and no rows of numbers."""
    return not isinstance(architectures, np.ndarray) and len(architectures) > 0 and isinstance(architectures[0], Graph)


def _numbers(architectures: Any, columns: int) -> NDArray[np.float64]:
    try:
        found = np.asarray(architectures, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(
            f"architectures are graphs (dnal.predictors.Graph) or rows of numbers (N, F), not a "
            f"{type(architectures).__name__} of {type(next(iter(architectures), None)).__name__}; trained networks are "
            "for statistics, neural-graph and sne."
        ) from None
    if found.ndim != 2 or (columns and found.shape[1] != columns):
        wanted = f"(N, {columns})" if columns else "(N, F)"
        raise UserError(f"rows of numbers are {wanted}, not {found.shape}.")
    if not np.isfinite(found).all():
        raise UserError("a number of an architecture is not finite.")
    return found
