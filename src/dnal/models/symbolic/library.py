"""Abstractions: operations that are programs with holes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dnal.models.symbolic.program import ARITIES, Program, is_hole


@dataclass(frozen=True)
class Abstraction:
    """A name for a program with holes, which may use the abstractions before it.

    Attributes:
        body: in which ``#0`` stands for the first program that it is given, ``#1`` for the second, and so on.

    Examples:
        >>> Abstraction("fn_0", Program("add", (Program("connect", (Program("#0"),)),))).arity
        1
    """

    name: str
    body: Program

    @property
    def arity(self) -> int:
        """How many programs it is given."""
        return len({each.operation for each in self.body.walk() if is_hole(each.operation)})


def arities_with(library: Sequence[Abstraction]) -> dict[str, int]:
    """Of all operations, those of a library among them."""
    return {**ARITIES, **{one.name: one.arity for one in library}}


def expanded(program: Program, library: Sequence[Abstraction]) -> Program:
    """The program with the ten operations alone.

    Examples:
        >>> twice = Abstraction("fn_0", Program("move", (Program("move", (Program("#0"),)),)))
        >>> str(expanded(Program("fn_0", (Program("identity"),)), [twice]))
        'move move identity'
    """
    return _expanded(program, {one.name: one.body for one in library})


def expanded_mass(program: Program, library: Sequence[Abstraction]) -> int:
    """The mass of :func:`expanded`, without making it: it may be large where a hole is there twice."""
    counts: dict[str, tuple[int, list[int]]] = {name: (1, [1] * arity) for name, arity in ARITIES.items()}
    for one in library:
        holes = [0] * one.arity
        own = _counted(one.body, counts, holes, 1)
        counts[one.name] = own, holes
    return _counted(program, counts, [], 1)


def _counted(program: Program, counts: Mapping[str, tuple[int, list[int]]], holes: list[int], times: int) -> int:
    """Operations that are not of a hole, which are there ``times``; adds to ``holes`` how often each is there."""
    if is_hole(program.operation):
        holes[int(program.operation[1:])] += times
        return 0
    own, each = counts[program.operation]
    inner = (_counted(part, counts, holes, times * n) for part, n in zip(program.parts, each, strict=True) if n)
    return times * own + sum(inner)


def _expanded(program: Program, bodies: Mapping[str, Program]) -> Program:
    parts = tuple(_expanded(part, bodies) for part in program.parts)
    body = bodies.get(program.operation)
    return Program(program.operation, parts) if body is None else _filled(_expanded(body, bodies), parts)


def _filled(body: Program, parts: Sequence[Program]) -> Program:
    if is_hole(body.operation):
        return parts[int(body.operation[1:])]
    return Program(body.operation, tuple(_filled(part, parts) for part in body.parts))
