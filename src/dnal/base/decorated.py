"""The functions of a package under a decorator, as its files say: nothing is imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def decorated(files: Iterable[Path], decorator: str) -> list[tuple[str, str]] | None:
    """The functions that stand in files of Python under a decorator of this name, at the outermost level.

    Args:
        files: of one package.
        decorator: its name, such as ``register_model``.

    Returns:
        (name of the function, what stands in the decorator's brackets, "" without) in the order of the files; None
        where a file cannot be read, or stands otherwise than this reading understands.
    """
    begun = re.compile(rf"^[ \t]*@(?:\w+\.)*{decorator}\b", re.MULTILINE)
    # The brackets end with a line, and other decorators may stand between this one and its function.
    whole = re.compile(
        rf"^@{decorator}(?:\(((?:[^()]|\([^()]*\))*)\))?[ \t]*(?:#.*)?\n"
        rf"(?:(?!@{decorator}\b|def |class ).*\n)*?def (\w+)\(",
        re.MULTILINE,
    )
    found = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        here = [(name, inside) for inside, name in whole.findall(text)]
        if len(here) != len(begun.findall(text)):
            return None
        found += here
    return found
