"""The course of a search: what a sampler asks for, round by round, each network once, and what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from dnal.models.genomes.genome import Genome
from dnal.search.bounds import Bounds, Known
from dnal.search.pruners.pruner import EarlierNetwork
from dnal.search.samplers.sampler import Course, Fitness
from dnal.search.spaces.space import NetworkSpace
from dnal.search.training import Evaluation

STALE = 50
"""Rounds without a network that was not there before, after which a sampler is at its end."""


@dataclass
class Candidate:
    """A network that is trained.

    Attributes:
        round: in which it was asked for first, from 1. costs: by name. evaluation: None until it was trained.
        predicted: the fitness that a predictor expected of it; None without one.
    """

    model: str
    round: int
    costs: Known
    evaluation: Evaluation | None = None
    predicted: float | None = None


@dataclass
class Round:
    """A round that was told: how many networks were asked for, how many of them were new, and how many broke the
    budget."""

    asked: int = 0
    new: int = 0
    refused: int = 0


@dataclass
class Progress:
    """A search under way. Nothing in it depends on the order in which networks end, nor on when.

    Args:
        evaluations: networks that are trained, at most. known: what networks are worth that were trained before.

    Attributes:
        candidates: in the order in which they were asked for. over: nothing more is asked for.
    """

    space: NetworkSpace
    sampler: Course
    bounds: Bounds
    evaluations: int
    known: Mapping[str, Evaluation]
    candidates: list[Candidate] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    over: bool = False

    def __post_init__(self) -> None:
        self._at: dict[str, int] = {}
        self._asked: list[Genome] | None = None
        self._stale, self._cut = 0, False

    def candidate(self, number: int) -> Candidate | None:
        """The network of this number, from 0, if it is known already."""
        return self.candidates[number] if number < len(self.candidates) else None

    def advance(self) -> None:
        """Tells the sampler of a round that is complete, and asks for the next one, until a network is to be
        trained."""
        while not self.over:
            if self._asked is not None and not self._told():
                return
            if len(self.candidates) >= self.evaluations or self._stale >= STALE:
                self.over = True
                return
            self._ask()

    def earlier(self, number: int) -> tuple[EarlierNetwork, ...]:
        """What a pruner may know of the other networks when it judges this one: those of the rounds before its own."""
        round = self.candidates[number].round
        before = [one.evaluation for one in self.candidates if one.round < round and one.evaluation is not None]
        return tuple(EarlierNetwork(one.curve, one.stopped) for one in before if one.curve)

    @property
    def best(self) -> Candidate | None:
        """The best that was trained to its end; of equals the one with fewer parameters, then the first."""
        found = [
            one
            for one in self.candidates
            if one.evaluation is not None and one.evaluation.fitness is not None and not one.evaluation.stopped
        ]
        return max(found, key=_rank, default=None)

    def _ask(self) -> None:
        genomes, round = self.sampler.ask(), Round()
        self.rounds.append(round)
        kept: list[Genome] = []
        for genome in genomes:
            model = self.space.model(genome)
            if not self.bounds.within(model):
                round.refused += 1
            elif model not in self._at:
                if len(self.candidates) == self.evaluations:
                    break  # what comes behind is not asked for any more
                self._at[model] = len(self.candidates)
                costs = self.bounds.costs(model) or {}
                predicted = self.sampler.predicted(genome)
                self.candidates.append(Candidate(model, len(self.rounds), costs, self.known.get(model), predicted))
                round.new += 1
            kept.append(genome)
        round.asked = len(kept)
        self._stale = 0 if round.new else self._stale + 1
        self._asked, self._cut = kept, len(kept) < len(genomes)

    def _told(self) -> bool:
        """Tells the sampler of the round, if all of it is known."""
        round: list[tuple[Genome, Fitness]] = []
        for genome in self._asked or ():
            at = self._at.get(self.space.model(genome))
            if at is None:
                round.append((genome, None))
                continue
            evaluation = self.candidates[at].evaluation
            if evaluation is None:
                return False
            round.append((genome, evaluation.fitness))
        if not self._cut:  # such a round is the last one
            self.sampler.tell(round)
        self._asked = None
        return True


def _rank(candidate: Candidate) -> tuple[float, float]:
    fitness = None if candidate.evaluation is None else candidate.evaluation.fitness
    return -math.inf if fitness is None else fitness, -candidate.costs.get("params", 0.0)
