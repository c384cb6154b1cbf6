"""Loggers by name, whose log goes on when the job does."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.base.atomic import write_text
from dnal.base.errors import UserError, suggestion
from dnal.base.reading import json_of
from dnal.loggers.log import Log
from dnal.loggers.names import LOGGERS, NAMES

if TYPE_CHECKING:
    from dnal.loggers.opened import Opened

LARGEST = 2**16
"""Bytes of a list of logs."""


def check(names: Sequence[str]) -> None:
    """Refuses a name that no logger has, one that is said twice, and one whose package is not here.

    Raises:
        UserError: with the remedy.
    """
    for name in names:
        if name not in NAMES:
            raise UserError(f"unknown logger '{name}'; {suggestion(name, NAMES)}")
        if list(names).count(name) > 1:
            raise UserError(f"the logger '{name}' was given twice.")
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # no package, or a folder of that name in the current directory
            raise UserError(f"the logger '{name}' needs the package {name}; run: pip install 'dnal[{name}]'")


def log_to(name: str, folder: str | Path, *, config: Mapping[str, Any] | None = None, restart: bool = False) -> Log:
    """A listener that tells a job to the logger of this name.

    Args:
        name: "tensorboard", whose files are in ``folder``, "mlflow" or "wandb", whose places their own environment
            variables say.
        folder: of the job, such as that of its checkpoints. It remembers which log is the job's, so that a job that
            goes on also goes on there.
        config: said beside the job's own settings.
        restart: take no notice of a log that is there.

    Raises:
        UserError: an unknown name, or a package that is not installed; as the job begins, a log that cannot be opened.
    """
    check([name])
    return NamedLog(name, Path(folder), config, restart=restart)


def logs_of(folder: str | Path) -> list[str]:
    """The loggers of the job in this folder."""
    return [name for name in _known(Path(folder)) if name in NAMES]


class NamedLog(Log):
    """A :class:`Log` that is opened when all input of the job has been checked."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any] | None, *, restart: bool) -> None:
        self._logger = None
        self._config = dict(config or {})
        self._epochs = 0
        self._name, self._folder = name, folder
        self._before = None if restart else _known(folder).get(name) or None  # none yet where a start was killed
        self._opened: Opened | None = None

    def space(self, space: object, ranges: list[dict[str, Any]]) -> None:
        """Opens the log: every budget is within reach, and nothing is written or trained yet."""
        try:
            self._opened = importlib.import_module(f"dnal.loggers.to_{self._name}").opened(self._folder, self._before)
        except UserError:
            raise
        except Exception as error:  # no network, no account, a package that does not fit: all of them say it in words
            raise UserError(
                f"the logger '{self._name}' cannot be used ({' '.join(str(error).split()).rstrip('.')}); leave it out, "
                "or see to that."
            ) from error
        self._logger = self._opened.logger

    def start(self, settings: dict[str, Any]) -> None:
        assert self._opened is not None
        if self._before is not None:
            return  # the log says it already
        super().start(settings)
        self._folder.mkdir(parents=True, exist_ok=True)
        known = _known(self._folder) | {self._name: self._opened.id}
        write_text(self._folder / LOGGERS, json.dumps(known, indent=1) + "\n")

    def resumed(self, history: list[dict[str, Any]], steps: int) -> None:
        super().resumed(history, steps)
        if self._opened is not None:
            self._opened.cut(len(history))


def _known(folder: Path) -> dict[str, str]:
    """The ids of the logs by their names; none where the folder has none."""
    if not os.path.lexists(folder / LOGGERS):
        return {}
    try:
        found = json_of(folder / LOGGERS, LARGEST)
    except UserError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UserError(f"'{folder / LOGGERS}' does not say which logs there are; restore it, or remove it.")
    return found
