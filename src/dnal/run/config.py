"""config.yaml: what was asked for and everything that was decided automatically."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dnal.errors import UserError
from dnal.run.files import CONFIG

Size = Annotated[int, Field(ge=1)]


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
    """config.yaml of a run, as it stands there.

    Raises:
        UserError: no folder, no config.yaml, or one that is no YAML.
    """
    path = Path(run)
    if not path.is_dir():
        raise UserError(f"there is no run '{path}'; give the folder that `dnal learn` wrote.")
    if not (path / CONFIG).is_file():
        raise UserError(f"'{path}' is no run: it has no {CONFIG}; give the folder that `dnal learn` wrote.")
    try:
        return yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
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
        raise UserError(f"{what} is not a run's configuration: {where}: {first['msg'].lower()}.") from None
