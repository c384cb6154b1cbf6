"""What `dnal learn` was asked to do, checked as far as it goes without network and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.base.errors import UserError
from dnal.base.names import possible
from dnal.base.options import Options, options_of
from dnal.cli.found import with_found
from dnal.cli.from_options import given
from dnal.costs.budget import Budget
from dnal.settings import GROUPS, Comparison, Deployment, Numerics, Source, Training, Widths

if TYPE_CHECKING:
    from dnal.pipeline.against import Wanted
    from dnal.pipeline.plan import Asked

Named = str | Mapping[str, Any]
"""A method or technique: a text, or its name and options as config.yaml has them."""


@dataclass(frozen=True)
class JobRequest:
    """The options of the command.

    Attributes:
        budgets: one per run; none stands for the method's default. method: None for the default one.
        techniques: beside the method's own. without: names of the method's own to leave out.
        threads: of torch; None leaves them as they are. latency: the file of a latency model to reuse.
        checkpoint_every: steps between checkpoints.
        offline: "data", "weights": what is not downloaded where it is not here, because it was not asked for.
    """

    source: Source = field(default_factory=Source)
    widths: Widths = field(default_factory=Widths)
    deployment: Deployment = field(default_factory=Deployment)
    training: Training = field(default_factory=Training)
    numerics: Numerics = field(default_factory=Numerics)
    comparison: Comparison = field(default_factory=Comparison)
    budgets: tuple[str, ...] = ()
    method: Named | None = None
    techniques: tuple[Named, ...] = ()
    without: tuple[str, ...] = ()
    threads: int | None = None
    latency: Path | None = None
    checkpoint_every: int = 200
    offline: tuple[str, ...] = ()

    @staticmethod
    def of(values: Mapping[str, Any]) -> JobRequest:
        """The job with these values, by the names of options and of the fields above; others are left aside.

        Raises:
            UserError: a wrong value, naming the option.
        """
        groups = {kind: kind(**{one.name: values[one.name] for one in options_of(kind) if one.name in values})
                  for kind in GROUPS}  # fmt: skip
        others = {name: values[name] for name in OTHERS if name in values}
        return JobRequest(**{NAMES[kind]: group for kind, group in groups.items()}, **others)  # type: ignore[arg-type]

    @property
    def bounds(self) -> list[str | None]:
        """The budget of each run."""
        return [*self.budgets] or [None]

    def check(self) -> JobRequest:
        """Refuses what cannot work with any network and any data.

        Returns:
            The same, compared only with what can be.

        Raises:
            UserError: naming the option.
        """
        from dnal.models import is_huggingface

        for budget in self.budgets:
            Budget.parse(budget)
        weights = self.source.weights
        named = weights in (None, "pretrained") or is_huggingface(str(weights))
        file = None if named else possible(str(weights), "path of the weights")
        if file is not None and not file.is_file():
            raise UserError(f"there is no weights file '{weights}'; give 'pretrained' or a .safetensors file.")
        return replace(self, comparison=self.wanted()[0].asked.comparison)

    def asked(self) -> Asked:
        """What :func:`dnal.learn` is asked for.

        Raises:
            UserError: as :meth:`wanted`.
        """
        return self.wanted(alone=True)[0].asked

    def wanted(self, *, alone: bool = False, **known: Any) -> list[Wanted]:
        """What each of its runs is asked for: one per budget, or one and those that it is compared with.

        Args:
            alone: without those, which are jobs of their own. known: further arguments of :func:`dnal.learn`.

        Raises:
            UserError: an unknown method or technique, an option that it does not have, or what cannot be compared.
        """
        from dnal.pipeline.against import Wanted, compared
        from dnal.pipeline.asked import asked_of
        from dnal.pipeline.plan import Plan

        wanted = [Wanted(budget, asked_of(**{**self.learning(), **known})) for budget in self.bounds]
        for one in wanted:
            Plan.of(one.budget, one.asked)
        if alone or not self.comparison.against:
            return wanted
        if len(wanted) > 1:
            raise UserError(
                "--against compares methods under one budget, and several --budget are a trade-off; give one."
            )
        return compared(wanted[0])

    def code(self) -> list[str]:
        """The names of the user's own code that it runs: model, data, method, techniques.

        Raises:
            UserError: as :meth:`asked`.
        """
        from dnal.methods import METHODS
        from dnal.pipeline.asked import asked_of
        from dnal.run.trust import code_in
        from dnal.techniques import TECHNIQUES

        asked = asked_of(**self.learning())
        techniques = [*asked.method.techniques, *map(TECHNIQUES.values, asked.techniques)]
        named = {"model": self.source.model, "data": self.source.data, "against": asked.comparison.against}
        return code_in({**named, "method": METHODS.values(asked.method), "techniques": techniques})

    def learning(self) -> dict[str, Any]:
        """Those options that :func:`dnal.trade_off` takes by name."""
        training = {one.name: getattr(self.training, one.name) for one in options_of(Training)}
        return {
            "method": self.method, "techniques": self.techniques, "without": self.without, **training,
            "widths": self.widths, "deployment": self.deployment, "numerics": self.numerics,
            "against": self.comparison.against, "base_is_trained": self.source.weights is not None,
        }  # fmt: skip


NAMES: dict[type[Options], str] = {
    Source: "source", Widths: "widths", Deployment: "deployment", Training: "training", Numerics: "numerics",
    Comparison: "comparison",
}  # fmt: skip
OTHERS = ("budgets", "method", "techniques", "without", "threads", "latency", "checkpoint_every", "offline")


def given_options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the parsed parameters of `dnal learn` say, by the names of options and of the fields of :class:`JobRequest`;
    what was not given is not in it.

    Raises:
        UserError: naming the option that cannot be read.
    """
    values: dict[str, Any] = {}
    for kind in GROUPS:
        values |= given(kind, parameters)
    for name, parameter in (("budgets", "budget"), ("techniques", "with_"), ("without", "without")):
        if parameters.get(parameter):
            values[name] = tuple(parameters[parameter])
    for name in ("method", "checkpoint_every"):
        if parameters.get(name) is not None:
            values[name] = parameters[name]
    return with_found(values)
