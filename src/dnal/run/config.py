"""config.yaml: what was asked for and everything that was decided automatically."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dnal.base.errors import UserError, suggestion
from dnal.base.names import possible
from dnal.base.reading import LONGEST, REMEDY, plain_yaml, text_of
from dnal.run.files import CONFIG, runs_in
from dnal.run.limits import LARGEST, LARGEST_DEPLOYMENT, LARGEST_IMAGE, MOST_CLASSES, MOST_DEPLOYED

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's, where PyYAML brings it, is ten times as fast
GIVE = "give the folder that `dnal learn` wrote."

Size = Annotated[int, Field(ge=1, le=2**62)]
Text = Annotated[str, Field(max_length=LONGEST)]
Texts = Annotated[list[Text], Field(max_length=LONGEST)]
PerChannel = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=LONGEST)]


class Config(BaseModel):
    """config.yaml: the job, with everything that was decided automatically.

    The fields below are what a run needs to be reloaded and evaluated; what learning decided (budget, recipe, epochs
    per phase, learning rates, precision, ...) stands beside them under its own names. All are bounded: the file may be
    anybody's, and what is measured with it takes no more than such a job may ask for.
    """

    model_config = ConfigDict(extra="allow")

    dnal: Text
    torch: Text
    model: Text
    weights: Text | None = None
    input: tuple[Size, Size, Size]
    classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)]
    data: Text
    data_sha256: Text | None = None
    class_names: Annotated[list[Text], Field(max_length=MOST_CLASSES)] = []
    mean: PerChannel = []
    std: PerChannel = []
    root: Text | None = None
    limit_train: Size | None = None
    batch_size: Annotated[int, Field(ge=1, le=2**24)]
    workers: Annotated[int, Field(ge=0, le=2**10)] = 0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)]
    include: Texts = []
    exclude: Texts = []
    deploy_batch: Annotated[int, Field(ge=1, le=MOST_DEPLOYED)] = 1
    backend: Text = "auto"

    @field_validator("input")
    @classmethod
    def _image(cls, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if math.prod(shape) > LARGEST_IMAGE:
            raise ValueError(f"images of {_times(shape)} have more than {LARGEST_IMAGE:,} numbers")
        return shape

    @model_validator(mode="after")
    def _deployed(self) -> Config:
        if self.deploy_batch * math.prod(self.input) > LARGEST_DEPLOYMENT:
            raise ValueError(
                f"a deploy_batch of {self.deploy_batch} images of {_times(self.input)} has more than "
                f"{LARGEST_DEPLOYMENT:,} numbers"
            )
        return self


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
        return plain_yaml(text_of(path / CONFIG, LARGEST[CONFIG]))
    except UserError:
        raise
    except ValueError:
        raise UserError(f"'{path / CONFIG}' cannot be read as YAML; {REMEDY}.") from None


def validated(kind: type[C], document: object, what: str) -> C:
    """A configuration of this kind.

    Raises:
        UserError: naming the first key that does not fit.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{what} is not a run's configuration: {_said(error, kind)}") from None


def written(settings: Mapping[str, Any]) -> str:
    """The text of config.yaml, which :func:`read_config` can read again.

    Raises:
        UserError: a setting that no such file may hold, or too many and too long ones.
    """
    try:
        config = Config.model_validate(dict(settings))
        document = config.model_dump(mode="json")
        text = _text(document, as_it_is=True)
        if plain_yaml(text) != document:  # PyYAML's own writer leaves some ends of lines as they are
            text = _text(document, as_it_is=False)
            plain_yaml(text)
        size = len(text.encode())
    except ValidationError as error:
        raise UserError(f"a job with these settings could not be loaded again: {_said(error, Config)}") from None
    except ValueError as error:
        raise UserError(f"a job with these settings could not be loaded again: {CONFIG}: {error}.") from None
    if size > LARGEST[CONFIG]:
        raise UserError(
            f"a job with these settings could not be loaded again: {CONFIG} would have {size:,} bytes of at most "
            f"{LARGEST[CONFIG]:,}; give the classes shorter names."
        )
    return text


def _text(document: dict[str, Any], *, as_it_is: bool) -> str:
    found: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=as_it_is, width=2 * LONGEST)
    return found


def _said(error: ValidationError, kind: type[Config]) -> str:
    """The first thing that does not fit."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    known = [field.alias or name for name, field in kind.model_fields.items()]
    hint = suggestion(where, known, "") if first["type"] == "extra_forbidden" else ""
    said = first["msg"].removeprefix("Value error, ").lower()
    return f"{where}: {said}{f'; {hint}' if hint else '.'}"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
