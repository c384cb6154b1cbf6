"""Particle swarm optimisation of lists of layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dnal.base.options import option
from dnal.models.genomes.genome import Genome, Layer
from dnal.search.samplers.layer_lists import Move, Same, any_two, difference, moved, same_kind, same_layer, velocity
from dnal.search.samplers.sampler import Course, Fitness, Ground, Sampler


@dataclass(frozen=True)
class PSO(Sampler):
    """Particle swarm of networks (psoCNN): each moves, layer by layer, towards its own best or the best of all.

    A particle is a list of layers. Its difference to a better list says at each place: keep the layer (both are of one
    kind), remove it (the better list is shorter), or take the better list's. The velocity takes at each place the
    difference to the best of all with probability ``cg``, else the one to the particle's own best. Layers of images are
    aligned from the start, fully connected ones from the end. A list that is at least as good becomes the best.

    What the published code does beside its paper is chosen here by name: ``same=kind`` is theirs, and means that
    channels and kernels never move where kinds agree; ``pools=one-less`` is theirs, and allows a moved list one pooling
    less than a drawn one; ``best=at-once`` is theirs, and lets a particle know a best list that another found in the
    same round, so that particles cannot be trained side by side. A list that breaks the budget is not trained; it moves
    on from there. In the space layered-graph, which is not theirs, a layer that may not follow the one before it is
    left out.

    Source: F. E. Fernandes Junior and G. G. Yen, Particle swarm optimization of deep neural networks architectures for
    image classification, Swarm and Evolutionary Computation 49 (2019), with 20 particles and 10 rounds; S. Lankford and
    D. Grimes, arXiv 2403.03781.
    """

    particles: int = option(8, "Networks of a round.", least=1, most=10_000)
    cg: float = option(0.5, "How likely a place follows the best of all.", least=0, most=1)
    same: Literal["kind", "layer"] = option(
        "kind", "Which layers are kept: of the same kind, or equal ones; always equal ones in spaces of fixed kinds."
    )
    pools: Literal["all", "one-less"] = option("all", "How many poolings a list may have after it moved.")
    best: Literal["round", "at-once"] = option("round", "When all know of a new best: after the round, or at once.")

    @property
    def round_size(self) -> int:
        return 1 if self.best == "at-once" else self.particles

    def course(self, ground: Ground) -> Course:
        return Swarm(self, ground)


@dataclass
class Particle:
    """Where a particle is, and the best that it found, with what that is worth."""

    at: Genome
    best: Genome
    worth: float = -math.inf


class Swarm(Course):
    """The swarm at work.

    Attributes:
        particles: in their order. best, worth: of all, None before any was trained.
    """

    def __init__(self, options: PSO, ground: Ground) -> None:
        self.options, self.ground = options, ground
        self.particles: list[Particle] = []
        self.best: Genome | None = None
        self.worth = -math.inf
        self._draw = ground.chance()
        self._next = 0
        self._asked: list[int] = []
        self._limit = ground.most_pools - (options.pools == "one-less")

    def ask(self) -> list[Genome]:
        if not self.particles:
            drawn: list[Genome] = []
            for _ in range(self.options.particles):
                drawn.append(self.ground.drawn(self._draw, drawn))
            self.particles = [Particle(genome, genome) for genome in drawn]
            self._asked = list(range(len(drawn)))
            return drawn
        if self.options.best == "at-once":
            self._asked = [self._next]
            self._next = (self._next + 1) % len(self.particles)
        else:
            self._asked = list(range(len(self.particles)))
        for number in self._asked:
            particle = self.particles[number]
            particle.at = self.after(particle)
        return [self.particles[number].at for number in self._asked]

    def tell(self, round: Sequence[tuple[Genome, Fitness]]) -> None:
        worths = dict(round)
        for number in self._asked:
            particle = self.particles[number]
            genome, fitness = particle.at, worths.get(particle.at)
            if fitness is not None and fitness >= particle.worth:
                particle.best, particle.worth = genome, fitness
                if fitness >= self.worth:
                    self.best, self.worth = genome, fitness

    def after(self, particle: Particle) -> Genome:
        """Where a particle moves."""
        space = self.ground.space
        own, mine, all_ = (space.blocks(each) for each in (particle.at, particle.best, self.best or particle.best))
        equal = self.options.same == "layer" or space.fixed_kinds
        spatial = self._moved(own[0], mine[0], all_[0], same_layer if equal else same_kind)
        # Aligned from the end: the same, backwards.
        flat = self._moved(own[1][::-1], mine[1][::-1], all_[1][::-1], same_layer if equal else any_two)
        return space.mended(space.joined(spatial, flat[::-1]), max(0, self._limit)) or particle.at

    def _moved(self, own: Sequence[Layer], mine: Sequence[Layer], all_: Sequence[Layer], same: Same) -> list[Layer]:
        moves: list[Move] = velocity(
            difference(mine, own, same), difference(all_, own, same), self.options.cg, self._draw
        )
        return moved(own, moves)
