"""Options: the fields of a dataclass. Name, type, default, range and help stand in the field and nowhere else.

A thing that has options (a method, a technique, a study, the settings of a job) is a dataclass under :class:`Options`
whose fields are made by :func:`option`. The command line, config files, ``NAME:key=value`` texts, cards and checks are
derived from them.

    >>> @dataclass(frozen=True)
    ... class Smoothing(Options):
    ...     amount: float = option(0.1, "How much of a target goes to all classes.", least=0, below=1)
    >>> from_text(Smoothing, "amount=0.2")
    Smoothing(amount=0.2)
    >>> Smoothing(amount=2)
    Traceback (most recent call last):
    dnal.UserError: amount is 0 or more and less than 1, not 2.0.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dnal.base.errors import UserError, all_names, suggestion

T = TypeVar("T", bound="Options")
_KEY = "option"
SEPARATOR = "/"
"""Between the values of a list in a text; a comma ends the option."""


@dataclass(frozen=True)
class Range:
    """Which numbers an option takes: ``least`` and ``most`` are among them, ``above`` and ``below`` are not."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        return (
            (isinstance(value, int) or math.isfinite(value))  # an int may be larger than any float
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        low = f"{self.least} or more" if self.least is not None else ""
        low = f"more than {self.above}" if self.above is not None else low
        high = f"at most {self.most}" if self.most is not None else ""
        high = f"less than {self.below}" if self.below is not None else high
        return " and ".join(filter(None, (low, high))) or "a finite number"


@dataclass(frozen=True)
class Option:
    """One option of a kind of thing.

    Attributes:
        kind: its type, as annotated. default: the value where none is given.
        identifies: whether another value makes it another run; if not, a run may go on with another one.
        known: the words that it takes, where it takes words of a list.
    """

    name: str
    kind: Any
    default: Any
    help: str
    range: Range
    identifies: bool
    known: tuple[str, ...]


@dataclass(frozen=True)
class _Stated:
    help: str
    range: Range
    identifies: bool
    known: tuple[str, ...]


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    known: tuple[str, ...] = (),
    identifies: bool = True,
) -> Any:
    """A field of an :class:`Options` dataclass.

    Args:
        default: of the option.
        help: one sentence.
        least, above, most, below: the range of a number, or of each number of a list.
        known: the words that it takes, where they are no ``Literal`` type.
        identifies: see :class:`Option`.
    """
    stated = _Stated(help, Range(least, above, most, below), identifies, known)
    return dataclasses.field(default=default, metadata={_KEY: stated})


class Options:
    """A dataclass whose fields are options. They are checked when it is made.

    Raises:
        UserError: a value of another type or outside its range, naming the option.
    """

    def __post_init__(self) -> None:
        for one in options_of(type(self)):
            object.__setattr__(self, one.name, checked(one, getattr(self, one.name)))


def options_of(kind: type[Options]) -> tuple[Option, ...]:
    """The options of a kind of thing, in the order of its fields; other fields are left aside."""
    hints = get_type_hints(kind)
    return tuple(
        Option(field.name, hints[field.name], field.default, stated.help, stated.range, stated.identifies, stated.known)
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if isinstance(stated := field.metadata.get(_KEY), _Stated)
    )


def values_of(thing: Options) -> dict[str, Any]:
    """The options of a thing by name, as plain values that JSON and YAML hold."""
    found = {one.name: getattr(thing, one.name) for one in options_of(type(thing))}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def from_values(kind: type[T], values: Mapping[str, Any], what: str = "") -> T:
    """A thing from its options by name.

    Args:
        what: whose options they are, for the sentence about a wrong name.

    Raises:
        UserError: an unknown name, or a wrong value.
    """
    known = [one.name for one in options_of(kind)]
    for name in values:
        if name not in known:
            otherwise = f"it has {', '.join(known)}." if known else "it has none."
            raise UserError(
                f"{what or kind.__name__} has no option '{name}'; {suggestion(str(name), known, otherwise)}"
            )
    return kind(**values)


def from_text(kind: type[T], text: str, what: str = "") -> T:
    """A thing from a text ``key=value,key=value``; the values of a list stand between slashes.

    Raises:
        UserError: as :func:`from_values`, or no such text.
    """
    return from_values(kind, options_in(kind, text), what)


def options_in(kind: type[Options], text: str) -> dict[str, Any]:
    """The options that a text ``key=value,key=value`` gives, by name; one that the kind does not have as text.

    Raises:
        UserError: no such text, or a value of another type.
    """
    known = {one.name: one for one in options_of(kind)}
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        name = name.replace("-", "_")
        if not equals:
            raise UserError(f"options are written key=value, such as {_example(known)}, not '{part}'.")
        if name in values:
            raise UserError(f"the option '{name}' stands twice in '{text}'.")
        values[name] = value_of(known[name], value) if name in known else value
    return values


def text_of(thing: Options) -> str:
    """What :func:`from_text` makes the same thing of: the options that are not as by default."""
    parts = []
    for one in options_of(type(thing)):
        value = getattr(thing, one.name)
        if value != one.default or type(value) is not type(one.default):
            parts.append(f"{one.name}={word_of(value)}")
    return ",".join(parts)


