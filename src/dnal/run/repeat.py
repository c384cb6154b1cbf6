"""Repeating a run: what its folder recorded, read strictly, and what differs when it is run again."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field

import dnal
from dnal.base.errors import UserError
from dnal.run.config import Config, Size, Text, read_yaml, validated
from dnal.run.files import CONFIG, LATENCY
from dnal.train.listener import Listener

Epochs = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]

MOST_THREADS = 2**10
"""More of them end torch itself."""

PLACE = ("dnal", "torch", "device", "processes")
"""What belongs to the machine and its software, not to the job."""


class Recorded(Config):
    """config.yaml of a run that `dnal learn` wrote: every key, and no other."""

    model_config = ConfigDict(extra="forbid")

    budget: Text | None
    method: Text
    init: Literal["trained", "fresh"]
    recipe: Literal["budget", "paper"]
    epochs: Annotated[list[Epochs], Field(min_length=3, max_length=3)]
    lr: Rate
    rates: Annotated[list[Rate], Field(max_length=3)]
    lambda_: Annotated[float, Field(ge=0)] | None = Field(alias="lambda")
    base_is_trained: bool
    distil: bool
    steps: Literal["joint", "alternating"]
    least: int | float
    multiple: Size
    depth: bool
    precision: Text
    memory_format: Literal["channels_last", "contiguous"]
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)]
    device: Text
    processes: Size
    input_shape: Annotated[list[Size], Field(max_length=8)]
    code: str | None = None
    variables: int
    branches: int


def recorded(run: str | Path) -> Recorded:
    """What a run wrote down before its first step. It need not be finished.

    Raises:
        UserError: no run, a key that is missing, unknown or garbled, or a bound on the latency without its model.
    """
    document = validated(Recorded, read_yaml(run), f"'{Path(run) / CONFIG}'")
    if "latency" in (document.budget or "") and not (Path(run) / LATENCY).is_file():
        raise UserError(f"the run '{run}' bounds the latency, but has no {LATENCY}; restore it or run it anew.")
    return document


class Differences(Listener):
    """Warns, before the first step, of what is not as the run recorded it: then the result may be another one.

    Args:
        run: the folder.
        everything: compare every setting; else, where some were changed on purpose and move others, only what belongs
            to the machine and its software.
    """

    def __init__(self, run: str | Path, recorded: Recorded, *, everything: bool) -> None:
        self._run, self._everything = run, everything
        self._recorded = recorded.model_dump(mode="json", by_alias=True)
        self._told = False

    def start(self, settings: dict[str, Any]) -> None:
        now = {"dnal": dnal.__version__, "torch": str(torch.__version__), **settings}
        keys = [
            key for key in (self._recorded if self._everything else PLACE) if key != "code"
        ]  # a resumed job says it
        other = [
            f"{key} {now[key]} instead of {self._recorded[key]}"
            for key in keys
            if key in now and now[key] != self._recorded[key]
        ]
        if other and not self._told:
            warnings.warn(
                f"this is not quite the run '{self._run}': {', '.join(other)}; the result may differ.", stacklevel=2
            )
        self._told = True
