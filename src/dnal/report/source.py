"""What a report is made of: the files of a run, which may be anybody's. One that is not finished has its log.

Nothing that the folder names is imported or run. What an older run did not write, or what is damaged, is missing from
its report, and the report says so; only config.yaml and result.json must be whole.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dnal.base.errors import UserError
from dnal.base.reading import REMEDY, content, plain_json
from dnal.changes import Change
from dnal.run.change import read_change
from dnal.run.config import Config, read_config, read_yaml
from dnal.run.details import Details, read_details
from dnal.run.files import DETAILS, LOG, RESULT
from dnal.run.limits import LARGEST, MOST_EPOCHS, MOST_NUMBERS, MOST_OBJECTS, MOST_PHASES
from dnal.run.loading import read_result
from dnal.run.trust import going_on

LONGEST_LINE = 2**14
"""Bytes of a line of log.jsonl."""

Value = Annotated[float, Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Constraint(BaseModel):
    """A bound: what was asked and what the compact network has, in the cost's own unit."""

    cost: str
    bound: str
    asked: Value
    got: Value
    holds: bool
    predicted: Value | None = None


class Tried(BaseModel):
    """Other widths for the same proportions: what to ask for, MACs, and how much faster than the base."""

    divisor: Annotated[int, Field(ge=1)] | Literal["auto"]
    macs: Annotated[Value, Field(ge=0)]
    speedup: Annotated[Value, Field(gt=0)]


class Worth(BaseModel):
    """What the MACs that were removed are worth: milliseconds of modules, before and after, widths that were
    tried, and how much faster the compact network was in turn with those."""

    layers: Annotated[dict[str, tuple[Milliseconds, Milliseconds]], Field(max_length=MOST_OBJECTS)] = {}
    tried: Annotated[list[Tried], Field(max_length=MOST_NUMBERS)] = []
    speedup: Annotated[Value, Field(gt=0)] | None = None


class Result(BaseModel):
    """result.json, as far as it is shown."""

    model_config = ConfigDict(extra="ignore")

    base: dict[str, float | None]
    compact: dict[str, float | None]
    budget: str | None = None
    constraints: list[Constraint] = []
    method: str = "dnal"
    seconds: dict[str, float] = {}
    worth: Worth | None = None


@dataclass(frozen=True)
class Epoch:
    """A line of log.jsonl: its numbers, and how many gates were in each equal part of [0, 1], where it tells."""

    phase: str
    epoch: int
    values: dict[str, float]
    gates: list[int] | None


@dataclass(frozen=True)
class Source:
    """A run.

    Attributes:
        folder: as it was given. config, settings: config.yaml, what every run has and all of it.
        result: without figures where the run is not ``finished``.
        log: empty where it cannot be read. change, details: None where they are missing.
        missing: a sentence for everything that cannot be shown.
    """

    folder: Path
    config: Config
    settings: dict[str, Any]
    result: Result
    log: list[Epoch]
    change: Change | None
    details: Details | None
    missing: list[str]
    finished: bool = True

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.name or self.folder.absolute().name

    @property
    def budget(self) -> str:
        """What was asked."""
        return self.result.budget or "no budget"

    @property
    def word(self) -> str:
        """What its network is called beside the base."""
        return "compact" if self.change is None else self.change.word

    @property
    def metric(self) -> tuple[float | None, float | None]:
        """Of base and compact network on the test data, as the objective of the run has it."""
        figure = self.config.aim.figure
        return finite(self.result.base.get(figure)), finite(self.result.compact.get(figure))


