"""Programs that build graphs: ten operations, each of which goes on with the next one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from dnal.base.errors import UserError, all_names, printable

ARITIES: Mapping[str, int] = {
    "identity": 0, "next_port": 1, "prev_port": 1, "move": 1, "add": 1, "push": 1, "pop": 1, "connect": 1, "func": 2,
    "if_positions_equal": 5,
}  # fmt: skip
"""The operations, and how many programs each is given; the last of them is what comes after it."""
DEEPEST = 150
"""Programs within each other: what is deeper is not read."""


@dataclass(frozen=True)
class Program:
    """An operation and the programs that it is given; as text, one after the other.

    Attributes:
        operation: a name among ``ARITIES``, that of an abstraction, or within one a hole: ``#0``, ``#1``.

    Examples:
        >>> two = Program.of("push add connect identity")
        >>> two.operation, str(two.parts[0]), two.mass
        ('push', 'add connect identity', 4)
    """

    operation: str
    parts: tuple[Program, ...] = ()

    @classmethod
    def of(cls, text: str, arities: Mapping[str, int] = ARITIES) -> Program:
        """Reads a program.

        Args:
            text: names of operations with spaces between them, each before the programs that it is given.
            arities: of all operations that may be in it.

        Raises:
            UserError: it is no program.
        """
        words = iter(text.split())
        found = _read(words, arities, DEEPEST)
        if (left := next(words, None)) is not None:
            raise UserError(f"the program ends before '{printable(left)}'; leave out what follows.")
        return found

    def __str__(self) -> str:
        return " ".join(each.operation for each in self.walk())

    def walk(self) -> Iterator[Program]:
        """This program and all in it, in the order of the text."""
        left = [self]
        while left:
            one = left.pop()
            yield one
            left.extend(reversed(one.parts))

    @cached_property
    def uses(self) -> frozenset[str]:
        """Which operations are in it."""
        inner = [part.uses for part in self.parts]
        found = frozenset([self.operation]).union(*inner)
        return next((own for own in inner if own == found), found)  # of a million programs most share theirs

    @cached_property
    def mass(self) -> int:
        """How many operations it has, without holes."""
        return (not is_hole(self.operation)) + sum(part.mass for part in self.parts)


def is_hole(operation: str) -> bool:
    """Whether it stands for a program that is given later."""
    return operation.startswith("#")


def _read(words: Iterator[str], arities: Mapping[str, int], deepest: int) -> Program:
    word = next(words, None)
    if word is None:
        raise UserError("the program ends where an operation is missing; 'identity' ends one.")
    if word not in arities:
        raise UserError(f"unknown operation '{printable(word)}'{all_names(word, list(arities))}")
    if not deepest:
        raise UserError(f"the program has more than {DEEPEST} operations within each other; give a smaller one.")
    return Program(word, tuple(_read(words, arities, deepest - 1) for _ in range(arities[word])))