def flag(name: str) -> str:
    """How the command line calls the option of this name."""
    return f"--{name.replace('_', '-')}"


def arguments_of(one: Option, value: Any) -> list[str]:
    """What to type for a value of an option on the command line.

    Raises:
        UserError: it does not take the value.
    """
    value = checked(one, value)
    if isinstance(value, bool):
        return [flag(one.name) if value else f"--no-{flag(one.name).removeprefix('--')}"]
    if one.kind == tuple[str, ...]:
        return [word for each in value for word in (flag(one.name), each)]
    return (
        []
        if value is None
        else [flag(one.name), word_of(value).replace(SEPARATOR, ",") if _listed(value) else word_of(value)]
    )


def checked(one: Option, value: Any) -> Any:
    """A value as the option takes it.

    Raises:
        UserError: it does not take it.
    """
    for kind in _alternatives(one.kind):
        if kind is type(None) and value is None:
            return None
        found = _as(kind, value)
        if found is not None:
            _check_range(one, found)
            return found
    raise UserError(f"{one.name} is {described_type(one)}, not {word_of(value) if value is not None else 'none'}.")


def value_of(one: Option, text: str, separator: str = SEPARATOR) -> Any:
    """What a text says as a value of the option.

    Args:
        separator: between the values of a list.

    Raises:
        UserError: nothing that it takes.
    """
    for kind in _alternatives(one.kind):
        if kind is type(None) and text == "none":
            return None
        found = _read(kind, text, separator)
        if found is not None:
            return checked(one, found)
    raise UserError(f"{one.name} is {described_type(one)}, not '{text}'.")


def described_type(one: Option) -> str:
    """What an option takes, in words: "a whole number, 1 or more", "cosine or step", "true or false"."""
    words = list(one.known) or [word for kind in _alternatives(one.kind) for word in _literals(kind)]
    kinds = [kind for kind in _alternatives(one.kind) if not _literals(kind) and not (kind is str and one.known)]
    if float in kinds:
        kinds = [kind for kind in kinds if kind is not int]  # every whole number is a number
    if type(None) in kinds:
        words.append("none")
    kinds.sort(key=_is_list)
    types = " or ".join(_name(kind) for kind in kinds if kind is not type(None))
    if types and one.range != Range():
        types += f", {one.range}" + ("," if words else "")
    return " or ".join(filter(None, [types, ", ".join(words[:-1]), *words[-1:]]))


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _name(kind: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    if _is_list(kind):
        parts = get_args(kind)
        several = f"{names[parts[0]].removeprefix('a ')}s"
        return f"a list of {several}" if parts[-1] is Ellipsis else f"{len(parts)} {several}"
    return names[kind]


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union, narrower ones first: every whole number is also a number, and a text can be anything."""
    alternatives = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return tuple(sorted(alternatives, key=lambda each: (each is str, each is float, each is int)))


def _literals(kind: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()


def _as(kind: Any, value: Any) -> Any:
    """The value as one of this type, or None where it is none."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) and not isinstance(value, bool) else None
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            return None
        parts = get_args(kind)
        each = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        found = tuple(_as(one, item) for one, item in zip(each, value, strict=False))
        return found if len(each) == len(value) and None not in found else None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    return value if kind in (bool, str) and isinstance(value, kind) else None


def _read(kind: Any, text: str, separator: str) -> Any:
    """The text as a value of this type, or None where it is none."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    if kind is int:
        return int(text) if re.fullmatch(r"[-+]?[0-9]{1,18}", text) else None
    if kind is float:
        found = re.fullmatch(r"([-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]{1,3})?)(%?)", text.lower())
        return None if not found else float(found[1]) / 100 if found[4] else float(found[1])
    if kind is str or get_origin(kind) is Literal:
        return text if kind is str or text in get_args(kind) else None
    if get_origin(kind) is tuple:
        parts = (
            tuple(_read(get_args(kind)[0], part.strip(), separator) for part in text.split(separator)) if text else ()
        )
        fixed = get_args(kind)[-1] is not Ellipsis
        return None if None in parts or (fixed and len(parts) != len(get_args(kind))) else parts
    return None


def _check_range(one: Option, value: Any) -> None:
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, int | float) and not isinstance(each, bool) and not one.range.holds(each):
            raise UserError(f"{one.name} is {one.range}, not {word_of(each)}.")
        if isinstance(each, str) and one.known and each not in one.known:
            raise UserError(f"unknown {one.name.lstrip('-')} '{each}'{all_names(each, one.known)}")


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)


def word_of(value: Any) -> str:
    """A value of an option in a text."""
    if isinstance(value, list | tuple):
        return SEPARATOR.join(map(word_of, value))
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return f"{value!r}" if isinstance(value, float) else str(value)


def _example(known: Mapping[str, Option]) -> str:
    return next((f"{name}={word_of(one.default)}" for name, one in known.items()), "key=value")
