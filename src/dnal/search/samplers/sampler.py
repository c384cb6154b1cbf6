"""A sampler: which networks are tried next, from what those before were worth."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dnal.base.errors import UserError
from dnal.base.options import Options
from dnal.data.kind import Sizes
from dnal.models.genomes.genome import Genome
from dnal.search.spaces.space import Chance, NetworkSpace

Fitness = float | None
"""Higher is better; None of a network that could not be trained, or that breaks the budget."""
TRIES = 1000
"""Draws of a network within the budget, before it is said that there is hardly any."""


@dataclass(frozen=True)
class Ground:
    """What a sampler searches in.

    Attributes:
        sizes: of an example. seed: of everything that it draws. within: whether a network keeps the budget, which is
            known before it is trained.
    """

    space: NetworkSpace
    sizes: Sizes
    seed: int
    within: Callable[[Genome], bool]

    @property
    def most_pools(self) -> int:
        return self.space.most_pools(self.sizes)

    def chance(self) -> random.Random:
        """A generator whose numbers follow from the seed. Of all generators this one's stream is promised to stay."""
        return random.Random(self.seed)

    def drawn(self, draw: random.Random, unlike: Sequence[Genome] = ()) -> Genome:
        """A network within the budget, drawn; another one than ``unlike``, where one is found.

        Raises:
            UserError: none of a thousand keeps the budget.
        """
        found: Genome | None = None
        for _ in range(TRIES):
            genome = self.space.drawn(Chance(draw), self.sizes)
            if self.within(genome):
                found = genome
                if genome not in unlike:
                    return genome
        if found is None:
            raise UserError(
                f"none of {TRIES:,} networks drawn from the space keeps the budget; allow more, or a smaller space "
                "such as layers:channels=8,depth=5."
            )
        return found


class Course(ABC):
    """A sampler at work. What it asks for follows from its options, the ground and what it was told, and from nothing
    else: told the same again, it asks for the same."""

    @abstractmethod
    def ask(self) -> list[Genome]:
        """The networks of the next round, of which none breaks the budget that the ground knows, except for those of a
        swarm; [] at the end."""

    @abstractmethod
    def tell(self, round: Sequence[tuple[Genome, Fitness]]) -> None:
        """Takes the fitness of the networks of the round, in the order in which they were asked for. Networks that are
        missing were not trained, and may be asked for again."""

    def predicted(self, genome: Genome) -> float | None:
        """The fitness that a predictor expected of a network; None where none was asked."""
        return None


@dataclass(frozen=True)
class Sampler(Options):
    """A way to choose networks. A subclass is a frozen dataclass: its fields are its options, its docstring is its
    card."""

    @property
    def round_size(self) -> int:
        """Networks in each round except for the first."""
        return int(getattr(self, "round", 1))

    def course(self, ground: Ground) -> Course:
        """It, at its beginning.

        Raises:
            UserError: it needs a package that is not here.
        """
        raise NotImplementedError
