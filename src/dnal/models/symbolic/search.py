"""Graphs that are new: what the likeliest programs build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from dnal.models.symbolic.grammar import Grammar
from dnal.models.symbolic.graph import PORTS, PortGraph
from dnal.models.symbolic.interpreter import built
from dnal.models.symbolic.isomorphism import OneOfEach
from dnal.models.symbolic.library import expanded, expanded_mass
from dnal.models.symbolic.program import Program

LARGEST = 150
"""Operations of a program that is run."""
NEEDED = frozenset({"push", "add", "connect"})
"""Operations without which there is a single node."""


@dataclass(frozen=True)
class Found:
    """A program and its graph.

    Attributes:
        program: as the grammar has it. mass: of the ten operations alone.
    """

    program: Program
    graph: PortGraph
    mass: int


def search(
    grammar: Grammar, *, new: int, tries: int, elements: int, known: Sequence[PortGraph] = (), ports: int = PORTS
) -> list[Found]:
    """The first graphs that the likeliest programs build and that are none of those known, each with the program of the
    least mass among those tried.

    Args:
        new: how many, at most. tries: programs, at most. elements: nodes and edges of a graph, at most.
        known: graphs that are there. ports: of a node.

    Returns:
        fewer than ``new`` where the tries ended before; in the order in which they were found.

    Examples:
        >>> two = search(Grammar.uniform(), new=1, tries=1000, elements=9)[0]
        >>> str(two.program), len(two.graph.nodes)
        ('push add connect identity', 2)
    """
    seen: OneOfEach[int] = OneOfEach()
    for graph in known:
        seen.set(graph, -1)
    brought = {one.name: expanded(one.body, grammar.library).uses for one in grammar.library}
    found: list[Found] = []
    for _, program in islice(grammar.programs(), tries):
        if len(found) == new:
            break
        if not program.uses.union(*(brought[name] for name in program.uses & brought.keys())).issuperset(NEEDED):
            continue
        mass = expanded_mass(program, grammar.library)
        if mass > LARGEST:
            continue
        graph = built(expanded(program, grammar.library), ports)
        if not graph.valid or graph.elements > elements:
            continue
        place = seen.get(graph)
        if place is None:
            seen.set(graph, len(found))
            found.append(Found(program, graph, mass))
        elif place >= 0 and mass < found[place].mass:
            found[place] = Found(program, graph, mass)
    return found
