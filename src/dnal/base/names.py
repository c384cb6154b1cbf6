"""Paths and names that a user gave: what no system can have is refused before anything is looked for."""

from __future__ import annotations

import os
from pathlib import Path

from dnal.base.errors import UserError, one_line

LONGEST_NAME = 255
"""Bytes of a file's or folder's name, on every usual file system."""
LONGEST_PATH = 4095
_SHOWN = 60


def possible(path: str | Path, what: str = "path") -> Path:
    """A path that a file could have.

    Args:
        what: how to call it in a message.

    Raises:
        UserError: it holds a NUL or half a character, or is longer than names and paths may be.
    """
    text = str(path)
    shown = one_line(text, _SHOWN)
    if "\0" in text:
        raise UserError(f"the {what} '{shown}' has a NUL in it, and no file can; leave it out.")
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError:
        raise UserError(f"the {what} '{shown}' has half a character in it, and no file can; leave it out.") from None
    longest = max(len(part) for part in raw.split(os.sep.encode()))
    if longest > LONGEST_NAME or len(raw) > LONGEST_PATH:
        found = f"a name of {longest:,}" if longest > LONGEST_NAME else f"{len(raw):,}"
        most = LONGEST_NAME if longest > LONGEST_NAME else LONGEST_PATH
        raise UserError(
            f"the {what} '{shown}' has {found} bytes, more than the {most:,} that one can have; shorten it."
        )
    return Path(path)


def at_home(path: str | Path, what: str = "path") -> Path:
    """:func:`possible`, with a ~ at its start as the home of a user.

    Raises:
        UserError: as :func:`possible`, or there is no such user.
    """
    try:
        return possible(path, what).expanduser()
    except RuntimeError:
        raise UserError(f"the home in the {what} '{one_line(str(path), _SHOWN)}' is not known; write it out.") from None
