"""Ant colony system over paths of layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from dnal.base.options import option
from dnal.models.genomes.genome import Genome, Layer
from dnal.search.samplers.pheromone import Pheromone, Trail, chosen
from dnal.search.samplers.sampler import Course, Fitness, Ground, Sampler
from dnal.search.spaces.space import END, START

T = TypeVar("T")

TRIES = 100
"""Walks of an ant before it is given up, where the paths break the budget."""


@dataclass(frozen=True)
class ACO(Sampler):
    """Ant colony system over paths of layers (DeepSwarm): ants follow pheromone, and paths grow a layer a round.

    An ant goes from layer to layer. With probability ``greediness`` it takes the kind of layer with the largest product
    of pheromone and heuristic (what the space says of the transition), else one by lot in proportion to it; the values
    of the layer are chosen by the same rule with their own pheromone, which belongs to the depth and kind. After each
    ant the pheromone on its path moves towards the start value by ``decay``; after a round that of the best ant so far
    moves towards its fitness by ``evaporation``. Then paths may be a layer longer. The first ant
    of all walks by chance.

    The published code is followed except for this: a path that was tried is not trained again; weights of a common
    beginning are not taken over, so that all are trained alike; after ``depth`` rounds the ants go on at that depth, as
    long as networks are asked for; what closes a path that was left off carries no pheromone, in all rounds in which
    the paths are no longer than that; an ant whose path breaks the budget walks again, and changes no pheromone. In the
    space layers, which is not theirs, the heuristic is ours.

    Source: E. Byla and W. Pang, DeepSwarm, arXiv 1905.07350, and its published settings (8 or 16 ants, depth 15 or 20);
    S. Lankford and D. Grimes, arXiv 2403.03781.
    """

    ants: int = option(4, "Networks of a round.", least=1, most=10_000)
    depth: int = option(8, "Layers of a path, in the end.", least=1, most=100)
    greediness: float = option(0.5, "How likely an ant takes what attracts most.", least=0, most=1)
    pheromone: float = option(0.1, "Everywhere at first.", above=0, most=1e6)
    decay: float = option(0.1, "Share that an ant takes from its path towards the start value.", least=0, below=1)
    evaporation: float = option(0.1, "Share that the best path gains of its fitness.", least=0, below=1)

    @property
    def round_size(self) -> int:
        return self.ants

    def course(self, ground: Ground) -> Course:
        return Colony(self, ground)


class Colony(Course):
    """The colony at work.

    Attributes:
        depth: of the paths of this round; 0 before the first ant. best, worth: the best path so far.
    """

    def __init__(self, options: ACO, ground: Ground) -> None:
        self.options, self.ground = options, ground
        self.pheromone = Pheromone(options.pheromone, options.decay, options.evaporation)
        self.depth = 0
        self.best: Genome | None = None
        self.worth = -math.inf
        self._draw = ground.chance()

    def ask(self) -> list[Genome]:
        if not self.depth:
            path = self._walked(greedy=False, depth=1)
            return [] if path is None else [path]
        round: list[Genome] = []
        for _ in range(self.options.ants):
            path = self._walked(greedy=True, depth=self.depth)
            if path is not None:
                self.pheromone.update_local(self.trails(path))
                round.append(path)
        return round

    def tell(self, round: Sequence[tuple[Genome, Fitness]]) -> None:
        for genome, fitness in round:
            if fitness is not None and fitness > self.worth:
                self.best, self.worth = genome, fitness
        if self.depth and self.best is not None:
            self.pheromone.update_best(self.trails(self.best), max(0.0, self.worth))  # a share, or nothing
        self.depth = min(self.depth + 1, self.options.depth)

    def trails(self, path: Genome) -> list[Trail]:
        """Where the pheromone of a path lies, as far as the paths of this round go."""
        found: list[Trail] = []
        before = START
        for place, layer in enumerate(path[: self.depth], 1):
            found.append(("edge", place, before, layer.kind))
            names = self.ground.space.values(layer.kind)
            found += [
                ("value", place, layer.kind, name, value) for name, value in zip(names, layer.values, strict=True)
            ]
            before = layer.kind
        if len(path) < self.depth:
            found.append(("edge", len(path) + 1, before, END))
        return found

    def _walked(self, *, greedy: bool, depth: int) -> Genome | None:
        """A path within the budget; None where none was found."""
        for _ in range(TRIES):
            path = self._path(greedy=greedy, depth=depth)
            if self.ground.within(path):
                return path
        return None

    def _path(self, *, greedy: bool, depth: int) -> Genome:
        space, path = self.ground.space, list[Layer]()
        while len(path) < depth:
            before, place = path[-1].kind if path else START, len(path) + 1
            worth = space.next(path, self.ground.most_pools)
            pheromone = {kind: self.pheromone.at(("edge", place, before, kind)) for kind in worth}
            kind = self._choose({each: pheromone[each] * worth[each] for each in worth}, greedy=greedy)
            if kind == END:
                break
            values = [
                self._choose({v: self.pheromone.at(("value", place, kind, name, v)) for v in of}, greedy=greedy)
                for name, of in space.values(kind).items()
            ]
            path.append(Layer(kind, tuple(values)))
        return space.closed(path)

    def _choose(self, attraction: dict[T, float], *, greedy: bool) -> T:
        if greedy:
            return chosen(attraction, self.options.greediness, self._draw)
        return list(attraction)[self._draw.randrange(len(attraction))]
