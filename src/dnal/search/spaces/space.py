"""A space of networks: which layers there are, which may follow which, and how a list of layers becomes one of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from dnal.base.options import Options
from dnal.data.kind import Sizes
from dnal.models.genomes.genome import Genome, Layer, Value, text_of

if TYPE_CHECKING:
    from dnal.search.training import Evaluation
    from dnal.settings import Searches

T = TypeVar("T", bound=Value)

START, END = "start", "end"
"""Of a path in the table of transitions: before the first layer, and behind the last one."""
SMALLEST = 4
"""Images are halved until they are no wider than this."""


class Choose(Protocol):
    """Who chooses: chance, or a sampler that learns what each choice was worth."""

    def __call__(self, name: str, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options; ``name`` says which choice it is, ``weights`` how likely each option is by chance."""


class Chance:
    """Chooses by chance."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def __call__(self, name: str, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        if weights is None:
            return options[self._draw.randrange(len(options))]
        return self._draw.choices(options, weights)[0]


@dataclass(frozen=True)
class NetworkSpace(Options):
    """A space of networks as lists of layers: first those of images, then those of a flat list of numbers.

    A subclass is a frozen dataclass whose fields are its options.

    Attributes:
        family: the prefix of the names of its networks. kind: of data. spatial: kinds of layers before the image is
            flat. pooling: those among them that make it smaller.
        fixed_kinds: whether all networks have the same kinds of layers in the same order, so that only values differ.
        channels_vary: whether :func:`dnal.learn` finds channels in its networks that may leave.
    """

    family: ClassVar[str]
    kind: ClassVar[str] = "images"
    spatial: ClassVar[tuple[str, ...]]
    pooling: ClassVar[tuple[str, ...]]
    fixed_kinds: ClassVar[bool] = False
    channels_vary: ClassVar[bool] = True

    def values(self, kind: str) -> Mapping[str, Sequence[Value]]:
        """What a layer of this kind is chosen from: the values of each of its parts, by name."""
        raise NotImplementedError

    def transitions(self, kind: str) -> Mapping[str, float]:
        """Which kinds of layers may follow one of this kind, and how much each is worth by itself (the heuristic of the
        ant colony); of ``START`` those that may be first, and ``END`` where a network may end."""
        raise NotImplementedError

    def most_pools(self, sizes: Sizes) -> int:
        """How often an image of these sizes is halved before it is no wider than four pixels (psoCNN's rule)."""
        side, most = float(sizes[-1]), 0
        while side > SMALLEST:
            side, most = side / 2, most + 1
        return most

    def drawn(self, choose: Choose, sizes: Sizes) -> Genome:
        """A network of the space, choice by choice."""
        raise NotImplementedError

    def mended(self, layers: Sequence[Layer], most_pools: int) -> Genome:
        """The network that is left of a list of layers when what may not stand where it stands is left out: a layer
        that may not follow the one before it, and poolings beyond ``most_pools``.

        () where nothing is left.
        """
        made: list[Layer] = []
        for layer in layers:
            if layer.kind in self.next(made, most_pools):
                made.append(layer)
        return self.closed(made) if made else ()

    def next(self, path: Sequence[Layer], most_pools: int) -> dict[str, float]:
        """Which kinds of layers, or ``END``, may follow a path, with what each is worth; no pooling where there are
        ``most_pools``."""
        found = self.transitions(path[-1].kind if path else START)
        full = sum(layer.kind in self.pooling for layer in path) >= most_pools
        return {kind: worth for kind, worth in found.items() if not (full and kind in self.pooling)}

    def closed(self, path: Sequence[Layer]) -> Genome:
        """A path that was left off, as a whole network."""
        return tuple(path)

    def smallest(self, sizes: Sizes) -> list[Genome]:
        """A few networks for images of these sizes: whatever cost is counted, no network of the space has less than
        all of them.

        [] of a space that cannot say.
        """
        return []

    def blocks(self, genome: Genome) -> tuple[Genome, Genome]:
        """The layers of images, and those behind them."""
        return (
            tuple(layer for layer in genome if layer.kind in self.spatial),
            tuple(layer for layer in genome if layer.kind not in self.spatial),
        )

    def joined(self, spatial: Sequence[Layer], flat: Sequence[Layer]) -> list[Layer]:
        """The layers of both blocks in one list."""
        return [*spatial, *flat]

    def layer(self, kind: str, choose: Choose, place: str) -> Layer:
        """A layer of this kind with chosen values; ``place``: where, for the names of the choices."""
        return Layer(kind, tuple(choose(f"{place} {kind} {name}", of) for name, of in self.values(kind).items()))

    def least(self, kind: str) -> Layer:
        """A layer of this kind with the first of the words and the least of the numbers of each of its values."""
        return Layer(
            kind,
            tuple(
                min((value for value in of if isinstance(value, int)), default=of[0])
                for of in self.values(kind).values()
            ),
        )

    def evaluator(self, asked: Searches) -> Callable[[str], Evaluation] | None:
        """A function from the name of a network to its evaluation, where the space has another way than to train each;
        None: each is trained. It depends on what is asked, not on what was measured before. Nothing is trained until
        the function is called."""
        return None

    def model(self, genome: Genome) -> str:
        """The name of the network, which every command takes as a model."""
        return f"{self.family}/{text_of(genome)}"
