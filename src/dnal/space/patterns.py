"""Which parts of a network may vary, by the user's patterns of names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.space.roles import Place, makers, read_places, written_places
from dnal.space.trace import Trace
from dnal.space.variables import Variables, variables_of

Patterns = str | Sequence[str]

NOT_INCLUDED = "not included"


def patterns(given: Patterns | None) -> tuple[str, ...]:
    """One pattern or several, as a tuple."""
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern ("layer4", "layer4.*", "*.conv2") names the parameter or a module that holds it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:length]), pattern) for length in range(1, len(parts) + 1))


def check_patterns(names: Iterable[str], given: Iterable[str], option: str) -> None:
    """Refuses a pattern that names no parameter.

    Raises:
        UserError: with the nearest name that exists.
    """
    names = list(names)
    for pattern in given:
        if not any(matches(name, pattern) for name in names):
            close = nearest(pattern, prefixes(names))
            hint = f"did you mean '{close}'?" if close else "`dnal space` or named_parameters() lists the names."
            raise UserError(f"the {option} pattern '{pattern}' names no layer or parameter of this network; {hint}")


def prefixes(names: Iterable[str]) -> list[str]:
    """The names and those of all the modules around them, each once."""
    every = (".".join(parts[: i + 1]) for parts in (name.split(".") for name in names) for i in range(len(parts)))
    return list(dict.fromkeys(every))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The existing name that is most like a wrong one."""
    known = list(known)
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return close[0] if close else None


def restricted(trace: Trace, found: Variables, include: Sequence[str], exclude: Sequence[str]) -> Variables:
    """Freezes the groups that the patterns keep from varying.

    A group stays if an excluded layer makes its channels; reading, scaling or shifting them does not count, except for
    a pattern that names only layers that scale or shift. With ``include`` a group may vary only if all the layers that
    make its channels match.
    """
    if not include and not exclude:
        return found
    readers = read_places(trace)
    writers = written_places(trace, readers)
    group_of = _group_of_label(found)
    held = _places(trace, group_of, len(found.groups))
    made_by = [[name for name, _ in makers(places, readers, writers)] for places in held]
    carried_by = [[name for name, dim in places if (name, dim) not in readers] for places in held]
    making = [p for p in exclude if any(matches(name, p) for name in {name for name, _ in writers})]
    carrying = [p for p in exclude if p not in making]
    for number in range(len(found.groups)):
        reason = _excluded(made_by[number], making) or _excluded(carried_by[number], carrying)
        if reason is None and include and not all(any(matches(n, p) for p in include) for n in made_by[number]):
            reason = NOT_INCLUDED
        if reason is not None:
            trace.ledger.freeze((group_of == number).nonzero().squeeze(1), reason)
    return variables_of(trace)


def may_go(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether all tensors of these names may go together: none is excluded, and all are included."""
    return not _excluded(names, exclude) and (
        not include or all(any(matches(name, p) for p in include) for name in names)
    )


def _excluded(names: Sequence[str], exclude: Sequence[str]) -> str | None:
    return next((f"excluded by '{p}'" for p in exclude if any(matches(name, p) for name in names)), None)


def _group_of_label(found: Variables) -> Tensor:
    """The group of every label, -1 = fixed."""
    of_variable = torch.full((len(found.names) + 1,), -1, dtype=torch.long)  # the last entry answers for variable -1
    for number, variables in enumerate(found.groups):
        of_variable[variables] = number
    return of_variable[found.of_label]


def _places(trace: Trace, group_of: Tensor, groups: int) -> list[list[Place]]:
    """The tensor dimensions in which the channels of each group appear."""
    places: list[list[Place]] = [[] for _ in range(groups)]
    for name, dims in trace.owners.items():
        for dim, own in enumerate(dims):
            for number in [] if own is None else group_of[own].unique().tolist():
                if number >= 0:
                    places[number].append((name, dim))
    return places
