"""What becomes of one parameter: which layers make the channels of its dimensions and read them, or why they stay."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnal.base.errors import UserError
from dnal.space.patterns import nearest
from dnal.space.roles import Place, makers

if TYPE_CHECKING:
    from dnal.space.space import Group, Space

SHOWN = 6
COMMONEST = 3


@dataclass(frozen=True)
class Part:
    """The entries of a dimension that belong to one group.

    Attributes:
        group, width: the group's name and how many channels it has.
        entries: how many entries of the dimension they are.
        written_by, read_by: the dimensions that make the channels and those that read them.
        moves_with: the others that lose entries with them (biases, norms).
    """

    group: str
    width: int
    entries: int
    written_by: tuple[Place, ...]
    read_by: tuple[Place, ...]
    moves_with: tuple[Place, ...]


@dataclass(frozen=True)
class Dimension:
    """One dimension of a parameter: its ``parts`` may vary, ``fixed`` entries stay, for ``reasons``."""

    number: int
    size: int
    parts: tuple[Part, ...]
    fixed: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """What :meth:`dnal.Space.explain` found for a parameter or buffer; ``str()`` makes a text of it."""

    name: str
    shape: tuple[int, ...]
    dimensions: tuple[Dimension, ...]

    def __str__(self) -> str:
        lines = [f"{self.name}: {' x '.join(map(str, self.shape)) or 'one number'}"]
        for dimension in self.dimensions:
            lines += _lines(dimension)
        return "\n".join(lines)


def explained(space: Space, name: str) -> Explanation:
    """The explanation of a parameter or buffer of the space.

    Raises:
        UserError: an unknown name.
    """
    sources = {**space.sources, **space.buffer_sources}
    if name not in sources:
        raise UserError(_unknown(name, list(sources)))
    shape = space.shapes[name]
    return Explanation(name, shape, tuple(_dimension(space, name, dim) for dim in range(len(shape))))


def why_fixed(space: Space) -> dict[str, list[str]]:
    """Per reason for which channels stay the places where they do, "conv1.weight[0]", in the order of the network."""
    fixed: dict[str, list[str]] = {}
    for name, reason in space.fixed:
        match = re.fullmatch(r"dimension (\d+): (.*)", reason, re.S)
        place, why = (f"{name}[{match[1]}]", match[2]) if match else (name, reason)
        fixed.setdefault(why, []).append(place)
    return fixed


def commonest_reasons(space: Space) -> str:
    """The reasons that hold in most places, each with the first of these."""
    found = sorted(why_fixed(space).items(), key=lambda item: -len(item[1]))[:COMMONEST]
    return "; ".join(
        f"{why} ({places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''})" for why, places in found
    )


def _dimension(space: Space, name: str, dim: int) -> Dimension:
    ids = {**space.sources, **space.buffer_sources}[name][dim]
    size = space.shapes[name][dim]
    group_of = {variable: g for g, group in enumerate(space.groups) for variable in group.variables.tolist()}
    entries: dict[int, int] = {}
    for variable in [] if ids is None else ids.tolist():
        if variable >= 0:
            entries[group_of[variable]] = entries.get(group_of[variable], 0) + 1
    parts = tuple(_part(space, space.groups[g], count) for g, count in entries.items())
    fixed = size - sum(entries.values())
    return Dimension(dim, size, parts, fixed, _reasons(space, name, dim, size) if fixed else ())


def _part(space: Space, group: Group, entries: int) -> Part:
    readers = tuple(p for p in group.places if p in set(space.readers))
    written = tuple(makers(group.places, space.readers, space.writers))
    rest = tuple(p for p in group.places if p not in readers and p not in written)
    return Part(group.name, group.width, entries, written, readers, rest)


def _reasons(space: Space, name: str, dim: int, size: int) -> tuple[str, ...]:
    start = f"dimension {dim}: "
    found = [
        reason.removeprefix(start) for tensor, reason in space.fixed if tensor == name and reason.startswith(start)
    ]
    layer, _, last = name.rpartition(".")
    if layer in space.baked and last not in ("weight", "bias"):
        return ("its layer computes a weight from it, and is made plain with that weight",)
    return tuple(found) or ("it has one entry" if size == 1 else "it is no dimension of channels",)


def _unknown(name: str, known: list[str]) -> str:
    inside = [other for other in known if other.startswith(f"{name}.")]
    if inside:
        names = ", ".join(f"'{other}'" for other in inside[:3]) + (", ..." if len(inside) > 3 else "")
        return f"'{name}' is a layer, not a parameter; ask for one of its own, {names}"
    close = nearest(name, known)
    return f"this network has no parameter '{name}'; " + (
        f"did you mean '{close}'?" if close else "`dnal space` or named_parameters() lists the names."
    )


def _lines(dimension: Dimension) -> list[str]:
    start = f"  dimension {dimension.number} ({dimension.size}):"
    lines = []
    for part in dimension.parts:
        some = "" if part.entries == dimension.size else f"{part.entries} entries in "
        lines.append(f"{start} {some}group '{part.group}' of width {part.width}")
        lines.append(f"    written by {_places(part.written_by)}")
        lines.append(f"    read by {_places(part.read_by) or 'no parameter'}")
        if part.moves_with:
            more = f" and {len(part.moves_with) - SHOWN} more" if len(part.moves_with) > SHOWN else ""
            lines.append(f"    moves with {_places(part.moves_with[:SHOWN])}{more}")
    if dimension.fixed:
        some = "" if dimension.fixed == dimension.size else f"{dimension.fixed} entries "
        lines.append(f"{start} {some}fixed: {'; '.join(dimension.reasons)}")
    return lines


def _places(places: tuple[Place, ...]) -> str:
    return ", ".join(f"{name}[{dim}]" for name, dim in places)
