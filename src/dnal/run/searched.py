"""The folder of a search, read: what was asked for, and the networks that were trained. It may be anybody's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dnal.base.atomic import write_text
from dnal.base.errors import UserError
from dnal.base.reading import LONGEST, content, json_of
from dnal.run.files import CANDIDATES, MEASURED, SEARCH

LARGEST_ASKED = 2**20
"""Bytes of search.json."""
LARGEST_LINES = 2**26
"""Bytes of the files of lines."""
MOST_COSTS = 16
MOST_EPOCHS = 10_000
REMEDY = "remove it, and `dnal search` trains what is missing again"

T = TypeVar("T", bound=BaseModel)
Number = Annotated[float, Field(allow_inf_nan=False)]
Model = Annotated[str, Field(max_length=LONGEST)]
Costs = Annotated[dict[str, Number], Field(max_length=MOST_COSTS)]


class Line(BaseModel):
    """A network that was trained: its name, the round in which it was asked for, its costs, and its fitness, None
    where it could not be trained, with ``why``; with a predictor, the fitness that was ``predicted``. With a
    pruner: the ``curve`` of its fitness after each epoch, and whether it was ``stopped`` early, after the last of
    them."""

    model_config = ConfigDict(extra="forbid")

    model: Model
    round: Annotated[int, Field(ge=1)]
    costs: Costs
    fitness: Number | None
    why: Annotated[str, Field(max_length=LONGEST)] = ""
    predicted: Number | None = None
    curve: Annotated[tuple[Number, ...], Field(max_length=MOST_EPOCHS)] = ()
    stopped: bool = False


class Measured(BaseModel):
    """What was measured of a network by a clock, so that a search that goes on decides as before."""

    model_config = ConfigDict(extra="forbid")

    model: Model
    costs: Costs


class Asked(BaseModel):
    """search.json, as far as it is shown."""

    model_config = ConfigDict(extra="ignore")

    space: dict[str, Any]
    sampler: dict[str, Any]
    budget: Annotated[str, Field(max_length=LONGEST)]
    options: dict[str, Any]


def is_search(folder: Path) -> bool:
    """Whether this is the folder of a search."""
    return os.path.lexists(folder / SEARCH)


def read_asked(folder: Path) -> Asked:
    """What a search was asked for.

    Raises:
        UserError: no such file, or a damaged one.
    """
    try:
        return Asked.model_validate(json_of(folder / SEARCH, LARGEST_ASKED, remedy="choose another folder"))
    except ValidationError:
        raise UserError(f"'{folder / SEARCH}' is not as a search writes it; choose another folder.") from None


def read_lines(folder: Path) -> list[Line]:
    """The networks that were trained; a last line that was not written to its end counts for nothing.

    Raises:
        UserError: the file is damaged.
    """
    return _lines(folder / CANDIDATES, Line)


def read_measured(folder: Path) -> dict[str, dict[str, float]]:
    """What was measured, by name.

    Raises:
        UserError: the file is damaged.
    """
    return {line.model: line.costs for line in _lines(folder / MEASURED, Measured)}


def cut(folder: Path) -> None:
    """Removes last lines that were not written to their ends: what is added next begins a line."""
    for name in (CANDIDATES, MEASURED):
        path = folder / name
        if os.path.lexists(path):
            text = content(path, LARGEST_LINES, remedy=REMEDY).decode(errors="replace")
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                write_text(path, whole)


def _lines(path: Path, kind: type[T]) -> list[T]:
    if not os.path.lexists(path):
        return []
    text = content(path, LARGEST_LINES, remedy=REMEDY).decode(errors="replace")
    try:
        return [kind.model_validate_json(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    except ValidationError:
        raise UserError(f"'{path}' is not as a search writes it; {REMEDY}.") from None
