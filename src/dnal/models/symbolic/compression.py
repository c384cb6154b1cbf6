"""Abstractions that make programs shorter: what they have in common gets a name."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from dnal.models.symbolic.library import Abstraction
from dnal.models.symbolic.program import Program, is_hole

HOLES = 2
"""That an abstraction may have at most."""
TIMES = 3
"""Abstractions that are found one after the other."""


def compressed(
    programs: Sequence[Program], library: Sequence[Abstraction] = (), *, times: int = TIMES, holes: int = HOLES
) -> tuple[list[Program], tuple[Abstraction, ...]]:
    """Names the most valuable abstraction, ``times`` over, and writes the programs with it.

    An abstraction is what two parts of the programs have in common, with a hole where they differ; the most valuable
    one leaves the fewest operations in programs and library together. Where none leaves fewer, nothing is named.

    Args:
        programs: of the ten operations and the library's. library: to which abstractions are added.

    Returns:
        the programs, which expand to the same as before, and the library.

    The authors use Stitch (Bowers et al., POPL 2023), which finds the best of all abstractions and not only of those
    that two parts have in common; how it values one is recalled and not verified.

    Examples:
        >>> texts = ("push add connect move identity", "push add connect pop push add connect identity")
        >>> (one, other), (fn,) = compressed([Program.of(text) for text in texts])
        >>> str(one), str(other), str(fn.body)
        ('fn_0 move identity', 'fn_0 pop fn_0 identity', 'push add connect #0')
    """
    written, known = list(programs), tuple(library)
    for _ in range(times):
        found = _most_valuable(written, holes)
        if found is None:
            break
        named = Abstraction(f"fn_{len(known)}", found)
        written = [rewritten(program, named) for program in written]
        known = (*known, named)
    return written, known


def rewritten(program: Program, named: Abstraction) -> Program:
    """The program with an abstraction wherever its body fits, from the outside inwards."""
    given: dict[str, Program] = {}
    if _fits(named.body, program, given):
        parts = tuple(rewritten(given[f"#{nth}"], named) for nth in range(len(given)))
        return Program(named.name, parts)
    return Program(program.operation, tuple(rewritten(part, named) for part in program.parts))


def common(one: Program, other: Program) -> Program:
    """What two programs have in common, with holes where they differ; the same difference has the same hole.

    Examples:
        >>> str(common(Program.of("push add move identity"), Program.of("push add connect identity")))
        'push add #0'
    """
    return _common(one, other, {})


def _common(one: Program, other: Program, holes: dict[tuple[Program, Program], Program]) -> Program:
    if one.operation == other.operation:
        pairs = zip(one.parts, other.parts, strict=True)
        return Program(one.operation, tuple(_common(*pair, holes) for pair in pairs))
    return holes.setdefault((one, other), Program(f"#{len(holes)}"))


def _most_valuable(programs: Sequence[Program], holes: int) -> Program | None:
    parts = Counter(part for program in programs for part in program.walk())
    bodies = {
        body for one, other in itertools.combinations(parts, 2) if one.operation == other.operation
        for body in [common(one, other)] if _worth_a_look(body, holes)
    } | {part for part, count in parts.items() if count > 1 and part.mass > 1}  # fmt: skip

    def promised(body: Program) -> int:
        """What it saves at most, were no fit within another: each leaves its name and what it is given."""
        saved = -body.mass
        for part, count in parts.items():
            given: dict[str, Program] = {}
            if _fits(body, part, given):
                saved += count * (part.mass - 1 - sum(one.mass for one in given.values()))
        return saved

    before, best, found = sum(program.mass for program in programs), 0, None
    for promise, _, body in sorted(((-promised(body), str(body), body) for body in bodies), key=lambda one: one[:2]):
        if -promise <= best:
            break
        after = sum(rewritten(program, Abstraction("fn", body)).mass for program in programs)
        if (saved := before - after - body.mass) > best:
            best, found = saved, body
    return found


def _worth_a_look(body: Program, holes: int) -> bool:
    own = {each.operation for each in body.walk() if is_hole(each.operation)}
    return body.mass > 1 and len(own) <= holes


def _fits(body: Program, program: Program, given: dict[str, Program]) -> bool:
    """Whether a body is the program for what is ``given`` to its holes, which is filled in."""
    if is_hole(body.operation):
        return given.setdefault(body.operation, program) == program
    return body.operation == program.operation and all(
        _fits(ours, theirs, given) for ours, theirs in zip(body.parts, program.parts, strict=True)
    )
