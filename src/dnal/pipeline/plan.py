"""The plan of a job: what the user asked for, checked, and what follows from it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dnal.base.errors import OptionError, UserError, suggestion
from dnal.base.options import values_of
from dnal.costs.budget import Budget
from dnal.methods import METHODS, Method
from dnal.settings import DEFAULT_LR, Comparison, Deployment, Numerics, Training, Widths
from dnal.techniques import TECHNIQUES
from dnal.train.optimizers import MakeOptimizer, optimizer_of
from dnal.train.phase import WHOLE, Phase
from dnal.train.schedule import Schedule, schedule_of
from dnal.train.technique import PHASES, Technique

ARCHITECTURE_RATE = 0.3
RETRAIN_RATE = 0.5
"""Learning rates of the second and third phase, as shares of the first one's."""
WARMUP = 0.1
"""The share of a phase in which the learning rate of new weights rises."""
GENTLE = 0.6
"""Factor on both when the base is trained already; a third of it takes a point (benchmarks/rates.py)."""

METHOD, METHOD_OF_TRAINED = "dnal", "obs"
"""The methods by default: gates are learnt; where the base comes trained, curves say what its weights can do without
(benchmarks/results/trained.md)."""

BASE, SEARCH, RETRAIN = PHASES


@dataclass(frozen=True)
class Asked:
    """What a job was asked for, apart from its budgets, network and data.

    Attributes:
        techniques: beside those that the method has by default. without: names of those of the method to leave out.
        own_loss: the loss is not the default one, so that no technique of the method's is sure to fit.
        optimizer, schedule: functions of the user's, which ``training`` names only.
        comparison: what else is made of the same base, beside this.
    """

    method: Method
    techniques: tuple[Technique, ...] = ()
    without: tuple[str, ...] = ()
    training: Training = field(default_factory=Training)
    widths: Widths = field(default_factory=Widths)
    deployment: Deployment = field(default_factory=Deployment)
    numerics: Numerics = field(default_factory=Numerics)
    base_is_trained: bool = False
    own_loss: bool = False
    optimizer: MakeOptimizer | None = None
    schedule: Schedule | None = None
    comparison: Comparison = field(default_factory=Comparison)


@dataclass(frozen=True)
class Plan:
    """Everything about a job under one budget that needs neither network nor data.

    Attributes:
        asked: with what was left open filled in, except for the divisor, the backend, the precision and the order of
            memory, which may still be "auto".
        phases: base, search and retraining. Their rates are the peak learning rates of the weights.
    """

    budget: Budget | None
    asked: Asked
    phases: tuple[Phase, Phase, Phase]

    @staticmethod
    def of(budget: str | Budget | None, asked: Asked) -> Plan:
        """Fills in what was left open.

        Raises:
            UserError: for what cannot work with any network.
        """
        method, training = asked.method, asked.training
        reinitialize = method.reinitializes if training.reinitialize is None else training.reinitialize
        if budget is not None and not method.takes_budget:
            name = METHODS.name_of(method)
            raise UserError(
                f"the method '{name}' takes no budget, so {budget} cannot be kept; leave it away, and say with the "
                f"method's own options how much changes (`dnal methods {name}`)."
            )
        if budget is None and method.needs_budget:
            budget = method.default_budget
        if budget is not None and not isinstance(budget, Budget):
            budget = Budget.parse(budget)
        if budget is not None and method.grows:
            _check_counted(budget)
        widths = asked.widths
        if widths.divisor is None:
            bounded = budget is not None and "latency" in budget.costs
            widths = replace(widths, divisor="auto" if bounded else 1)
        if widths.prune_blocks is None:
            widths = replace(widths, prune_blocks=method.prunes_blocks and not widths.uniform_layers)
        rewinds = method.restarts(asked.base_is_trained)
        if training.schedule_over == "job" and (reinitialize or rewinds):
            raise OptionError(
                "schedule_over",
                "is 'phase' where what is left is retrained from new weights, which need a schedule of their own; or "
                f"give {'reinitialize=False' if reinitialize else 'reset=none'}.",
            )
        peak = DEFAULT_LR if training.lr is None else training.lr
        epochs = phases_of(training.epochs, method, asked.base_is_trained)
        techniques = techniques_of(asked)
        _check_exchanged(asked, techniques)  # first: no option helps where two things cannot act together
        _check_early(asked, techniques)
        _check_held(asked, techniques)
        optimizer = asked.optimizer or optimizer_of(training.optimizer)
        schedule = asked.schedule or schedule_of(training.schedule)
        courses = _courses(asked, peak, epochs, anew=reinitialize or rewinds)
        base, search, retrain = (
            Phase(name, count, rate, warmup, acting(techniques, _trained_as(name, method)), optimizer, schedule, part)
            for name, count, (rate, warmup, part) in zip(PHASES, epochs, courses, strict=True)
        )
        if method.grows or not method.takes_budget:
            _warn_of_unused(asked)
        filled = replace(
            asked, techniques=techniques, widths=widths,
            training=replace(training, epochs=epochs, lr=peak, reinitialize=reinitialize),
        )  # fmt: skip
        plan = Plan(budget, filled, (base, search, retrain))
        _warn_of_idle(plan)
        return plan

    def phase(self, name: str) -> Phase:
        """The phase of this name."""
        return next(phase for phase in self.phases if phase.name == name)

    def before_removal(self) -> tuple[Technique, ...]:
        """The techniques that act between the choice and the removal, where weights of before are retrained that do not
        know the removal yet."""
        asked = self.asked
        if asked.method.adapts or asked.training.reinitialize or asked.method.restarts(asked.base_is_trained):
            return ()
        return tuple(technique for technique in asked.techniques if technique.prepares_removal)

    def with_widths(self, **values: Any) -> Plan:
        """The same with other settings of the widths."""
        return replace(self, asked=replace(self.asked, widths=replace(self.asked.widths, **values)))

    def with_backend(self, backend: str) -> Plan:
        """The same on another backend."""
        deployment = replace(self.asked.deployment, backend=backend)
        return replace(self, asked=replace(self.asked, deployment=deployment))

    def settings(self) -> dict[str, Any]:
        """The plan as plain values."""
        asked = self.asked
        return {
            "budget": None if self.budget is None else str(self.budget),
            "method": METHODS.values(asked.method),
            "techniques": [TECHNIQUES.values(technique) for technique in asked.techniques],
            **values_of(asked.training),
            "rates": [phase.lr for phase in self.phases],
            **values_of(asked.widths),
            **values_of(asked.deployment),
            **values_of(asked.comparison),
            "base_is_trained": asked.base_is_trained,
        }


