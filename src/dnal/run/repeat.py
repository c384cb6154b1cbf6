"""Repeating a run: what its folder recorded, read strictly, and what differs when it is run again."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from dnal.base.errors import UserError
from dnal.base.options import options_of, values_of
from dnal.base.version import VERSION
from dnal.methods import METHODS
from dnal.run.config import Config, Size, Text, read_yaml, validated
from dnal.run.files import CONFIG, LATENCY
from dnal.run.trust import check_data, check_thing, check_trust
from dnal.settings import GROUPS
from dnal.techniques import TECHNIQUES
from dnal.train.listener import Listener

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Shape = Annotated[list[Size], Field(max_length=8)]

MOST_THREADS = 2**10
"""More of them end torch itself."""

PLACE = ("dnal", "torch", "device", "processes")
"""What belongs to the machine and its software, not to the job."""


class Decided(BaseModel):
    """What config.yaml holds beside the options: what follows from them, network and machine."""

    model_config = ConfigDict(extra="forbid")

    dnal: Text
    torch: Text
    data_sha256: Text | None
    kind: Text = "images"
    objective: Text = "classification"
    class_names: list[Text]
    mean: list[float]
    std: list[float]
    target_mean: list[float] = []
    target_std: list[float] = []
    budget: Text | None
    method: dict[str, Any]
    techniques: list[dict[str, Any]]
    rates: Annotated[list[Rate], Field(max_length=3)]
    base_is_trained: bool
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)]
    device: Text
    processes: Size
    input_shape: Shape | Annotated[dict[Text, Shape], Field(max_length=8)]
    code: str | None = None
    variables: int
    branches: int


@dataclass(frozen=True)
class Recorded:
    """config.yaml of a run that `dnal learn` wrote.

    Attributes:
        document: all of it. config: what every run has of it.
        options: of a job, by name. method, techniques: name and options of each.
        without: names of the techniques that the method has by default and this run has not.
    """

    document: Mapping[str, Any]
    config: Config
    options: dict[str, Any]
    method: dict[str, Any]
    techniques: list[dict[str, Any]]
    without: list[str]
    budget: str | None
    threads: int
    data_sha256: str | None


def recorded(run: str | Path, *, trust: Sequence[str] = (), given: Collection[str] = ()) -> Recorded:
    """What a run wrote down before its first step. It need not be finished, and may be anybody's: no code that it names
    is imported, unless it is trusted.

    Args:
        run: the folder.
        trust: packages whose code may be its model, data, method and techniques, as in :func:`dnal.load`.
        given: those of "model", "data", "method", "techniques" and "against" for which something else will be taken:
            they are not looked at. Another method has techniques of its own.

    Raises:
        UserError: no run, a key that is missing, unknown or garbled, a bound on the latency without its model, or code
            that is not trusted.
    """
    document, what = read_yaml(run), f"'{Path(run) / CONFIG}'"
    config = validated(Config, document, what)
    assert isinstance(document, dict)
    options, known = _options(document, what)
    decided = validated(Decided, {key: value for key, value in document.items() if key not in known}, what, known)
    if "latency" in (decided.budget or "") and not (Path(run) / LATENCY).is_file():
        raise UserError(f"the run '{run}' bounds the latency, but has no {LATENCY}; restore it or run it again.")
    if "model" not in given:
        check_trust(config.model, trust, otherwise="")
    if "data" not in given:
        check_data(config.data, trust)
    for other in options["against"] if "against" not in given else ():
        check_thing(METHODS, {"name": METHODS.name_in(other)}, trust)
    whole: dict[str, Any] = {}
    without: list[str] = []
    if "method" not in given:
        whole, without = _chosen(decided, trust, what, techniques="techniques" not in given)
        if config.aim.loss is not None:  # with another loss than the default one the method has none of its own
            without = []
    return Recorded(
        {**document, **whole}, config, options, decided.method, decided.techniques, without, decided.budget,
        decided.threads, decided.data_sha256,
    )  # fmt: skip


def _chosen(decided: Decided, trust: Sequence[str], what: str, *, techniques: bool) -> tuple[dict[str, Any], list[str]]:
    """Method and techniques with all options, also those that the version that wrote them did not have; and the names
    of the method's own techniques that are not among them. ``techniques``: whether these are of use."""
    check_thing(METHODS, decided.method, trust)
    for each in decided.techniques if techniques else ():
        check_thing(TECHNIQUES, each, trust)
    try:
        method = METHODS.read(decided.method)
        whole: dict[str, Any] = {"method": METHODS.values(method)}
        if techniques:
            whole["techniques"] = [TECHNIQUES.values(TECHNIQUES.read(each)) for each in decided.techniques]
    except UserError as error:
        raise UserError(f"{what} is not a run's configuration: {error}") from None
    names = [each.get("name") for each in whole.get("techniques", decided.techniques)]
    return whole, [name for name in method.techniques if name not in names]


def _options(document: Mapping[str, Any], what: str) -> tuple[dict[str, Any], set[str]]:
    """The options of a job in a document, checked, and their names."""
    found: dict[str, Any] = {}
    for kind in GROUPS:
        names = [one.name for one in options_of(kind)]
        for name in names:
            if name not in document:
                raise UserError(f"{what} is not a run's configuration: {name}: field required.")
        try:
            found |= values_of(kind(**{name: document[name] for name in names}))
        except UserError as error:
            raise UserError(f"{what} is not a run's configuration: {error}") from None
    return found, set(found)


class Differences(Listener):
    """Warns, before the first step, of what is not as the run recorded it: then the result may be another one.

    Args:
        run: the folder.
        everything: compare every setting; else, where some were changed on purpose and move others, only what belongs
            to the machine and its software.
    """

    def __init__(self, run: str | Path, recorded: Recorded, *, everything: bool) -> None:
        self._run, self._everything = run, everything
        self._recorded = recorded.document
        self._told = False

    def start(self, settings: dict[str, Any]) -> None:
        now = {"dnal": VERSION, "torch": str(torch.__version__), **settings}
        keys = [
            key for key in (self._recorded if self._everything else PLACE) if key != "code"
        ]  # a resumed job says it
        other = [
            f"{key} {_plain(now[key])} instead of {self._recorded[key]}"
            for key in keys
            if key in now and _plain(now[key]) != self._recorded[key]
        ]
        if other and not self._told:
            warnings.warn(
                f"this is not quite the run '{self._run}': {', '.join(other)}; the result may differ.", stacklevel=2
            )
        self._told = True


def _plain(value: Any) -> Any:
    """As YAML gives it back."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
