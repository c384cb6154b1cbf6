"""Reading files that somebody else may have made: ordinary ones of the folder itself, no larger than they may be."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

from dnal.base.errors import UserError

REMEDY = "restore it or run `dnal learn` again"
DEEPEST = 8
"""Lists in lists, in a file of YAML."""
LONGEST = 2**12
"""Characters of a text in a file of YAML: some of what looks like a number takes time that grows with its square."""
MOST = 2**17
"""Values in a file of YAML: two bytes of it may be one, which takes some hundred times as much memory."""

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML brings it, is ten times as fast
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def ordinary(path: Path, largest: int | None = None, *, remedy: str = REMEDY) -> int:
    """The size in bytes of an ordinary file.

    Raises:
        UserError: there is none, it is a link, a folder, a pipe or a device, or it is larger than ``largest`` bytes;
            with the ``remedy``.
    """
    try:
        status = path.lstat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, remedy) from None
    return _checked(path, status, largest, remedy)


def opened(path: Path, *, remedy: str = REMEDY) -> BufferedReader:
    """An ordinary file, open for reading.

    Raises:
        UserError: as :func:`ordinary`.
    """
    ordinary(path, remedy=remedy)
    # Between that look and this one the file may have become another: a link is not followed, a pipe not waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        raise _unreadable(path, error, remedy) from None
    try:
        _checked(path, os.fstat(file.fileno()), None, remedy)
    except UserError:
        file.close()
        raise
    return file


def content(path: Path, largest: int, *, remedy: str = REMEDY) -> bytes:
    """All bytes of an ordinary file.

    Raises:
        UserError: as :func:`ordinary`.
    """
    ordinary(path, largest, remedy=remedy)
    with opened(path, remedy=remedy) as file:
        return file.read(largest)


def text_of(path: Path, largest: int, *, remedy: str = REMEDY) -> str:
    """All of an ordinary file as text.

    Raises:
        UserError: as :func:`ordinary`, or it is no UTF-8.
    """
    try:
        return content(path, largest, remedy=remedy).decode()
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is no text in UTF-8; {remedy}.") from None


def json_of(path: Path, largest: int, *, remedy: str = REMEDY) -> Any:
    """What an ordinary file of JSON holds. NaN and the infinities, which Python would read and JSON does not have, are
    damage.

    Raises:
        UserError: as :func:`text_of`, or it is no such JSON.
    """
    text = text_of(path, largest, remedy=remedy)
    try:
        return plain_json(text)
    except ValueError:
        raise UserError(f"'{path}' cannot be read as JSON; {remedy}.") from None


def given_json(path: Path, largest: int, what: str, refusal: str) -> Any:
    """What a file of JSON holds that a user gave; links are followed.

    Args:
        what: it is, such as "the architecture". refusal: of what is no JSON, such as "is not an architecture".

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        return plain_json(content(path.resolve(), largest, remedy="give another file").decode())
    except UserError as error:
        raise UserError(f"cannot read {what}: {error}") from None
    except (ValueError, OSError, RuntimeError):  # the last one of links that go in a circle
        raise UserError(f"'{path}' {refusal}: it is no JSON.") from None


def plain_json(text: str, *, finite: bool = True) -> Any:
    """What a text of JSON holds.

    Args:
        finite: NaN and infinities, which Python writes and JSON does not have, are refused.

    Raises:
        ValueError: it is no JSON, or holds half of a character.
    """
    kinds: dict[str, Any] = {"parse_constant": _no_constant, "parse_float": _finite} if finite else {}
    try:
        found = json.loads(text, **kinds)
        if _SURROGATE.search(text):  # two of them make a character, one alone cannot be written anywhere
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("its lists stand too deep in each other") from error
    return found


def plain_yaml(text: str) -> Any:
    """What a text of YAML holds: plain values, lists and names.

    Raises:
        ValueError: it is no YAML, or such as makes a large document of a small file: aliases, tags, deep nesting, more
            values or longer texts than anybody writes; or a text in it is none that can be written.
    """
    try:
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=_Parser)):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
                raise ValueError("anchors, aliases and tags are not read")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"more than {DEEPEST} lists in each other are not read")
            if number > MOST:
                raise ValueError(f"more than {MOST:,} values are not read")
            if isinstance(event, yaml.ScalarEvent):
                if len(event.value) > LONGEST:
                    raise ValueError(f"texts of more than {LONGEST:,} characters are not read")
                event.value.encode()  # half of a character, which an escape may name, is none
        return yaml.load(text, Loader=_Parser)
    except (yaml.YAMLError, OverflowError, RecursionError, TypeError, AttributeError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is larger than any number")
    return value


def _unreadable(path: Path, error: Exception, remedy: str) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return UserError(f"'{path}' cannot be read ({reason}); {remedy}.")


def _checked(path: Path, status: os.stat_result, largest: int | None, remedy: str) -> int:
    if stat.S_ISLNK(status.st_mode):
        raise UserError(f"'{path}' is a link, and a run holds its files itself; copy the file there.")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"'{path}' is no ordinary file; {remedy}.")
    if largest is not None and status.st_size > largest:
        raise UserError(
            f"'{path}' has {status.st_size:,} bytes, more than such a file can have ({largest:,}); {remedy}."
        )
    return status.st_size
