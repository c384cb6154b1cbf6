"""Checkpoints on disk: the last state and the one before it, each whole, each with its checksum."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dnal.base.atomic import temporary_files, write_through
from dnal.base.claim import check_still_held, held, holds
from dnal.base.errors import UserError
from dnal.base.tensors import SHA256, described, raw, stream
from dnal.train.resume.tree import packed, unpacked

LAST = "checkpoint.safetensors"
BEFORE = "checkpoint.before.safetensors"
EVERY = 200
"""Steps between checkpoints by default."""

Tree = dict[str, Any]


class Checkpoints:
    """A folder's checkpoint, and the one before it in case the last is damaged.

    Args:
        folder: made when something is first saved, and not again: one that is gone is gone with all that was in it.
        every: steps between two checkpoints; the ends of phases and epochs are kept besides.
        restart: leave aside what the folder holds of an earlier job, which will be replaced.
    """

    def __init__(self, folder: str | Path, every: int = EVERY, *, restart: bool = False) -> None:
        if every < 1:
            raise UserError(f"there must be 1 step or more between checkpoints, not {every}.")
        self.folder, self.every, self._restart = Path(folder), every, restart
        self._there = False
        self._claims: ExitStack | None = None

    def within(self, name: str) -> Checkpoints:
        """Those of a folder in this one, kept as often."""
        return Checkpoints(self.folder / name, self.every, restart=self._restart)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """While a job works here no other process may, from the moment that the folder is there.

        Raises:
            UserError: (also from :meth:`save`) another one does.
        """
        with ExitStack() as self._claims:
            if self.folder.is_dir() and not self._restart:  # what is replaced is claimed by who replaces it
                self._claim()
            yield
        self._claims = None

    def save(self, tree: Tree) -> None:
        """Writes a tree (``dnal.train.resume.tree``) of tensors and plain values, beside the last one and then for it.

        Raises:
            UserError: where the disk refuses; the state saved before is there still. Or the folder was removed since it
                was last used.
        """
        check_still_held(self.folder)
        self._make()
        tensors, document = packed(tree)
        text = json.dumps(document, separators=(",", ":"))

        def write(file: BinaryIO) -> None:
            stream(file, tensors, {"state": text}, hashlib.sha256(text.encode()))

        # Not save_file: its own temporary file would stay where a kill leaves it, under a name that is not known.
        write_through(self.folder / LAST, write, before=self.folder / BEFORE)

    def load(self, check: Callable[[Tree], None] = lambda tree: None) -> Tree | None:
        """The newest intact checkpoint, or None where there is none.

        Warns where a damaged one had to be left aside.

        Args:
            check: raises ValueError for a tree that is none of those saved: such a checkpoint is damaged too.

        Raises:
            UserError: both are damaged.
        """
        damaged: list[str] = []
        self._there = self.folder.is_dir()
        for name in () if self._restart else (LAST, BEFORE):
            path = self.folder / name
            if not path.is_file():
                continue
            try:
                tree = _read(path)
                check(tree)
            except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
                damaged.append(name)
                continue
            if damaged:
                warnings.warn(
                    f"the checkpoint '{self.folder / damaged[0]}' is damaged; the one before it is used.", stacklevel=2
                )
            return tree
        if damaged:
            raise damage(self.folder, ", ".join(damaged))
        return None

    def clear(self) -> None:
        """Removes them."""
        for path in (self.folder / LAST, self.folder / BEFORE, *temporary_files(self.folder, (LAST, BEFORE))):
            path.unlink(missing_ok=True)

    def _make(self) -> None:
        """The folder, the first time."""
        if self._there and not self.folder.is_dir():
            raise UserError(f"the folder '{self.folder}' was removed or moved while this job kept its state there.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"no checkpoint can be written in '{self.folder}' ({error.strerror}).") from None
        self._there = True
        self._claim()

    def _claim(self) -> None:
        if self._claims is not None and not holds(self.folder):
            self._claims.enter_context(held(self.folder))


def damage(folder: Path, what: str) -> UserError:
    """The sentence for checkpoints from which no job can go on."""
    return UserError(f"the checkpoints in '{folder}' are damaged ({what}); delete them to begin again.")


def _read(path: Path) -> Tree:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata[SHA256] != _digest(tensors, metadata["state"]):
        raise ValueError("the checksum differs")
    tree = unpacked(tensors, json.loads(metadata["state"]))
    if not isinstance(tree, dict):
        raise TypeError("the state is no table")
    return tree


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(described(name, tensor))
        digest.update(raw(tensor))
    return digest.hexdigest()
