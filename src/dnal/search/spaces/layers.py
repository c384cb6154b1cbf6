"""The space of psoCNN: convolutions and poolings, then fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from dnal.base.options import option
from dnal.data.kind import Sizes
from dnal.models.genomes.genome import Genome, Layer, Value, text_of
from dnal.models.genomes.layers import SPATIAL, WIDEST
from dnal.search.spaces.space import END, START, Choose, NetworkSpace

CHANCES = {"conv": 0.6, "pool": 0.3, "fc": 0.1}
"""How likely each kind of layer is where a network is drawn."""
LEAST_CHANNELS, LEAST_KERNEL = 3, 3
TRANSITIONS: dict[str, dict[str, float]] = {
    START: {"conv": 1.0},
    "conv": {"conv": 0.8, "max": 1.2, "avg": 1.2, "fc": 1.0, END: 0.8},
    "max": {"conv": 1.1, "max": 1.0, "avg": 1.0, "fc": 1.0, END: 0.8},
    "avg": {"conv": 1.1, "max": 1.0, "avg": 1.0, "fc": 1.0, END: 0.8},
    "fc": {"fc": 0.8, END: 1.0},
}
"""Ours: psoCNN has no table of what a layer is worth behind another. The numbers are DeepSwarm's for the same layers;
two poolings in a row, which it does not have, count 1."""


@dataclass(frozen=True)
class Layers(NetworkSpace):
    """Lists of convolutions and poolings, then fully connected layers, as psoCNN has them.

    Drawn as theirs: a length; a convolution; then convolutions (60 %), poolings (30 %, of either kind alike, while
    images are wider than four pixels) and fully connected layers (10 %), after which there are no others. Where theirs
    puts the layer of the classes in the place of the last one, it stands behind it here. Their caps are
    depth=20,channels=256,units=300,dropout=50.

    Source: F. E. Fernandes Junior and G. G. Yen, Particle swarm optimization of deep neural networks architectures for
    image classification, Swarm and Evolutionary Computation 49 (2019).
    """

    family: ClassVar[str] = "layers"
    spatial: ClassVar[tuple[str, ...]] = SPATIAL
    pooling: ClassVar[tuple[str, ...]] = ("max", "avg")

    depth: int = option(8, "Fewer layers than this, the one of the classes among them.", least=4, most=100)
    channels: int = option(32, "Of a convolution, at most.", least=LEAST_CHANNELS, most=WIDEST)
    kernel: int = option(6, "Of a convolution, at most.", least=LEAST_KERNEL, most=15)
    units: int = option(64, "Of a fully connected layer, at most.", least=1, most=WIDEST)
    dropout: int = option(0, "Percent, before every layer with weights but the first.", least=0, most=90)

    def values(self, kind: str) -> Mapping[str, Sequence[Value]]:
        if kind == "conv":
            return {
                "channels": range(LEAST_CHANNELS, self.channels + 1),
                "kernel": range(LEAST_KERNEL, self.kernel + 1),
            }
        return {"units": range(1, self.units + 1)} if kind == "fc" else {}

    def transitions(self, kind: str) -> Mapping[str, float]:
        return TRANSITIONS[kind]

    def drawn(self, choose: Choose, sizes: Sizes) -> Genome:
        pools, most = 0, self.most_pools(sizes)
        made = [self.layer("conv", choose, "1")]
        for number in range(2, choose("depth", range(3, self.depth))):
            kind = "fc" if made[-1].kind == "fc" else choose(f"{number}", [*CHANCES], [*CHANCES.values()])
            if kind == "pool":
                if pools == most:
                    continue
                pools += 1
                kind = choose(f"{number} pool", self.pooling)
            made.append(self.layer(kind, choose, f"{number}"))
        return tuple(made)

    def smallest(self, sizes: Sizes) -> list[Genome]:
        # A second convolution adds, and so does a second fully connected layer; a pooling costs nothing.
        images = (self.least("conv"), *[Layer("max")] * self.most_pools(sizes))
        return [images, (*images, self.least("fc"))]

    def model(self, genome: Genome) -> str:
        drop = (Layer("drop", (self.dropout,)),) if self.dropout else ()
        return f"{self.family}/{text_of((*drop, *genome))}"