def _trained_as(phase: str, method: Method) -> str:
    """As which phase one is trained: choosing may be retraining."""
    return RETRAIN if phase == SEARCH and method.retrains else phase


def _courses(
    asked: Asked, peak: float, epochs: tuple[int, int, int], *, anew: bool
) -> list[tuple[float, float, tuple[float, float]]]:
    """Of each phase: the peak learning rate, the share of warm-up, and the part of the schedule that it covers;
    ``anew``: what is left is retrained as new weights are."""
    base_is_trained = asked.base_is_trained
    later = peak * (GENTLE if base_is_trained else 1.0)
    if asked.training.schedule_over == "phase":
        retrain = (peak, WARMUP) if anew else (RETRAIN_RATE * later, 0.0)
        search = retrain if asked.method.retrains else (ARCHITECTURE_RATE * later, 0.0)
        return [(*course, WHOLE) for course in ((peak, WARMUP), search, retrain)]
    total = max(1, sum(epochs))
    ends = [sum(epochs[: count + 1]) / total for count in range(3)]
    rate, warmup = (RETRAIN_RATE * later, 0.0) if base_is_trained else (peak, WARMUP * epochs[0] / total)
    return [(rate, warmup, part) for part in zip((0.0, *ends), ends, strict=False)]


def techniques_of(asked: Asked) -> tuple[Technique, ...]:
    """The techniques that act: the method's own, except for those left out, each replaced by one of its kind that was
    asked for, then the others.

    Raises:
        UserError: one is left out that the method does not have, or that is asked for besides.
    """
    own = () if asked.own_loss else asked.method.techniques
    for name in asked.without:
        if name not in own:
            has = f"it has {', '.join(own)}." if own else "it has none here."
            raise UserError(
                f"the technique '{name}' cannot be left out: the method does not have it by default; "
                f"{suggestion(name, own, has)}"
            )
    given = {TECHNIQUES.name_of(technique): technique for technique in asked.techniques}
    if len(given) < len(asked.techniques):
        raise UserError("a technique was given twice.")
    both = next((name for name in asked.without if name in given), None)
    if both is not None:
        raise UserError(f"the technique '{both}' is both asked for and left out; say one of the two.")
    kept = [name for name in own if name not in asked.without]
    first = [given.get(name) or TECHNIQUES.read(name) for name in kept]
    return (*first, *(technique for name, technique in given.items() if name not in kept))


def acting(techniques: Sequence[Technique], phase: str) -> tuple[Technique, ...]:
    """Those that act in a phase."""
    return tuple(technique for technique in techniques if phase in technique.phases)


def split_of(epochs: int | tuple[int, int, int] | None, method: Method) -> tuple[int, int, int]:
    """The epochs that a job shares out to base, search and retraining, whether its method trains in all of them or not.

    Raises:
        UserError: too few.
    """
    usual = method.epochs
    if epochs is None:
        return usual
    if not isinstance(epochs, int):
        return epochs
    if epochs < 3:
        raise OptionError("epochs", f"is 3 or more, one for each of the three phases, not {epochs}.")
    first, second = (max(1, round(epochs * share / sum(usual))) for share in usual[:2])
    return first, second, epochs - first - second


