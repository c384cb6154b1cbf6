"""Graphs as a kind of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnal.base.errors import UserError
from dnal.data.dataset import Dataset
from dnal.data.graphs.files import EDGES, read_graph
from dnal.data.graphs.graph import from_graph
from dnal.data.graphs.planetoid import read_citeseer, read_cora, read_pubmed
from dnal.data.graphs.raw import RawGraph
from dnal.data.graphs.sets import read_blocks
from dnal.data.kind import Entry, Heads, Kind, Sizes, Wanted
from dnal.data.objective import Objective

MOST_NODES = 2**22
WIDE = 64
"""Features that a network makes of a node, and sends along an edge."""


class Graphs(Kind):
    name = "graphs"
    one = "graph"
    several = "graphs"
    classified = "nodes"
    sizes = ("nodes", "features of a node", "edges")
    usual = (2708, 1433, 10556)
    raw = RawGraph
    largest = 2**24
    alone = True
    normalisation = "features that are never negative are divided by their sum for each node"
    sets = {  # noqa: RUF012
        "blocks": ("a generated graph of 600 nodes, 16 features each, 4 classes (stochastic block model)", read_blocks),
        "cora": ("2,708 papers, 1,433 words, 7 classes, who cites whom; downloaded by torch_geometric", read_cora),
        "citeseer": (
            "3,327 papers, 3,703 words, 6 classes, who cites whom; downloaded by torch_geometric",
            read_citeseer,
        ),
        "pubmed": ("19,717 papers, 500 words, 3 classes, who cites whom; downloaded by torch_geometric", read_pubmed),
    }
    files = (
        (
            "FILE.npz",
            "your own graph: edge_index (2, E), x (N, F) or sparse (indices, indptr, shape), y, masks train, val, test",
        ),
    )

    def claims(self, path: Path, heads: Heads) -> bool:
        return EDGES in heads

    def read(self, path: Path) -> RawGraph:
        return read_graph(path)

    def dataset(self, name: str, raw: Any, wanted: Wanted, options: Any) -> Dataset:
        return from_graph(name, raw, wanted)

    def inputs(self, sizes: Sizes) -> dict[str, Entry]:
        nodes, features, edges = sizes
        return {"features": Entry((nodes, features)), "edges": Entry((2, edges), below=nodes)}

    def arguments(self, sizes: Sizes) -> dict[str, int]:
        return dict.fromkeys(("features", "in_features", "num_features"), sizes[1])

    def kept(self, sizes: Sizes) -> dict[str, int]:
        return {"features of a node": sizes[1]}

    def answered(self, sizes: Sizes, objective: Objective) -> tuple[int, ...]:
        return (sizes[0],)

    def numbers(self, sizes: Sizes) -> int:
        nodes, features, edges = sizes
        return nodes * max(features, WIDE) + edges * WIDE  # a layer holds so many of each node, and of each edge

    def check(self, sizes: Sizes) -> None:
        super().check(sizes)
        if sizes[0] > MOST_NODES:
            raise UserError(f"a graph of {sizes[0]:,} nodes is larger than the {MOST_NODES:,} that one may have.")
