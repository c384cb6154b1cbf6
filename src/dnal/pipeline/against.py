"""What else is made of the same base under the same budget, so that it can be told whether learning paid.

Each is a job of its own, bit for bit that of :func:`dnal.learn` with this method, these epochs and the same seed: a
comparison adds nothing to a method.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dnal.base.errors import UserError, all_names
from dnal.costs.budget import Budget
from dnal.methods import METHODS, Method
from dnal.pipeline.plan import BASE, Asked, Plan, split_of
from dnal.settings import Comparison
from dnal.techniques import TECHNIQUES
from dnal.train.technique import Technique

SCRATCH = "scratch"
"""Uniform widths, trained from new weights for as long as all phases of the others together."""


@dataclass(frozen=True)
class Wanted:
    """One result among several from one base. ``rival``: its name where it is there to compare with, so that the others
    do without it."""

    budget: str | Budget | None
    asked: Asked
    rival: str | None = None


def names_of(against: Sequence[str | Method]) -> tuple[str, ...]:
    """The names with which methods are asked for, each by itself.

    Args:
        against: methods as ``METHODS.read`` takes them, and "scratch"; a text may name several, with commas.

    Raises:
        UserError: an unknown name or option, or one twice.

    Examples:
        >>> names_of(["uniform,scratch", "tas:tau_start=4,tau_end=1"])
        ('uniform', 'scratch', 'tas:tau_start=4.0,tau_end=1.0')
    """
    if isinstance(against, str):
        against = [against]
    found: list[str] = []
    for given in against:
        for one in _apart(given) if isinstance(given, str) else [given]:
            name = SCRATCH if one == SCRATCH else METHODS.text(_read(one))
            if name in found:
                raise UserError(f"'{name}' was given twice to compare with; each is one network.")
            found.append(name)
    return tuple(found)


def folder_of(name: str) -> str:
    """What the folder of a method's run is called among others from the same base.

    Examples:
        >>> folder_of("tas:tau_start=4.0,tau_end=1.0")
        'tas_tau_start_4.0_tau_end_1.0'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.")


def compared(wanted: Wanted) -> list[Wanted]:
    """A result, and those of all methods that it is asked to be compared with.

    What takes no budget is left out, with a warning.

    Raises:
        UserError: there is nothing to compare, or one of them cannot work with any network.
    """
    asked = wanted.asked
    names = names_of(asked.comparison.against)
    plan = Plan.of(wanted.budget, asked)
    if not names:
        return [wanted]
    own = METHODS.name_of(asked.method)
    if plan.budget is None:
        none = f"the method '{own}' takes none; choose another method, or leave the comparison (against) out"
        remedy = "give one" if asked.method.takes_budget else none
        raise UserError(f"methods are compared under one budget; {remedy}.")
    kept = {name: other for name in names if (other := _rival(name, asked, plan)) is not None}
    leading = replace(asked, comparison=Comparison(tuple(kept)))
    return [replace(wanted, asked=leading), *(Wanted(wanted.budget, other, name) for name, other in kept.items())]


def _rival(name: str, asked: Asked, plan: Plan) -> Asked | None:
    """What a method is asked for that is compared with another one's plan; None where it takes no budget.

    The teacher, all techniques and the widths are those of the plan, and so is the base; what the plan trains after
    the base is as long.
    """
    method = METHODS.read("uniform" if name == SCRATCH else name)
    if name != SCRATCH and method == asked.method:
        raise UserError(f"'{name}' is the method itself; compare with other ones.")
    if not method.takes_budget:
        warnings.warn(
            f"the method '{name}' takes no budget, so that it cannot reach {plan.budget}: it is left out of the "
            "comparison.",
            stacklevel=2,
        )
        return None
    if method.grows is not asked.method.grows:
        warnings.warn(
            f"the method '{name}' {'enlarges' if method.grows else 'shrinks'} a network, so that it cannot reach "
            f"{plan.budget}: it is left out of the comparison.",
            stacklevel=2,
        )
        return None
    techniques = plan.asked.techniques
    acting = [TECHNIQUES.name_of(technique) for technique in techniques]
    base, search, retrain = split_of(asked.training.epochs, asked.method)
    training = replace(asked.training, epochs=(base, search, retrain))
    if name == SCRATCH:
        own = 0 if asked.base_is_trained else base
        if own:
            _tell_of_what_acts_in_the_base(techniques)
        training = replace(training, epochs=(base, 0, own + search + retrain), reinitialize=True)
    elif method.trains and (asked.training.epochs is None or isinstance(asked.training.epochs, int)):
        _, second, third = method.epochs
        own = max(1, round((search + retrain) * second / (second + third)))
        training = replace(training, epochs=(base, own, search + retrain - own))
    other = replace(
        asked,
        method=method,
        techniques=techniques,
        without=() if asked.own_loss else tuple(own for own in method.techniques if own not in acting),
        widths=replace(asked.widths, prune_blocks=plan.asked.widths.prune_blocks),
        training=training,
        comparison=Comparison(),
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # they come with the plan itself
            Plan.of(plan.budget, other)
    except UserError as error:
        raise UserError(f"'{name}', to compare with: {error}") from error
    return other


def _tell_of_what_acts_in_the_base(techniques: Sequence[Technique]) -> None:
    """Says what the others have that begin with the base, and what is trained from new weights has not."""
    alone = [TECHNIQUES.name_of(one) for one in techniques if set(one.phases) == {BASE}]
    if alone:
        warnings.warn(
            f"the technique '{alone[0]}' acts while the base is trained, and '{SCRATCH}' takes nothing of the base: it "
            "trains without it all the time.",
            stacklevel=2,
        )


def _apart(text: str) -> list[str]:
    """The names in a text with commas between them; a part such as "tau_end=1" belongs to the name before."""
    found: list[str] = []
    for part in text.split(","):
        if found and "=" in part and ":" not in part.partition("=")[0]:
            found[-1] += f",{part}"
        else:
            found.append(part.strip())
    return found


def _read(given: str | Method) -> Method:
    if isinstance(given, str):
        name = METHODS.name_in(given)
        if name.partition(":")[0] == SCRATCH:
            raise UserError(f"'{SCRATCH}' has no options; it is uniform widths, trained from new weights.")
        if ":" not in name and name not in METHODS.names():
            known = [SCRATCH, *METHODS.names()]
            raise UserError(f"there is no method '{name}' to compare with{all_names(name, known)}")
    return METHODS.read(given)