def read_source(run: str | Path) -> Source:
    """The run in a folder.

    Raises:
        UserError: no folder, no run, or one whose config.yaml or result.json is damaged.
    """
    path = Path(run)
    config, document = read_config(path), read_yaml(path)
    settings = document if isinstance(document, dict) else {}
    if not os.path.lexists(path / RESULT):
        return _unfinished(path, config, settings)
    try:
        result = Result.model_validate(read_result(path))
    except ValidationError:
        raise UserError(f"'{path / RESULT}' is no result; {REMEDY}.") from None
    missing: list[str] = []
    log: list[Epoch] = []
    change: Change | None = None
    details: Details | None = None
    try:
        log = _log(path)
    except UserError as error:
        missing.append(f"The curves are not shown: {error}")
    try:
        change = read_change(path)
    except UserError as error:
        missing.append(f"The widths are not shown: {error}")
    try:
        details = read_details(path)
    except UserError as error:
        old = not (path / DETAILS).exists()
        why = "this run was made by an older version, which did not write them down." if old else str(error)
        missing.append(f"MACs per layer, reasons of what stays, and classes are not shown: {why}")
    return Source(path, config, settings, result, log, change, details, missing)


def _unfinished(path: Path, config: Config, settings: dict[str, Any]) -> Source:
    """A run that is under way, or was stopped or killed: what its log says, and no figures."""
    missing: list[str] = []
    log: list[Epoch] = []
    try:
        log = _log(path, torn=True) if os.path.lexists(path / LOG) else []
    except UserError as error:
        missing.append(f"The curves are not shown: {error}")
    epochs = settings.get("epochs")
    planned = sum(epochs) if isinstance(epochs, list) and all(type(number) is int for number in epochs) else None
    reached = f"{len(log)}{'' if planned is None else f' of {planned}'} epochs are done"
    phase = f", the last one of phase {log[-1].phase}" if log else ""
    missing.insert(
        0, f"This run is not finished: {reached}{phase}. It has no figures yet; `{going_on(path)}` goes on with it."
    )
    method = settings.get("method")
    names = {"budget": settings.get("budget"), "method": method.get("name") if isinstance(method, dict) else None}
    said = {key: name for key, name in names.items() if isinstance(name, str)}
    result = Result.model_validate({"base": {}, "compact": {}, **said})
    return Source(path, config, settings, result, log, None, None, missing, finished=False)


def finite(value: float | None) -> float | None:
    """A number that can be drawn, or None."""
    return None if value is None or not math.isfinite(value) else float(value)


def _log(path: Path, *, torn: bool = False) -> list[Epoch]:
    """The epochs of log.jsonl; ``torn``: a line at its end that was not written to its end counts for nothing."""
    wrong = UserError(f"'{path / LOG}' is not as a run writes it; {REMEDY}.")
    try:
        text = content(path / LOG, LARGEST[LOG]).decode(errors="ignore" if torn else "strict")
        lines = (text[: text.rfind("\n") + 1] if torn else text).splitlines()
        if len(lines) > MOST_EPOCHS:
            raise UserError(f"'{path / LOG}' tells of {len(lines):,} epochs, and {MOST_EPOCHS:,} can be drawn.")
        found = [_epoch(plain_json(line, finite=False)) for line in lines if len(line) <= LONGEST_LINE]
    except ValueError as error:
        raise (error if isinstance(error, UserError) else wrong) from None
    if len(found) < len(lines) or None in found:
        raise wrong
    epochs = [epoch for epoch in found if epoch is not None]
    if len({epoch.phase for epoch in epochs}) > MOST_PHASES:
        raise UserError(f"'{path / LOG}' tells of more than {MOST_PHASES} phases, which no run has; {REMEDY}.")
    return epochs


def _epoch(line: Any) -> Epoch | None:
    """What a line tells; None if it is not as a run writes it."""
    if not isinstance(line, dict) or not isinstance(line.get("phase"), str) or type(line.get("epoch")) is not int:
        return None
    if len(line) > MOST_NUMBERS:
        return None
    numbers = {
        name: float(value)
        for name, value in line.items()
        if type(value) in (int, float) and abs(value) < 1e300 and name != "epoch"
    }
    return Epoch(line["phase"], line["epoch"], numbers, _counts(line.get("gates")))


def _counts(gates: Any) -> list[int] | None:
    """How many gates were in each part, where the log has it."""
    if not isinstance(gates, list) or not 1 < len(gates) <= MOST_NUMBERS:
        return None
    return gates if all(type(n) is int and 0 <= n < 2**53 for n in gates) else None
