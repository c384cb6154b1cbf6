"""Where the files of such a network are: a folder, or a name on the Hub, whose files transformers itself fetches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnal.base.errors import UserError, one_line, reason_of
from dnal.base.names import at_home
from dnal.models.huggingface.names import PREFIX

_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


def library() -> Any:
    """transformers.

    Raises:
        UserError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"models of {PREFIX} need transformers, which is not installed ({error}); run: pip install 'dnal[hf]'"
        ) from None
    return transformers


@dataclass(frozen=True)
class Place:
    """A folder, or a name on the Hub.

    Attributes:
        name: as the user said it, without "hf/". folder: None for the Hub.
    """

    name: str
    folder: Path | None

    @staticmethod
    def of(name: str) -> Place:
        """The place of a name such as "hf/runs/vit" or "hf/google/vit-base-patch16-224".

        Raises:
            UserError: there is no such folder, and it is no name on the Hub either.
        """
        short = name.removeprefix(PREFIX)
        path = at_home(short, "path of the model")
        if short and path.is_dir():  # nothing would mean the current folder
            return Place(short, path)
        if not _ON_THE_HUB.fullmatch(short) or path.exists():
            raise UserError(
                f"there is no folder '{one_line(short, 80)}', and it is no name on the Hugging Face Hub; give a folder "
                "with config.json and model.safetensors, as save_pretrained writes it."
            )
        return Place(short, None)

    def file(self, name: str, *, needed: bool = False) -> Path | None:
        """One of its files, links followed; None where it has none.

        Args:
            needed: refuse instead.

        Raises:
            UserError: it is needed and not there, or the Hub cannot be asked.
        """
        found = self._on_the_hub(name, needed) if self.folder is None else self._in(self.folder, name)
        if found is None and needed:
            raise UserError(f"'{one_line(self.name, 80)}' has no {name}; give a folder as save_pretrained writes it.")
        return found

    @staticmethod
    def _in(folder: Path, name: str) -> Path | None:
        path = folder / name
        try:
            return path.resolve() if path.exists() else None
        except (OSError, RuntimeError) as error:  # links in a circle
            raise UserError(f"'{path}' cannot be read ({reason_of(error)}); restore it.") from None

    def _on_the_hub(self, name: str, needed: bool) -> Path | None:
        cached_file = library().utils.cached_file
        try:
            found = cached_file(self.name, name, _raise_exceptions_for_missing_entries=needed)
        except (OSError, ValueError) as error:
            if not needed:
                return None
            raise UserError(
                f"'{self.name}' is no folder, and {name} of that name on the Hugging Face Hub could not be had "
                f"({reason_of(error, 160)}); check the name and the connection, or give a folder."
            ) from None
        return None if found is None else Path(found).resolve()
