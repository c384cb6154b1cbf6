"""Evolution of lists of layers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from dnal.base.options import option
from dnal.models.genomes.genome import Genome, Layer
from dnal.search.samplers.sampler import Course, Fitness, Ground, Sampler
from dnal.search.spaces.space import END, START, Chance

TRIES = 100
"""Children that are drawn for a place, before a network drawn from the space takes it."""


@dataclass(frozen=True)
class Evolution(Sampler):
    """Evolution under a budget: the best networks so far have children by crossover and by mutation.

    Half of a round are children of two parents: the layers of images up to a cut of one, from a cut of the other on,
    and the same behind them. The others are mutated copies: each layer is drawn again, doubled by another one, or left
    out with probability ``mutation``. A child that breaks the budget or was there before is drawn again. Where all
    networks of a space have the same kinds of layers, a child takes each layer from either parent, and a mutated layer
    is drawn again.

    Selection among all networks so far, crossover and mutation in equal numbers, and rejection by the budget are those
    of searches in supernets (H. T. Phan et al., CVPR 2020, arXiv 2005.06305, as recalled); the operators on lists are
    ours.
    """

    round: int = option(8, "Networks of a generation.", least=2, most=10_000)
    parents: int = option(4, "The best networks so far, which have children.", least=2, most=10_000)
    mutation: float = option(0.2, "How likely a layer changes.", above=0, most=1)

    def course(self, ground: Ground) -> Course:
        return Generations(self, ground)


class Generations(Course):
    """Evolution at work.

    Attributes:
        known: every network so far with its fitness, in the order in which they were told.
    """

    def __init__(self, options: Evolution, ground: Ground) -> None:
        self._options, self._ground, self._draw = options, ground, ground.chance()
        self.known: dict[Genome, Fitness] = {}

    @property
    def parents(self) -> list[Genome]:
        """The best so far, the best first; of equals the one that came first."""
        trained = [(fitness, genome) for genome, fitness in self.known.items() if fitness is not None]
        return [genome for _, genome in sorted(trained, key=lambda pair: -pair[0])][: self._options.parents]

    def ask(self) -> list[Genome]:
        parents = self.parents
        found: list[Genome] = []
        for number in range(self._options.round):
            unlike = [*self.known, *found]
            if len(parents) < 2:
                found.append(self._ground.drawn(self._draw, unlike))
            else:
                found.append(self._child(parents, unlike, crossover=2 * number < self._options.round))
        return found

    def tell(self, round: Sequence[tuple[Genome, Fitness]]) -> None:
        for genome, fitness in round:
            self.known.setdefault(genome, fitness)

    def _child(self, parents: Sequence[Genome], unlike: Sequence[Genome], *, crossover: bool) -> Genome:
        space, draw = self._ground.space, self._draw
        for _ in range(TRIES):
            if space.fixed_kinds:
                layers = self._exchanged(parents, crossover=crossover)
            elif crossover:
                one, other = (space.blocks(each) for each in draw.sample(parents, 2))
                layers = space.joined(crossed(one[0], other[0], draw), crossed(one[1], other[1], draw))
            else:
                spatial, flat = space.blocks(parents[draw.randrange(len(parents))])
                layers = space.joined(self._mutated(spatial), self._mutated(flat))
            child = space.mended(layers, self._ground.most_pools)
            if child and child not in unlike and self._ground.within(child):
                return child
        return self._ground.drawn(draw, unlike)

    def _exchanged(self, parents: Sequence[Genome], *, crossover: bool) -> list[Layer]:
        """The layers of a parent, some of them replaced by those of another parent, or of a newly drawn network."""
        draw = self._draw
        if crossover:
            (own, other), share = draw.sample(parents, 2), 0.5
        else:
            own, share = parents[draw.randrange(len(parents))], self._options.mutation
            other = self._ground.space.drawn(Chance(draw), self._ground.sizes)
        return [theirs if draw.random() < share else ours for ours, theirs in zip(own, other, strict=True)]

    def _mutated(self, block: Sequence[Layer]) -> list[Layer]:
        """A block with some layers drawn again, joined by another, or left out."""
        space, draw, choose = self._ground.space, self._draw, Chance(self._draw)
        found: list[Layer] = []
        before = START
        for layer in block:
            if draw.random() >= self._options.mutation:
                found.append(layer)
            else:
                how = draw.randrange(3)
                if how:  # drawn again, or joined by one that may follow
                    kinds = [kind for kind in space.transitions(before if how == 1 else layer.kind) if kind != END]
                    found += [layer] * (how == 2)
                    if kinds:
                        found.append(space.layer(choose("", kinds), choose, ""))
            before = layer.kind
        return found


def crossed(one: Sequence[Layer], other: Sequence[Layer], draw: random.Random) -> list[Layer]:
    """The beginning of one block, up to a cut, and the end of another, from a cut of its own on."""
    return [*one[: draw.randint(0, len(one))], *other[draw.randint(0, len(other)) :]]
