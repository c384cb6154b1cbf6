"""The space of DeepSwarm: paths through a layered graph of node types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dnal.base.options import option
from dnal.data.kind import Sizes
from dnal.models.genomes.genome import Genome, Layer, Value
from dnal.models.genomes.layered_graph import SPATIAL
from dnal.models.genomes.layers import WIDEST
from dnal.search.spaces.space import END, START, Choose, NetworkSpace

FLAT = Layer("flat")
TRANSITIONS: dict[str, dict[str, float]] = {
    START: {"conv": 1.0},
    "conv": {"conv": 0.8, "pool": 1.2, "flat": 1.0, "drop": 1.1, "bn": 1.2},
    "drop": {"conv": 1.1, "pool": 1.0, "flat": 1.0, "bn": 1.1},
    "bn": {"conv": 1.1, "pool": 1.1, "drop": 1.0, "flat": 1.0},
    "pool": {"conv": 1.1, "flat": 1.0, "bn": 1.1},
    "flat": {"dense": 1.0, END: 0.8, "fbn": 0.9},
    "dense": {"dense": 0.8, "fdrop": 1.2, "fbn": 1.2, END: 1.0},
    "fdrop": {"dense": 1.0, "fbn": 1.0, END: 0.9},
    "fbn": {"dense": 1.1, "fdrop": 1.1, END: 0.9},
}
"""What a layer is worth behind another, from the published settings."""


@dataclass(frozen=True)
class LayeredGraph(NetworkSpace):
    """Paths through DeepSwarm's layered graph: convolutions, dropout, batch norm and poolings, then dense layers.

    What may follow what is the published table. A path that is not at its end is closed: images are made flat, and the
    scores of the classes follow. Published are filters=64/128/256, units=64/128 and a depth of 15 to 20.

    Source: E. Byla and W. Pang, DeepSwarm: optimising convolutional neural networks using swarm intelligence, arXiv
    1905.07350, and its published settings.
    """

    family: ClassVar[str] = "layered-graph"
    spatial: ClassVar[tuple[str, ...]] = SPATIAL
    pooling: ClassVar[tuple[str, ...]] = ("pool",)

    depth: int = option(10, "Layers of a path, at most, before it is closed.", least=1, most=100)
    filters: tuple[int, ...] = option((8, 16, 32), "Of a convolution.", least=1, most=WIDEST)
    units: tuple[int, ...] = option((32, 64), "Of a dense layer.", least=1, most=WIDEST)

    def values(self, kind: str) -> Mapping[str, Sequence[Value]]:
        known: dict[str, Mapping[str, Sequence[Value]]] = {
            "conv": {"filters": self.filters, "kernel": (1, 3, 5), "activation": ("relu",)},
            "drop": {"percent": (10, 30)},
            "pool": {"type": ("max", "average"), "size": (2,), "stride": (2, 3)},
            "dense": {"units": self.units, "activation": ("relu", "sigmoid")},
            "fdrop": {"percent": (10, 30)},
        }
        return known.get(kind, {})

    def transitions(self, kind: str) -> Mapping[str, float]:
        return TRANSITIONS[kind]

    def most_pools(self, sizes: Sizes) -> int:
        """No limit: a pooling that rounds up leaves a pixel at least."""
        return self.depth

    def drawn(self, choose: Choose, sizes: Sizes) -> Genome:
        made: list[Layer] = []
        for number in range(1, choose("depth", range(1, self.depth + 1)) + 1):
            kind = choose(f"{number} {made[-1].kind if made else START}", [*self.next(made, self.depth)])
            if kind == END:
                break
            made.append(self.layer(kind, choose, f"{number}"))
        return self.closed(made)

    def closed(self, path: Sequence[Layer]) -> Genome:
        return tuple(path) if FLAT in path else (*path, FLAT)

    def smallest(self, sizes: Sizes) -> list[Genome]:
        # A second convolution adds, and so does a second dense layer; a pooling costs nothing, the more the wider it
        # strides. As many as leave a pixel are enough.
        pool = self.least("pool")._replace(values=("max", 2, 3))
        images = (self.least("conv"), *[pool] * min(self.depth, max(sizes[1:]).bit_length()), FLAT)
        return [images, (*images, self.least("dense"))]

    def blocks(self, genome: Genome) -> tuple[Genome, Genome]:
        spatial, flat = super().blocks(genome)
        return spatial, tuple(layer for layer in flat if layer != FLAT)

    def joined(self, spatial: Sequence[Layer], flat: Sequence[Layer]) -> list[Layer]:
        return [*spatial, FLAT, *flat]
