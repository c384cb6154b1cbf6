"""A probabilistic grammar of programs: how likely each operation is, wherever a program may stand."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dnal.models.symbolic.library import Abstraction, arities_with
from dnal.models.symbolic.program import Program

Costs = tuple[float, Program]
"""Minus the logarithm of its probability, and the program."""


@dataclass(frozen=True)
class Grammar:
    """One rule for all places: a program is an operation with as many programs as it takes.

    Attributes:
        weights: the logarithm of the probability of each operation. library: the abstractions among them.

    Examples:
        >>> f"{math.exp(Grammar.uniform().log_probability(Program.of('push add connect identity'))):.5f}"
        '0.00010'
    """

    weights: Mapping[str, float]
    library: tuple[Abstraction, ...] = ()

    @classmethod
    def uniform(cls, library: Sequence[Abstraction] = ()) -> Grammar:
        """With equal probabilities of the ten operations and the abstractions."""
        names = arities_with(library)
        return cls(dict.fromkeys(names, -math.log(len(names))), tuple(library))

    @property
    def arities(self) -> dict[str, int]:
        """How many programs each operation takes."""
        return arities_with(self.library)

    def log_probability(self, program: Program) -> float:
        """The sum of the weights of its operations."""
        return sum(self.weights[each.operation] for each in program.walk())

    def within(self, depth: int) -> float:
        """The probability of all programs of at most so many operations within each other, together.

        It need not come near 1 with the depth: where operations take more than one program on average, as the ten do
        with equal probabilities, a program that is drawn may never end.
        """
        arities = self.arities
        found = 0.0
        for _ in range(depth):
            found = sum(math.exp(weight) * found ** arities[name] for name, weight in self.weights.items())
        return found

    def programs(self) -> Iterator[Costs]:
        """All programs, the likeliest first, without end; of equally likely ones always in the same order.

        What is kept are all programs so far, and of each operation the next choices among them: since no program is
        likelier than one that is in it, those that it is made of are there already. It is Heap Search (Fijalkow et al.,
        AAAI 2022) for a grammar of one rule, which is the lazy search of Huang and Chiang (2005) for the k best.

        Examples:
            >>> for cost, program in itertools.islice(Grammar.uniform().programs(), 3):
            ...     print(f"{math.exp(-cost):.3f}", program)
            0.100 identity
            0.010 next_port identity
            0.010 prev_port identity
        """
        found: list[Costs] = []
        heap: list[tuple[float, int, str, tuple[int, ...]]] = []
        waiting: dict[int, list[tuple[str, tuple[int, ...]]]] = {}
        turn = itertools.count()

        def offer(name: str, places: tuple[int, ...]) -> None:
            last = max(places, default=-1)
            if last < len(found):
                cost = sum((found[place][0] for place in places), -self.weights[name])
                heapq.heappush(heap, (cost, next(turn), name, places))
            else:
                waiting.setdefault(last, []).append((name, places))

        for name, arity in self.arities.items():
            if self.weights[name] > -math.inf:
                offer(name, (0,) * arity)
        while heap:
            cost, _, name, places = heapq.heappop(heap)
            found.append((cost, Program(name, tuple(found[place][1] for place in places))))
            yield found[-1]
            for choice in waiting.pop(len(found) - 1, []):
                offer(*choice)
            # Each choice comes from one other only: the one with its last place above 0 one lower.
            first = max((nth for nth, place in enumerate(places) if place), default=0)
            for nth in range(first, len(places)):
                offer(name, (*places[:nth], places[nth] + 1, *places[nth + 1 :]))
