"""Random search, with which every other sampler is to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dnal.base.options import option
from dnal.models.genomes.genome import Genome
from dnal.search.samplers.sampler import Course, Fitness, Ground, Sampler


@dataclass(frozen=True)
class RandomSampler(Sampler):
    """Networks drawn from the space, those that break the budget again: the control of every other sampler."""

    round: int = option(8, "Networks that are asked for together.", least=1, most=10_000)

    def course(self, ground: Ground) -> Course:
        return Drawn(self, ground)


class Drawn(Course):
    """Random search at work."""

    def __init__(self, options: RandomSampler, ground: Ground) -> None:
        self._options, self._ground, self._draw = options, ground, ground.chance()

    def ask(self) -> list[Genome]:
        return [self._ground.drawn(self._draw) for _ in range(self._options.round)]

    def tell(self, round: Sequence[tuple[Genome, Fitness]]) -> None:
        pass
