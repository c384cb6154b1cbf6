"""From the arguments of :func:`dnal.learn` to what was asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar

from dnal.base.errors import UserError
from dnal.base.options import Options, from_text, from_values
from dnal.methods import METHODS, Method
from dnal.pipeline.against import names_of
from dnal.pipeline.plan import METHOD, METHOD_OF_TRAINED, Asked
from dnal.settings import Comparison, Deployment, Numerics, Training, Widths
from dnal.space.surgery.inputs import Inputs
from dnal.techniques import TECHNIQUES
from dnal.train.evaluate import Metric
from dnal.train.optimizers import MakeOptimizer
from dnal.train.phase import Loss
from dnal.train.schedule import Schedule
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from dnal.latency import LatencyModel

T = TypeVar("T", bound=Options)
Group: TypeAlias = T | str | Mapping[str, Any] | None
"""Options of one kind: an object of it, a text "key=value,key=value", values by name, or none for the default."""


APART = ("metric", "example_inputs", "batch", "latency", "fabric", "stop")
"""Arguments that say nothing of how a job trains."""


class Further(TypedDict, total=False):
    """The arguments of :func:`learn` that every such call takes, whatever chooses."""

    techniques: Sequence[str | Technique]
    without: Sequence[str]
    loss: Loss | None
    metric: Metric | None
    epochs: int | tuple[int, int, int] | None
    lr: float | None
    optimizer: str | MakeOptimizer
    schedule: str | Schedule
    schedule_over: str
    accumulate: int
    reinitialize: bool | None
    seed: int
    base_is_trained: bool
    example_inputs: Inputs | None
    batch: Callable[[Any], Any] | None
    widths: Group[Widths]
    deployment: Group[Deployment]
    numerics: Group[Numerics]
    latency: LatencyModel | str | Path | None
    fabric: Fabric | None
    stop: Callable[[], bool] | None


class Shared(Further, total=False):
    """The arguments of :func:`learn` that :func:`trade_off` takes too."""

    method: str | Method | None


def group_of(kind: type[T], given: Group[T]) -> T:
    """Options of one kind, however they were given.

    Raises:
        UserError: an unknown option or a wrong value.
    """
    if given is None:
        return kind()
    if isinstance(given, kind):
        return given
    if isinstance(given, str):
        return from_text(kind, given, kind.__name__.lower())
    if isinstance(given, Mapping):
        return from_values(kind, given, kind.__name__.lower())
    raise UserError(f"{kind.__name__.lower()} is a {kind.__name__} or a text of options, not {given!r}.")


def asked_of(
    *,
    method: str | Method | None = None,
    techniques: Sequence[str | Technique] = (),
    without: Sequence[str] = (),
    loss: object = None,
    optimizer: str | MakeOptimizer = "sgd",
    schedule: str | Schedule = "cosine",
    base_is_trained: bool = False,
    widths: Group[Widths] = None,
    deployment: Group[Deployment] = None,
    numerics: Group[Numerics] = None,
    against: Sequence[str | Method] = (),
    **training: Any,
) -> Asked:
    """What a job was asked for; arguments as in :func:`dnal.learn`.

    Raises:
        UserError: an unknown name or option, or a wrong value.
    """
    if isinstance(techniques, str) or isinstance(without, str):
        raise UserError("techniques are a list, such as techniques=['ema'].")
    if method is None:
        method = METHOD_OF_TRAINED if base_is_trained else METHOD
    for name, value in (("optimizer", optimizer), ("schedule", schedule)):
        if isinstance(value, str):
            training[name] = value
    return Asked(
        method=METHODS.read(method),
        techniques=tuple(map(TECHNIQUES.read, techniques)),
        without=tuple(without),
        training=Training(**training),
        widths=group_of(Widths, widths),
        deployment=group_of(Deployment, deployment),
        numerics=group_of(Numerics, numerics),
        base_is_trained=base_is_trained,
        own_loss=loss is not None,
        optimizer=None if isinstance(optimizer, str) else optimizer,
        schedule=None if isinstance(schedule, str) else schedule,
        comparison=Comparison(names_of(against)),
    )


def warn_of_blocks(asked: Asked) -> None:
    """Says that a method which cannot rank blocks was asked to remove some."""
    if asked.widths.prune_blocks and not asked.method.ranks_blocks:
        warnings.warn(
            f"the method '{METHODS.name_of(asked.method)}' does not tell which blocks may go: --prune-blocks changes "
            "nothing.",
            stacklevel=3,
        )
