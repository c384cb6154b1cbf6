"""A population of programs: those whose networks train best stay, and what they have in common makes new ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from dnal.models.symbolic.compression import compressed
from dnal.models.symbolic.grammar import Grammar
from dnal.models.symbolic.graph import PORTS, PortGraph
from dnal.models.symbolic.library import Abstraction
from dnal.models.symbolic.search import Found, search
from dnal.models.symbolic.weighting import CONTRAST, reweighted


class Trained(Protocol):
    """What is known of a network that was trained."""

    @property
    def train(self) -> float:
        """How well it does on what it was trained on; larger is better."""


T = TypeVar("T", bound=Trained)


@dataclass(frozen=True)
class Individual(Generic[T]):
    """A program, its graph, and what training its network came to.

    Attributes:
        round: in which it was found, from 0.
    """

    found: Found
    trained: T
    round: int


@dataclass(frozen=True)
class Round(Generic[T]):
    """What there was after the networks of a round were trained.

    Attributes:
        population: the best first. grammar: with which the new ones were found.
    """

    population: tuple[Individual[T], ...]
    grammar: Grammar


def evolve(
    train: Callable[[PortGraph, int], T],
    *,
    seed: int,
    population: int = 50,
    keep: int = 25,
    rounds: int = 5,
    tries: int = 200_000,
    elements: int = 64,
    ports: int = PORTS,
    contrast: float = CONTRAST,
) -> list[Round[T]]:
    """Searches for programs whose networks train well.

    In each round the likeliest programs with graphs of their own fill the population up, their networks are trained,
    and the ``keep`` that do best on their training data stay. What these have in common becomes operations
    (:func:`compressed`), and the operations that they use become likelier (:func:`reweighted`).

    Args:
        train: (graph, seed) -> what training a network with it came to. Only its ``train`` is read here: selection by
            validation data would spoil these.
        seed: the networks get different ones that follow from it; the search itself has nothing random.
        population, keep, rounds: how many. tries: programs in a search. elements: nodes and edges of a graph, at most.
        ports: of a node. contrast: how much likelier operations may become.

    Returns:
        the rounds. A population is smaller than asked for where the tries ended before.

    Source: Whitehouse, "Symbolic Synthesis of Neural Networks" (2023, arXiv 2303.03340), as its code has it, with two
    differences: a search ends by the number of programs instead of seconds, so that it can be repeated; and a program
    that stays keeps its trained network instead of being trained again in each round.
    """
    living: list[Individual[T]] = []
    library: tuple[Abstraction, ...] = ()
    history: list[Round[T]] = []
    number = 0
    for turn in range(rounds):
        living = living[:keep]
        if turn:
            living, library = _rewritten(living, library)
        grammar = reweighted([one.found.program for one in living], library, contrast=contrast)
        known = [one.found.graph for one in living]
        for found in search(
            grammar, new=population - len(living), tries=tries, elements=elements, known=known, ports=ports
        ):
            living.append(Individual(found, train(found.graph, seed * 1_000_003 + number), turn))
            number += 1
        living.sort(key=lambda one: -one.trained.train)
        history.append(Round(tuple(living), grammar))
    return history


def _rewritten(
    living: list[Individual[T]], library: tuple[Abstraction, ...]
) -> tuple[list[Individual[T]], tuple[Abstraction, ...]]:
    """The same individuals, their programs written with what they have in common."""
    programs, library = compressed([one.found.program for one in living], library)
    written = [
        replace(one, found=replace(one.found, program=program)) for one, program in zip(living, programs, strict=True)
    ]
    return written, library
