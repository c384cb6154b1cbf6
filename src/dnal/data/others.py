"""Data of others: a function at ``package.module:function``, or one that an installed package brings by a name."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

from dnal.base.errors import UserError, described
from dnal.base.place import brought, found_at, is_place

_OPTIONS = re.compile(r"(.+):([A-Za-z_-]+=[^:]*)")


def without_options(name: str) -> tuple[str, str]:
    """A name of data without the options that stand behind it, and these."""
    found = None if os.path.lexists(name) else _OPTIONS.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")


def names_code(name: str) -> bool:
    """Whether this is no name of data but says where code is, to be imported and run."""
    name, _ = without_options(name)
    return is_place(name) and name not in brought("data") and not os.path.lexists(name)


def place_of(name: str) -> str | None:
    """Where the function is that reads data of this name; None where no function does."""
    return brought("data").get(name) or (name if names_code(name) else None)


def read_others(name: str, place: str, root: Path | None, download: bool, known: tuple[type, ...]) -> Any:
    """What the function at ``place`` returns. It gets ``root`` and ``download`` as keywords, each only if its signature
    names it. What it raises itself is passed on.

    Args:
        known: what it may return, one for each kind of data.

    Raises:
        UserError: there is no such function, or it returns something else, such as no :class:`dnal.data.RawArrays`.
    """
    function = found_at(place, "data", None if place == name else name)
    if not callable(function):
        raise UserError(f"'{name}' is a {type(function).__name__}, not a function that returns dnal.data.RawArrays.")
    parameters = inspect.signature(function).parameters
    given: dict[str, Any] = {"root": root, "download": download}
    found = function(**{key: value for key, value in given.items() if key in parameters})
    if not isinstance(found, known):
        others = ", ".join(kind.__name__ for kind in known[1:])
        raise UserError(
            f"'{name}' returned {described(found)}, not dnal.data.{known[0].__name__}; let it return those, "
            f"or {others}."
        )
    return found


def described_others(taken: set[str]) -> list[tuple[str, str]]:
    """What installed packages bring, as (name, description): the first sentence of the function's docstring. One that
    cannot be imported says why.

    Args:
        taken: names that mean something else.
    """
    rows = []
    for name, place in brought("data").items():
        if name in taken:
            continue
        try:
            text = inspect.getdoc(found_at(place, "data", name)) or place
        except (ImportError, UserError) as error:
            text = f"cannot be imported: {error}"
        rows.append((name, text.split("\n")[0]))
    return rows
