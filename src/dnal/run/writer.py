"""Writing a run folder while a job works.

A folder becomes a run with its config.yaml, which is written when all that a start needs is there, and leaves first
where a run is replaced. So a start that was killed has left a folder without one, and the same command begins again.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from dnal.base.atomic import append_text, refusal, target_of, temporary_files, write_text
from dnal.base.claim import check_nobody_works, check_still_held, held
from dnal.base.errors import UserError
from dnal.base.names import possible
from dnal.base.version import VERSION
from dnal.loggers.names import LOGGERS, unopened
from dnal.run import config as settings_file
from dnal.run import shape
from dnal.run.change import write_change
from dnal.run.config import read_config
from dnal.run.details import details_of, written
from dnal.run.files import (
    BASE,
    CONFIG,
    DETAILS,
    FILES,
    FOLDERS,
    LATENCY,
    LOCK,
    LOG,
    MANIFEST,
    MODEL,
    REPORT,
    RESULT,
    SHAPE,
    write_tensors,
)
from dnal.run.foreseen import check_epochs, check_space
from dnal.run.manifest import manifest_of
from dnal.run.trust import going_on
from dnal.train.listener import Listener
from dnal.train.resume.checkpoint import BEFORE, LAST

if TYPE_CHECKING:
    from dnal.latency import LatencyModel
    from dnal.pipeline.result import Learned
    from dnal.run.trade_off import TradeOff
    from dnal.space.space import Space


class RunWriter(Listener):
    """Writes a run folder while :func:`dnal.learn` works, and holds it against other processes.

    Nothing exists before ``start``, which is called when everything has been checked: bad input leaves no folder. A
    context manager, for jobs that end early: it lets go of the folder, and a start that failed leaves nothing behind.

    Args:
        path: the folder.
        job: the fields of :class:`Config` that ``learn`` does not know (model, input, classes, data, ...).
        overwrite: replace an earlier run at this path.
        resume: go on with the unfinished run at this path, whose config.yaml stays.
        log_to: names of the loggers that the job will have, so that a job that goes on knows them.
        together: the other runs of a trade-off, which begin with this one or not at all.

    Attributes:
        begun: the folder is a run.

    Raises:
        UserError: where :func:`check_free` refuses the path.
    """

    def __init__(
        self,
        path: str | Path,
        job: Mapping[str, Any],
        *,
        overwrite: bool = False,
        resume: bool = False,
        log_to: Sequence[str] = (),
        together: TradeOff | None = None,
    ) -> None:
        self.path = Path(path)
        self.begun = False
        self._job = dict(job)
        self._overwrite, self._resume = overwrite, resume
        self._log_to, self._together = list(log_to), together
        self._latency: LatencyModel | None = None
        self._made = self._prepared = False
        self._claim = ExitStack()
        if not resume:
            check_free(self.path, overwrite=overwrite)

    def latency(self, model: LatencyModel) -> None:
        self._latency = model

    def start(self, settings: dict[str, Any]) -> None:
        """Makes the folder, and config.yaml as its last file.

        Raises:
            UserError: the folder cannot be written, or another process works in it; nothing is left behind.
        """
        if self._resume:
            self._claim.enter_context(held(self.path))
            self.begun = True
            _remove(temporary_files(self.path, FILES))  # of an end in the middle of writing
            return
        versions = {"dnal": VERSION, "torch": str(torch.__version__)}
        document = {**versions, **self._job, **{k: v for k, v in settings.items() if k not in self._job}}
        check_epochs(settings)
        self.config = settings_file.written(document)
        try:
            self._prepare()
            if self._together is None:
                self.begin()
            else:
                self._together.add(self)
        except BaseException as error:
            self.close()
            reason = refusal(error) or refusal(error.__cause__ or error)
            if reason is None:
                raise
            raise UserError(
                f"the run folder '{self.path}' cannot be written ({reason}); choose another with --out."
            ) from None

    def space(self, space: Space, ranges: list[dict[str, Any]]) -> None:
        """Refuses a network of which a finished run could not be read.

        Raises:
            UserError: naming the file.
        """
        check_space(space)

    def begin(self) -> None:
        """Makes a run of the folder that ``start`` prepared."""
        write_text(self.path / CONFIG, self.config)
        self.begun = True

    def resumed(self, history: list[dict[str, Any]], steps: int) -> None:
        """The log as it was at the checkpoint: epochs that ended after it are run again."""
        check_still_held(self.path)
        write_text(self.path / LOG, "".join(json.dumps(record) + "\n" for record in history))

    def epoch(self, record: dict[str, Any]) -> None:
        check_still_held(self.path)
        append_text(self.path / LOG, json.dumps(record) + "\n")

    def base(self, network: nn.Module) -> None:
        """Writes the base, with which the compact network is compared later."""
        check_still_held(self.path)
        write_tensors(self.path / BASE, network.state_dict())

    def finish(self, learned: Learned) -> None:
        """Writes change, compact network and result, removes the checkpoints, and lets go of the folder.

        Raises:
            UserError: the folder cannot be written; then the run is not finished.
        """
        check_still_held(self.path)
        config = read_config(self.path)
        settings = learned.settings
        result = {
            **learned.figures.rows(),
            "budget": settings.get("budget", ",".join(c["bound"] for c in learned.constraints)),
            "constraints": learned.constraints,
            "method": learned.method,
            "remarks": learned.change.remarks(),
            "seed": config.seed,
            "input_shape": list(config.input),
            "seconds": learned.seconds,
            **({} if learned.worth is None else {"worth": learned.worth}),
        }
        write_change(self.path, learned.change)
        write_tensors(self.path / MODEL, learned.network.state_dict())
        write_text(self.path / MANIFEST, manifest_of(self.path))
        model = shape.Model(config.model, config.classes, config.input, config.kind)
        if learned.change.architecture is not None:
            left = shape.shape_of(learned.change.architecture, model)
            write_text(self.path / SHAPE, shape.written(left, learned.blocks))
        details = self._details(learned)
        if details is not None:
            write_text(self.path / DETAILS, details)
        _remove([self.path / REPORT])  # one that was made meanwhile is of an unfinished run
        write_text(self.path / RESULT, json.dumps(result, indent=1) + "\n")
        tidy(self.path)
        self.close()

    def close(self) -> None:
        """Lets go of the folder; where nothing was begun, nothing of it stays."""
        if self._prepared and not self.begun:
            with suppress(UserError):
                clear(self.path)
        self._claim.close()
        if self._made and not self.begun:
            with suppress(OSError):
                self.path.rmdir()
        self._prepared = self._made = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        """The folder, ours and empty except for what belongs to a start; config.yaml makes a run of it."""
        check_free(self.path, overwrite=self._overwrite)  # again: another job may have come first
        self._made = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        self._claim.enter_context(held(self.path))
        check_free(self.path, overwrite=self._overwrite)  # no other process comes between any more
        self._prepared = True
        if self._together is not None:
            self._together.prepare()
        clear(self.path)
        if self._latency is not None:
            self._latency.save(self.path / LATENCY)
        if self._log_to:
            write_text(self.path / LOGGERS, unopened(self._log_to))

    def _details(self, learned: Learned) -> str | None:
        """details.json, which is for looking at: a network that it cannot tell of is no less finished."""
        try:
            return written(details_of(learned, self._latency))
        except Exception as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            warnings.warn(
                f"'{self.path / DETAILS}' was not written ({first}); the report of this run will lack its layers and "
                "classes.",
                stacklevel=3,
            )
            return None


def clear(path: Path) -> None:
    """Removes a run from its folder, or what a start left there.

    Raises:
        UserError: something of it cannot be removed.
    """
    # Without its config.yaml it is no run: were this interrupted, what remains would not be taken for one.
    _remove(path / name for name in FILES if name != LOCK)
    _remove(temporary_files(path, FILES))
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)


def leftovers(path: Path) -> list[Path]:
    """What a finished run does not need and a kill left in its folder: checkpoints, and files that were being
    written."""
    return [found for found in (path / LAST, path / BEFORE) if found.exists()] + list(temporary_files(path, FILES))


def tidy(path: Path) -> None:
    """Removes the :func:`leftovers` of a finished run; what cannot be removed is warned of."""
    try:
        _remove(leftovers(path))
    except UserError as error:
        warnings.warn(f"{error} The run is finished all the same.", stacklevel=3)


def vacant(path: Path) -> bool:
    """Whether a run can begin in a folder: it is empty, or a start that was killed left it before it was a run."""
    try:
        entries = {entry.name for entry in path.iterdir()}
        check_nobody_works(path)
    except (OSError, UserError):
        return False
    # Any file of a run that is alone may be somebody's own; not so beside the lock, which a start makes first.
    started = LOCK in entries or all(target_of(name) for name in entries)
    return started and CONFIG not in entries and not _foreign(entries)


def check_free(path: str | Path, *, overwrite: bool = False) -> None:
    """Refuses a path where no run can be written. An empty folder is free, and so is one that a killed start left.

    Overwriting replaces a folder that holds a run's files and nothing else.

    Raises:
        UserError: saying what stands there, or why nothing can.
    """
    path = possible(path, "path of the run")
    try:
        _check_free(path, overwrite=overwrite)
    except OSError as error:
        raise UserError(
            f"'{path}' cannot be a folder for the run ({refusal(error)}); choose another with --out."
        ) from None


def _check_free(path: Path, *, overwrite: bool) -> None:
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
    check_nobody_works(path)
    if vacant(path):
        return
    entries = {entry.name for entry in path.iterdir()}
    if CONFIG not in entries:
        raise UserError(f"the folder '{path}' exists and is no run; choose another with --out.")
    if not overwrite:
        unfinished = "" if RESULT in entries else f" unfinished: `{going_on(path)}` goes on with it"
        raise UserError(
            f"the run '{path}' exists{unfinished}; choose another folder with --out, or replace it with --overwrite."
        )
    foreign = _foreign(entries)
    if foreign:
        raise UserError(
            f"the run '{path}' also holds '{foreign[0]}', which no run writes; move it away before --overwrite."
        )


def _foreign(entries: set[str]) -> list[str]:
    """Names in a folder that no run writes. One that was killed may hold the temporary file of an unfinished write."""
    return sorted(name for name in entries if name not in {*FILES, *FOLDERS} and target_of(name) not in FILES)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"'{path}' cannot be removed ({refusal(error)}); see to that, and try again.") from error
