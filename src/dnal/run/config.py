"""config.yaml: what was asked for and everything that was decided automatically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dnal.base.errors import UserError, suggestion
from dnal.base.names import possible
from dnal.base.reading import plain_yaml, text_of
from dnal.run.files import CONFIG, runs_in

LARGEST = 2**18
"""Bytes of a config.yaml."""
GIVE = "give the folder that `dnal learn` wrote."

Size = Annotated[int, Field(ge=1, le=2**62)]


class Config(BaseModel):
    """config.yaml: the job, with everything that was decided automatically.

    The fields below are what a run needs to be reloaded and evaluated; what learning decided (budget, recipe, epochs
    per phase, learning rates, precision, ...) stands beside them under its own names.
    """

    model_config = ConfigDict(extra="allow")

    dnal: str
    torch: str
    model: str
    weights: str | None = None
    input: tuple[Size, Size, Size]
    classes: Size
    data: str
    data_sha256: str | None = None
    class_names: list[str] = []
    mean: list[float] = []
    std: list[float] = []
    root: str | None = None
    limit_train: Size | None = None
    batch_size: Size
    workers: Annotated[int, Field(ge=0)] = 0
    seed: int
    include: list[str] = []
    exclude: list[str] = []
    deploy_batch: Size = 1
    backend: str = "auto"


C = TypeVar("C", bound=Config)


def read_config(run: str | Path) -> Config:
    """config.yaml of a run.

    Raises:
        UserError: no folder, no config.yaml, or one that lacks or garbles a field.
    """
    return validated(Config, read_yaml(run), f"'{Path(run) / CONFIG}'")


def read_yaml(run: str | Path) -> object:
    """config.yaml of a run, as it stands there: plain values, lists and names only.

    Raises:
        UserError: no folder, no config.yaml, or one that is no such YAML.
    """
    path = possible(run, "path of the run")
    if not path.is_dir():
        known = [str(run) for run in runs_in(path.parent)]
        raise UserError(f"there is no run '{path}'; {suggestion(str(path), known, GIVE)}")
    if not os.path.lexists(path / CONFIG):
        raise UserError(f"'{path}' is no run: it has no {CONFIG}; {GIVE}")
    try:
        return plain_yaml(text_of(path / CONFIG, LARGEST))
    except UserError:
        raise
    except ValueError:
        raise UserError(f"'{path / CONFIG}' cannot be read as YAML; restore it or run `dnal learn` again.") from None


def validated(kind: type[C], document: object, what: str) -> C:
    """A configuration of this kind.

    Raises:
        UserError: naming the first key that does not fit.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        known = [field.alias or name for name, field in kind.model_fields.items()]
        hint = suggestion(where, known, "") if first["type"] == "extra_forbidden" else ""
        said = f"{first['msg'].lower()}{f'; {hint}' if hint else '.'}"
        raise UserError(f"{what} is not a run's configuration: {where}: {said}") from None
