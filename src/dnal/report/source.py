"""What a report is made of: the files of a finished run, which may be anybody's.

Nothing that the folder names is imported or run. What an older run did not write, or what is damaged, is missing from
its report, and the report says so; only config.yaml and result.json must be whole.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dnal.architecture import Architecture
from dnal.base.errors import UserError
from dnal.base.reading import REMEDY, content, ordinary
from dnal.run.config import Config, read_config, read_yaml
from dnal.run.details import Details, read_details
from dnal.run.files import ARCHITECTURE, DETAILS, LOG, RESULT
from dnal.run.loading import read_result

LARGEST = 2**26
"""Bytes of a log.jsonl or an architecture.json that are read."""

Value = Annotated[float, Field(allow_inf_nan=False)]


class Constraint(BaseModel):
    """A bound: what was asked and what the compact network has, in the cost's own unit."""

    cost: str
    bound: str
    asked: Value
    got: Value
    holds: bool
    predicted: Value | None = None


class Result(BaseModel):
    """result.json, as far as it is shown."""

    model_config = ConfigDict(extra="ignore")

    base: dict[str, float | None]
    compact: dict[str, float | None]
    budget: str | None = None
    constraints: list[Constraint] = []
    method: str = "dnal"
    seconds: dict[str, float] = {}


@dataclass(frozen=True)
class Epoch:
    """A line of log.jsonl: its numbers, and how many gates were in each equal part of [0, 1], where it tells."""

    phase: str
    epoch: int
    values: dict[str, float]
    gates: list[int] | None


@dataclass(frozen=True)
class Source:
    """A finished run.

    Attributes:
        folder: as it was given. config, settings: config.yaml, what every run has and all of it.
        log: empty where it cannot be read. architecture, details: None where they are missing.
        missing: a sentence for everything that cannot be shown.
    """

    folder: Path
    config: Config
    settings: dict[str, Any]
    result: Result
    log: list[Epoch]
    architecture: Architecture | None
    details: Details | None
    missing: list[str]

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.name or self.folder.absolute().name

    @property
    def budget(self) -> str:
        """What was asked."""
        return self.result.budget or "no budget"

    @property
    def accuracy(self) -> tuple[float | None, float | None]:
        """Of base and compact network on the test data, 0 to 1."""
        return finite(self.result.base.get("accuracy")), finite(self.result.compact.get("accuracy"))


def read_source(run: str | Path) -> Source:
    """The run in a folder.

    Raises:
        UserError: no folder, no run, an unfinished one, or one whose config.yaml or result.json is damaged.
    """
    path = Path(run)
    config, document = read_config(path), read_yaml(path)
    try:
        result = Result.model_validate(read_result(path))
    except ValidationError:
        raise UserError(f"'{path / RESULT}' is no result; {REMEDY}.") from None
    missing: list[str] = []
    log: list[Epoch] = []
    architecture: Architecture | None = None
    details: Details | None = None
    try:
        log = _log(path)
    except UserError as error:
        missing.append(f"The curves are not shown: {error}")
    try:
        ordinary(path / ARCHITECTURE, LARGEST)
        architecture = Architecture.load(path / ARCHITECTURE)
    except UserError as error:
        missing.append(f"The widths are not shown: {error}")
    try:
        details = read_details(path)
    except UserError as error:
        old = not (path / DETAILS).exists()
        why = "this run was made by an older version, which did not write them down." if old else str(error)
        missing.append(f"MACs per layer, reasons of what stays, and classes are not shown: {why}")
    settings = document if isinstance(document, dict) else {}
    return Source(path, config, settings, result, log, architecture, details, missing)


def finite(value: float | None) -> float | None:
    """A number that can be drawn, or None."""
    return None if value is None or not math.isfinite(value) else float(value)


def _log(path: Path) -> list[Epoch]:
    wrong = UserError(f"'{path / LOG}' is not as a run writes it; {REMEDY}.")
    try:
        lines = [json.loads(line) for line in content(path / LOG, LARGEST).decode().splitlines() if line]
    except (ValueError, RecursionError) as error:
        raise (error if isinstance(error, UserError) else wrong) from None
    found = []
    for line in lines:
        if not isinstance(line, dict) or not isinstance(line.get("phase"), str) or type(line.get("epoch")) is not int:
            raise wrong
        numbers = {
            name: float(value)
            for name, value in line.items()
            if type(value) in (int, float) and abs(value) < 1e300 and name != "epoch"
        }
        gates = line.get("gates")
        counts = isinstance(gates, list) and len(gates) > 1 and all(type(n) is int and 0 <= n < 2**53 for n in gates)
        found.append(Epoch(line["phase"], line["epoch"], numbers, gates if counts else None))
    return found
