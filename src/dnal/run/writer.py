"""Writing a run folder while a job works."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import dnal
from dnal.base.atomic import append_text, refusal, target_of, temporary_files, write_text
from dnal.base.errors import UserError
from dnal.base.names import possible
from dnal.run import config as settings_file
from dnal.run import shape
from dnal.run.config import read_config
from dnal.run.details import details_of, written
from dnal.run.files import (
    ARCHITECTURE,
    CONFIG,
    DETAILS,
    FILES,
    FOLDERS,
    LATENCY,
    LOG,
    MANIFEST,
    MODEL,
    RESULT,
    SHAPE,
    write_tensors,
)
from dnal.run.foreseen import check_epochs, check_space
from dnal.run.manifest import manifest_of
from dnal.train.checkpoint import Checkpoints
from dnal.train.listener import Listener

if TYPE_CHECKING:
    from dnal.latency import LatencyModel
    from dnal.learned import Learned
    from dnal.space.space import Space


class RunWriter(Listener):
    """Writes a run folder while :func:`dnal.learn` works.

    Nothing exists before ``start``, which is called when everything has been checked: bad input leaves no folder.

    Args:
        path: the folder.
        job: the fields of :class:`Config` that ``learn`` does not know (model, input, classes, data, ...).
        overwrite: replace an earlier run at this path.
        resume: go on with the unfinished run at this path, whose config.yaml stays.

    Raises:
        UserError: where :func:`check_free` refuses the path.
    """

    def __init__(
        self, path: str | Path, job: Mapping[str, Any], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        self.path = Path(path)
        self._job = dict(job)
        self._overwrite, self._resume = overwrite, resume
        self._latency: LatencyModel | None = None
        if not resume:
            check_free(self.path, overwrite=overwrite)

    def start(self, settings: dict[str, Any]) -> None:
        """Makes the folder and writes config.yaml.

        Raises:
            UserError: the folder cannot be written; nothing is left behind.
        """
        if self._resume:
            for left in temporary_files(self.path, FILES):  # of an end in the middle of writing
                left.unlink(missing_ok=True)
            return
        versions = {"dnal": dnal.__version__, "torch": str(torch.__version__)}
        document = {**versions, **self._job, **{k: v for k, v in settings.items() if k not in self._job}}
        check_epochs(settings)
        text = settings_file.written(document)
        check_free(self.path, overwrite=self._overwrite)  # again: another job may have come first
        made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # result.json leaves first: were this interrupted, what remained would not pass for a finished run.
            for name in reversed(FILES):
                (self.path / name).unlink(missing_ok=True)
            for left in temporary_files(self.path, FILES):
                left.unlink(missing_ok=True)
            for name in FOLDERS:
                shutil.rmtree(self.path / name, ignore_errors=True)
            write_text(self.path / CONFIG, text)
        except (OSError, UserError) as error:
            if made and self.path.is_dir():
                self.path.rmdir()
            reason = refusal(error) or refusal(error.__cause__ or error)
            raise UserError(
                f"the run folder '{self.path}' cannot be written ({reason}); choose another with --out."
            ) from None

    def space(self, space: Space, ranges: list[dict[str, Any]]) -> None:
        """Refuses a network of which a finished run could not be read.

        Raises:
            UserError: naming the file.
        """
        check_space(space)

    def latency(self, model: LatencyModel) -> None:
        self._latency = model
        model.save(self.path / LATENCY)

    def resumed(self, history: list[dict[str, Any]], steps: int) -> None:
        """The log as it was at the checkpoint: epochs that ended after it are run again."""
        write_text(self.path / LOG, "".join(json.dumps(record) + "\n" for record in history))

    def epoch(self, record: dict[str, Any]) -> None:
        append_text(self.path / LOG, json.dumps(record) + "\n")

    def finish(self, learned: Learned) -> None:
        """Writes architecture, compact network and result, and removes the checkpoints."""
        config = read_config(self.path)
        settings = learned.settings
        result = {
            "base": learned.base,
            "compact": learned.compact,
            "budget": settings.get("budget", ",".join(c["bound"] for c in learned.constraints)),
            "constraints": learned.constraints,
            "recipe": settings.get("recipe"),
            "method": learned.method,
            "seed": config.seed,
            "input_shape": list(config.input),
            "seconds": learned.seconds,
        }
        learned.architecture.save(self.path / ARCHITECTURE)
        write_tensors(self.path / MODEL, learned.network.state_dict())
        write_text(self.path / MANIFEST, manifest_of(self.path))
        model = shape.Model(config.model, config.classes, config.input)
        write_text(self.path / SHAPE, shape.written(shape.shape_of(learned.architecture, model), learned.blocks))
        self._explain(learned)
        write_text(self.path / RESULT, json.dumps(result, indent=1) + "\n")
        Checkpoints(self.path).clear()

    def _explain(self, learned: Learned) -> None:
        """Writes details.json, which is for looking at: a network that it cannot tell of is no less finished."""
        try:
            write_text(self.path / DETAILS, written(details_of(learned, self._latency)))
        except Exception as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            warnings.warn(
                f"'{self.path / DETAILS}' was not written ({first}); the report of this run will lack its layers and "
                "classes.",
                stacklevel=2,
            )


def check_free(path: str | Path, *, overwrite: bool = False) -> None:
    """Refuses a path where no run can be written. An empty folder is free.

    Overwriting replaces a folder that holds a run's files and nothing else.

    Raises:
        UserError: saying what stands there, or why nothing can.
    """
    path = possible(path, "path of the run")
    if path.is_symlink() and not path.exists():
        raise UserError(f"'{path}' is a link to nothing; choose another folder with --out.")
    if path.exists() and not path.is_dir():
        raise UserError(f"'{path}' is a file; choose a folder for the run with --out.")
    ancestor = path
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir():
        raise UserError(f"'{ancestor}' is a file, so '{path}' cannot be a folder in it; choose another with --out.")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise UserError(f"nothing may be written in '{ancestor}'; choose another folder for the run with --out.")
    if ancestor != path:
        return
    entries = {entry.name for entry in path.iterdir()}
    if not entries:
        return
    # A run that was killed may hold the temporary file of an unfinished write.
    foreign = sorted(name for name in entries if name not in {*FILES, *FOLDERS} and target_of(name) not in FILES)
    if CONFIG not in entries:
        raise UserError(f"the folder '{path}' exists and is no run; choose another with --out.")
    if not overwrite:
        raise UserError(f"the run '{path}' exists; choose another folder with --out, or replace it with --overwrite.")
    if foreign:
        raise UserError(
            f"the run '{path}' also holds '{foreign[0]}', which no run writes; move it away before --overwrite."
        )