def phases_of(epochs: int | tuple[int, int, int] | None, method: Method, base_is_trained: bool) -> tuple[int, int, int]:
    """The epochs of base, search and retraining.

    Raises:
        UserError: too few.
    """
    first, second, third = split_of(epochs, method)
    if not method.trains:
        second, third = 0, third + second
    least = method.stages if method.trains else 0
    if min(first, third) < 0 or second < least:
        why = ", one for each of the rounds before the last" if least > 1 else ""
        needs = f"is 0 or more for each phase, and {max(1, least)} or more for the second{why}"
        raise OptionError("epochs", f"{needs}, not {first},{second},{third}.")
    return (0 if base_is_trained else first), second, third


def _check_counted(budget: Budget) -> None:
    """Refuses to grow a network to what is not counted of its channels.

    Raises:
        UserError: naming the cost.
    """
    for cost in budget.costs:
        if cost not in ("params", "macs"):
            raise UserError(f"a network grows to a number of params, macs or both; {budget} bounds the {cost}.")


def _check_early(asked: Asked, techniques: Sequence[Technique]) -> None:
    """Refuses to keep weights in the middle of a phase in which they are held in another way.

    Raises:
        UserError: naming the technique.
    """
    holding = [technique for technique in acting(techniques, BASE) if technique.reparametrises]
    if holding and asked.method.rewind(asked.base_is_trained):
        raise OptionError(
            "reset",
            f"is not 'early' beside the technique '{TECHNIQUES.name_of(holding[0])}', which holds the weights in "
            "another way while the base is trained; give 'init' or 'none'.",
        )


def _check_held(asked: Asked, techniques: Sequence[Technique]) -> None:
    """Refuses a method and a technique of which each holds the weights in another way.

    Raises:
        UserError: naming the technique.
    """
    method = asked.method
    holding = [each for each in acting(techniques, _trained_as(SEARCH, method)) if each.reparametrises]
    if method.reparametrises and holding:
        name = TECHNIQUES.name_of(holding[0])
        raise UserError(
            f"the method '{METHODS.name_of(method)}' and the technique '{name}' both hold the weights in another way "
            "while they train, and cannot act together; leave one of them out."
        )


def _check_exchanged(asked: Asked, techniques: Sequence[Technique]) -> None:
    """Refuses, beside a technique that exchanges layers, what looks at these layers, or at their weights by name.

    Raises:
        UserError: naming both.
    """
    for one in (each for each in techniques if each.exchanges_layers):
        name, method = TECHNIQUES.name_of(one), asked.method
        if method.retrains and RETRAIN in one.phases:
            raise UserError(
                f"the technique '{name}' exchanges layers while it trains, and the method '{METHODS.name_of(method)}' "
                "holds some of their weights at zero or adds others meanwhile: they cannot act together; leave one out."
            )
        for other in techniques:
            apart = other.reparametrises or other.exchanges_layers or other.reads_layers
            if other is not one and apart and set(one.phases) & set(other.phases):
                raise UserError(
                    f"the technique '{name}' exchanges layers while it trains, at which '{TECHNIQUES.name_of(other)}' "
                    "looks, or whose weights it holds in another way: they cannot act together; leave one out."
                )


def _warn_of_unused(asked: Asked) -> None:
    """Says which settings of the widths do nothing where no channels are chosen that stay."""
    widths = asked.widths
    why = "removes none" if asked.method.grows else "takes none"
    unused = {"min_width": widths.min_width != 1, "divisor": widths.divisor not in (None, 1)}
    for name in (name for name, given in unused.items() if given):
        warnings.warn(
            f"{name} says which widths may be left under a budget, and the method "
            f"'{METHODS.name_of(asked.method)}' {why}: it changes nothing.",
            stacklevel=4,
        )


def _warn_of_idle(plan: Plan) -> None:
    """Says which techniques do nothing in this job."""
    trained = [phase.name for phase in plan.phases if phase.epochs]
    for technique in plan.asked.techniques:
        if technique in plan.before_removal() or any(name in technique.phases for name in trained):
            continue
        name = TECHNIQUES.name_of(technique)
        if technique.prepares_removal:
            drawn = "are drawn again" if plan.asked.training.reinitialize else "have learnt without what leaves already"
            why = f"acts on the weights that are retrained, which {drawn}"
        else:
            why = f"acts in {' and '.join(technique.phases)}, where this job trains nothing"
        warnings.warn(f"the technique '{name}' {why}: it changes nothing.", stacklevel=4)
