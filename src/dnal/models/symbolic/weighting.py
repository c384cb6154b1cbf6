"""Probabilities of operations from programs that did well."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from dnal.models.symbolic.grammar import Grammar
from dnal.models.symbolic.library import Abstraction
from dnal.models.symbolic.program import Program

NEVER = 0.001
"""Uses that every operation has beside those that are counted."""
CONTRAST = 0.5
"""The most by which the logarithms of two probabilities differ; with more of it a search goes deep before wide."""


def reweighted(
    programs: Sequence[Program], library: Sequence[Abstraction] = (), *, contrast: float = CONTRAST
) -> Grammar:
    """A grammar in which operations that the programs use are likelier.

    Expected uses are counted under equal probabilities (:func:`expected_uses`); the logarithms of their shares are
    drawn together until none differ by more than ``contrast``, and scaled to probabilities.

    Args:
        programs: of the ten operations and the library's.

    Source: the authors' code of Whitehouse, "Symbolic Synthesis of Neural Networks" (2023), which does not scale them
    to probabilities at the end.

    Examples:
        >>> from dnal.models.symbolic.program import Program
        >>> found = reweighted([Program.of("push add connect identity")])
        >>> found.weights["add"] - found.weights["func"]
        0.5
    """
    equal = Grammar.uniform(library)
    if not programs:
        return equal
    uses = expected_uses(programs, equal)
    total = sum(uses.values())
    shares = {name: math.log((count + NEVER) / (total + NEVER)) for name, count in uses.items()}
    apart = max(shares.values()) - min(shares.values())
    factor = min(1.0, contrast / apart) if apart else 1.0
    drawn = {name: factor * share for name, share in shares.items()}  # the mean cancels in what follows
    scale = math.log(sum(math.exp(weight) for weight in drawn.values()))
    return Grammar({name: weight - scale for name, weight in drawn.items()}, equal.library)


def expected_uses(programs: Sequence[Program], grammar: Grammar) -> Mapping[str, float]:
    """How often each operation is used in one of the programs, drawn by its probability among them: the counts of
    inside and outside, where each program is derived in one way. The likeliest, which are the smallest, count most.

    Examples:
        >>> from dnal.models.symbolic.program import Program
        >>> uses = expected_uses([Program.of("move identity"), Program.of("add identity")], Grammar.uniform())
        >>> uses["move"], uses["identity"], uses["pop"]
        (0.5, 1.0, 0.0)
    """
    logs = [grammar.log_probability(program) for program in programs]
    most = max(logs)
    total = sum(math.exp(log - most) for log in logs)
    uses = dict.fromkeys(grammar.weights, 0.0)
    for log, program in zip(logs, programs, strict=True):
        for name, count in Counter(each.operation for each in program.walk()).items():
            uses[name] += math.exp(log - most) / total * count
    return uses
