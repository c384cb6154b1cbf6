"""The code blocks of a page, as its readers take them: python and sh, one after the other, in one folder."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

INSTALLS = (("python", "-m", "venv"), (".",), ("pip", "install"), ("pytest",))
"""What a reader has done before, and what runs this; `.ci/run` does it anew."""


class Block(NamedTuple):
    """A block between fences."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that this block is, where its first line says so."""
        found = re.match(r"# (\w+\.\w+)\n", self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[list[str]]:
        """The commands of a sh block, word by word, but for those that install."""
        chains = [shlex.split(line, comments=True) for line in self.text.splitlines()]
        return [c for words in chains for c in _parted(words) if c and not _installs(c)]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page that name a language."""
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0, f"{page.name} leaves a block open"
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, flags=re.S | re.M)
    ]


def run(page: Iterable[Block]) -> None:
    """Runs blocks in the current directory: python in one namespace, commands in processes of their own."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in page:
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            # Line numbers of an error are those of the page.
            exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)
        elif block.language == "pycon":
            compare(block.text, namespace, f"{block.page.name}:{block.line}")
        elif block.language == "sh":
            for command in block.commands:
                _run(command, f"{block.page.name}:{block.line}")


def compare(text: str, namespace: dict[str, Any], where: str) -> None:
    """Runs the lines behind >>> and compares what they print."""
    test = doctest.DocTestParser().get_doctest(text, namespace, where, None, None)
    found: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
        test, out=found.append, clear_globs=False
    )
    namespace.update(test.globs)
    assert not found, "".join(found)


def _run(command: list[str], where: str) -> None:
    """A command as a reader would type it, in the environment of this interpreter."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{where}: {shlex.join(command)}\n{ended.stdout}{ended.stderr}"


def _parted(words: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _installs(command: list[str]) -> bool:
    return any(tuple(command[: len(start)]) == start for start in INSTALLS)
