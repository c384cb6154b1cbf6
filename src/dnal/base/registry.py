"""Things of one kind by name: ours, those that installed packages bring, and ``package.module:Class``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from dnal.base.errors import UserError, all_names
from dnal.base.options import (
    Options,
    described_type,
    from_text,
    from_values,
    options_in,
    options_of,
    text_of,
    values_of,
    word_of,
)  # fmt: skip
from dnal.base.place import brought, found_at

T = TypeVar("T", bound=Options)


class Registry(Generic[T]):
    """A kind of thing with options, such as methods.

    Args:
        kind: its name, such as "method"; the entry points of packages are in the group "dnal." and its plural.
        base: the class of which all are.
        ours: name -> "module:Class". Nothing is imported before it is asked for.

    Examples:
        >>> from dnal.methods.method import Method
        >>> METHODS = Registry("method", Method, {"tas": "dnal.methods.tas.tas:TAS"})
        >>> METHODS.read("tas:tau_start=4").tau_start
        4.0
    """

    def __init__(self, kind: str, base: type[T], ours: Mapping[str, str]) -> None:
        self.kind, self._base, self._ours = kind, base, dict(ours)

    def names(self) -> list[str]:
        """All names: ours in their order, then those of installed packages."""
        return [*self._ours, *(name for name in self._brought() if name not in self._ours)]

    def of(self, name: str) -> type[T]:
        """The class of this name, or at ``package.module:Class``, which is imported.

        Raises:
            UserError: there is none, or it is of another kind.
        """
        place = self._ours.get(name) or self._brought().get(name) or (name if ":" in name else None)
        if place is None:
            raise UserError(f"unknown {self.kind} '{name}'{all_names(name, self.names())}")
        try:
            found: Any = found_at(place, self.kind, None if place == name else name)
        except (ImportError, UserError) as error:
            raise UserError(f"the {self.kind} '{name}' cannot be imported: {error}.") from error
        if not (isinstance(found, type) and issubclass(found, self._base)):
            raise UserError(f"'{name}' is no {self.kind}: it must be a class under {_path(self._base)}.")
        return found

    def is_ours(self, name: str) -> bool:
        """Whether dnal brings it."""
        return name in self._ours

    def place(self, name: str) -> str:
        """Where it is, ``package.module:Class``; nothing is imported."""
        return (self._ours | self._brought()).get(name, name)

    def asked(self, text: str) -> tuple[str, dict[str, Any]]:
        """Name and given options of a text ``NAME`` or ``NAME:key=value,...``.

        Raises:
            UserError: an unknown name or a text that is no option's.
        """
        name, options = self._split(text)
        return name, options_in(self.of(name), options)

    def name_in(self, text: str) -> str:
        """The name in a text ``NAME`` or ``NAME:key=value,...``, whether there is one or not; nothing is imported."""
        return self._split(text)[0]

    def class_called(self, name: str) -> type[T]:
        """Ours whose class is called so; for the ``__getattr__`` of a package that offers all of them.

        Raises:
            AttributeError: there is none.
        """
        for key, place in self._ours.items():
            if place.partition(":")[2] == name:
                return self.of(key)
        raise AttributeError(f"there is no {self.kind} whose class is '{name}'")

    def names_code(self, name: object) -> bool:
        """Whether this is no name of ours or of an installed package but says where code is, to be imported."""
        return isinstance(name, str) and ":" in name and name not in self.names()

    def name_of(self, thing: T) -> str:
        """The name under which a thing is found again."""
        own = f"{type(thing).__module__}:{type(thing).__qualname__}"
        places = (self._ours | self._brought()).items()
        return next((name for name, place in places if place == own or _is_at(type(thing), place)), own)

    def read(self, given: object) -> T:
        """A thing from itself, from a text ``NAME`` or ``NAME:key=value,...``, or from the values of its options, with
        its name under "name".

        Raises:
            UserError: an unknown name, an unknown option or a wrong value.
        """
        if isinstance(given, self._base):
            return given
        if isinstance(given, str):
            name, options = self._split(given)
            return from_text(self.of(name), options, f"the {self.kind} '{name}'")
        if isinstance(given, Mapping) and isinstance(given.get("name"), str):
            values = {key: value for key, value in given.items() if key != "name"}
            return from_values(self.of(given["name"]), values, f"the {self.kind} '{given['name']}'")
        raise UserError(f"a {self.kind} is a name, such as '{self.names()[0]}', or an object of it, not {given!r}.")

    def values(self, thing: T) -> dict[str, Any]:
        """Its name and all its options as plain values, for a file."""
        return {"name": self.name_of(thing), **values_of(thing)}

    def text(self, thing: T) -> str:
        """The shortest text that :meth:`read` makes it of."""
        options = text_of(thing)
        return f"{self.name_of(thing)}:{options}" if options else self.name_of(thing)

    def card(self, name: str) -> tuple[str, list[tuple[str, str, str, str]]]:
        """What it says of itself, and per option: name, what it takes, default, help.

        Raises:
            UserError: there is none.
        """
        found = self.of(name)
        rows = [(one.name, described_type(one), str(one.default), one.help) for one in options_of(found)]
        return inspect.cleandoc(found.__doc__ or ""), rows

    def _split(self, text: str) -> tuple[str, str]:
        """Name and options; the colon in ``package.module:Class`` belongs to the name."""
        name, _, rest = text.partition(":")
        attribute, _, more = rest.partition(":")
        if name not in self.names() and attribute and "=" not in attribute:
            return f"{name}:{attribute}", more
        return name, rest

    def _brought(self) -> dict[str, str]:
        """name -> "module:Class" of those that installed packages bring."""
        return brought(self.kind)


def text_of_values(values: Mapping[str, Any]) -> str:
    """The text of a thing whose name and options a file holds, without its class; as :meth:`Registry.text`, but with
    all options."""
    options = ",".join(f"{key}={word_of(value)}" for key, value in values.items() if key != "name")
    return f"{values.get('name')}:{options}" if options else str(values.get("name"))


def _is_at(kind: type, place: str) -> bool:
    """Whether a class is at ``module:name``, where it may have come from another file; nothing is imported for it."""
    module, _, name = place.partition(":")
    return getattr(sys.modules.get(module), name, None) is kind


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
