"""config.yaml: what was asked for and everything that was decided automatically."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dnal.base.errors import UserError, all_names, suggestion
from dnal.base.names import possible
from dnal.base.reading import LONGEST, REMEDY, plain_yaml, text_of
from dnal.data.kind import MOST_SIZES, Kind
from dnal.data.kinds import KINDS
from dnal.data.objective import OBJECTIVES, Objective
from dnal.run.files import CONFIG, SEARCH, runs_in
from dnal.run.limits import LARGEST, LARGEST_DEPLOYMENT, MOST_CLASSES, MOST_DEPLOYED
from dnal.run.older import config_of

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's, where PyYAML brings it, is ten times as fast
GIVE = "give the folder that `dnal learn` wrote."
NAMED = 4
"""How many runs of a folder a sentence names."""

Size = Annotated[int, Field(ge=1, le=2**62)]
Text = Annotated[str, Field(max_length=LONGEST)]
Texts = Annotated[list[Text], Field(max_length=LONGEST)]
PerChannel = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=LONGEST)]


class Config(BaseModel):
    """config.yaml: the job, with everything that was decided automatically.

    The fields below are what a run needs to be reloaded and evaluated; what learning decided (budget, method, epochs
    per phase, learning rates, precision, ...) stands beside them under its own names. All are bounded: the file may be
    anybody's, and what is measured with it takes no more than such a job may ask for.
    """

    model_config = ConfigDict(extra="allow")

    dnal: Text
    torch: Text
    model: Text
    weights: Text | None = None
    kind: Text = "images"
    objective: Text = "classification"
    input: Annotated[tuple[Size, ...], Field(min_length=1, max_length=MOST_SIZES)]
    classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)]
    data: Text
    data_sha256: Text | None = None
    class_names: Annotated[list[Text], Field(max_length=MOST_CLASSES)] = []
    mean: PerChannel = []
    std: PerChannel = []
    target_mean: PerChannel = []
    target_std: PerChannel = []
    root: Text | None = None
    limit_train: Size | None = None
    batch_size: Annotated[int, Field(ge=1, le=2**24)]
    workers: Annotated[int, Field(ge=0, le=2**10)] = 0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)]
    include: Texts = []
    exclude: Texts = []
    deploy_batch_size: Annotated[int, Field(ge=1, le=MOST_DEPLOYED)] = 1
    backend: Text = "auto"

    @field_validator("kind")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in KINDS:
            raise ValueError(f"there is no kind of data '{name[:40]}'{all_names(name[:40], list(KINDS))}")
        return name

    @field_validator("objective")
    @classmethod
    def _aimed(cls, name: str) -> str:
        if name not in OBJECTIVES:
            raise ValueError(f"there is no objective '{name[:40]}'{all_names(name[:40], list(OBJECTIVES))}")
        return name

    @model_validator(mode="after")
    def _bounded(self) -> Config:
        kind, size = self.of_kind, "x".join(map(str, self.input))
        fits = len(self.input) == len(kind.sizes)
        numbers = kind.numbers(self.input) if fits else 0
        if numbers > kind.largest:
            raise ValueError(f"{kind.several} of {size} have more than {kind.largest:,} numbers")
        kind.check(self.input)
        if self.deploy_batch_size * numbers > LARGEST_DEPLOYMENT:
            raise ValueError(
                f"a deploy_batch_size of {self.deploy_batch_size} {kind.several} of {size} has more than "
                f"{LARGEST_DEPLOYMENT:,} numbers"
            )
        return self

    @property
    def of_kind(self) -> Kind:
        """The kind of its data."""
        return KINDS[self.kind]

    @property
    def aim(self) -> Objective:
        """What is learnt from them."""
        return OBJECTIVES[self.objective]


C = TypeVar("C", bound=BaseModel)


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
        if os.path.lexists(path / SEARCH):
            raise UserError(f"the search in '{path}' is not finished; the same `dnal search` goes on with it.")
        held = sorted(map(str, runs_in(path)))
        if held:
            some = ", ".join(f"'{run}'" for run in held[:NAMED]) + (
                f" and {len(held) - NAMED} more" if len(held) > NAMED else ""
            )
            raise UserError(f"'{path}' is no run, and holds the runs of several results; give one of them: {some}.")
        raise UserError(f"'{path}' is no run: it has no {CONFIG}; {GIVE}")
    try:
        return config_of(plain_yaml(text_of(path / CONFIG, LARGEST[CONFIG])))
    except UserError:
        raise
    except ValueError:
        raise UserError(f"'{path / CONFIG}' cannot be read as YAML; {REMEDY}.") from None


def validated(kind: type[C], document: object, what: str, others: Collection[str] = ()) -> C:
    """A configuration of this kind; ``others``: names of further keys, for the nearest to a wrong one.

    Raises:
        UserError: naming the first key that does not fit.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{what} is not a run's configuration: {_said(error, kind, others)}") from None


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


def _said(error: ValidationError, kind: type[BaseModel], others: Collection[str] = ()) -> str:
    """The first thing that does not fit."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    known = [*(field.alias or name for name, field in kind.model_fields.items()), *others]
    hint = suggestion(where, known, "") if first["type"] == "extra_forbidden" else ""
    said = first["msg"].removeprefix("Value error, ").lower()
    return f"{where}: {said}{f'; {hint}' if hint else '.'}"
