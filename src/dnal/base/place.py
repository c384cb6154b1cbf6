"""Code of others by its place, ``package.module:name``, and what installed packages bring (entry points)."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dnal.base.errors import UserError, one_line

_PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_place(name: str) -> bool:
    """Whether a name has the form ``package.module:name``."""
    return _PLACE.fullmatch(name) is not None


def brought(kind: str) -> dict[str, str]:
    """What installed packages bring of a kind, such as "method": name -> ``package.module:name``, from the entry points
    of the group "dnal." and the plural of the kind. Nothing is imported."""
    return {point.name: point.value for point in entry_points(group=f"dnal.{plural(kind)}")}


def plural(kind: str) -> str:
    """Several of a kind of thing: methods, techniques, studies, models, data."""
    if kind == "data":
        return kind
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def folder_of(package: str) -> Path | None:
    """The folder of an installed package; None where it has none, as in an archive. Nothing is imported."""
    spec = find_spec(package)
    place = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    return place if place is not None and place.is_dir() else None


def found_at(place: str, kind: str, name: str | None = None) -> Any:
    """What stands at ``package.module:name``, which is imported.

    Args:
        kind: what it is to be, such as "model". name: the one that stands for the place. Where there is none, a user
            gave the place, and the current directory is importable, as with ``python -m``.

    Raises:
        UserError: it is no ``package.module:name``, or nothing is there.
    """
    module_name, _, attribute = place.partition(":")
    here = str(Path.cwd()) if name is None else None
    name = one_line(name or place, 80)
    if here is not None and here not in sys.path:
        # It stays there: what is found may import more of the user's modules when it is called, or later.
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    if "\0" in place or not all((*module_name.split("."), *attribute.split("."))):
        raise UserError(f"{name!r} is no name of a function; write the {kind} as package.module:function")
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise UserError(
                f"no module {module_name!r} for {kind} {name!r} in the current directory or the Python path; "
                "run from the directory that holds it"
            ) from error
        raise UserError(f"module {module_name!r} of {kind} {name!r} needs {error.name!r}; install it") from error
    for part in attribute.split("."):
        if part.startswith("__") or not hasattr(target, part):
            raise UserError(f"module {module_name!r} has no {attribute!r}; write the {kind} as package.module:function")
        target = getattr(target, part)
        if inspect.ismodule(target):
            # Trust in a module is no trust in what else it happens to import.
            raise UserError(f"{part!r} of {name!r} is a module of its own; write the {kind} as package.module:function")
    return target
