"""The plan of a job: what the user asked for, checked, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from dnal.base.errors import UserError
from dnal.budget import Budget

RECIPES = ("budget", "paper")
INITS = ("trained", "fresh")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
STEPS = ("joint", "alternating")
DEFAULT_BUDGET = "macs<=30%"
DEFAULT_EPOCHS = (40, 4, 56)
"""Of base, search and retraining. A longer search was not measurably better, and its steps are as dear as the base's
(benchmarks/RESEARCH.md)."""
LONG_SEARCH = (40, 20, 40)
"""For whatever was published with a long search: the paper's recipe, and the methods to compare with that train."""
DEFAULT_LR, MOST_RATE = 0.1, 1e30
DEFAULT_LAMBDA = 1e-4
ARCHITECTURE_RATE = 0.3
RETRAIN_RATE = 0.5
"""Learning rates of the second and third phase, as shares of the first one's."""
WARMUP = 0.1
"""The share of a phase in which the learning rate of new weights rises."""
GENTLE = 0.1
"""Factor on both when the base is trained already: what it knows should survive."""


@dataclass(frozen=True)
class Plan:
    """Everything about a job that needs neither network nor data.

    Attributes:
        method: who chooses the architecture. init: which weights are retrained, "trained" or "fresh".
        epochs, rates: of the phases base, architecture, retrain; a rate is the peak learning rate of the weights.
        lambda_: the penalty of the paper's recipe.
        distil: whether the network before removal teaches. steps: "joint" or "alternating".
        least, multiple: the widths that a group may have (:class:`dnal.methods.widths.Widths`); a multiple of "auto"
            is not decided yet.
        depth: whether branches may go too.
        deploy_batch, backend: at which memory and latency are stated; a backend of "auto" is not decided yet.
    """

    budget: Budget | None
    method: str
    init: str
    recipe: str
    base_is_trained: bool
    epochs: tuple[int, int, int]
    rates: tuple[float, float, float]
    lambda_: float
    distil: bool
    steps: str
    seed: int
    least: int | float
    multiple: int | Literal["auto"]
    depth: bool
    deploy_batch: int
    backend: str

    @staticmethod
    def of(
        *,
        budget: str | Budget | None,
        method: str = "dnal",
        init: str | None = None,
        recipe: str,
        base_is_trained: bool,
        epochs: int | tuple[int, int, int] | None,
        lr: float | None,
        lambda_: float | None,
        distil: bool,
        steps: str,
        seed: int,
        least: int | float = 1,
        multiple: int | Literal["auto"] | None = None,
        depth: bool | None = None,
        deploy_batch: int = 1,
        backend: str = "auto",
    ) -> Plan:
        """Fills in what was left open; arguments as in :func:`dnal.learn`.

        Raises:
            UserError: for what cannot work with any network.
        """
        from dnal.methods import method_of  # torch, which the command line's help need not wait for

        chooser = method_of(method)
        init = init or ("fresh" if chooser.fresh else "trained")
        _one_of("init", init, INITS)
        _one_of("recipe", recipe, RECIPES)
        if method != "dnal" and recipe != "budget":
            raise UserError(f"recipe='{recipe}' belongs to method='dnal', not to '{method}'.")
        _one_of("steps", steps, STEPS)
        peak = DEFAULT_LR if lr is None else lr
        if not 0 < peak <= MOST_RATE:
            raise UserError(f"the learning rate must be above zero and at most {MOST_RATE:g}, not {lr}.")
        if lambda_ is not None and recipe != "paper":
            raise UserError("lambda belongs to recipe='paper'; the budget recipe finds its own multiplier.")
        penalty = DEFAULT_LAMBDA if lambda_ is None else lambda_
        if not (math.isfinite(penalty) and penalty >= 0):
            raise UserError(f"lambda must not be negative, not {lambda_}.")
        if not -(2**63) <= seed < 2**63:
            raise UserError(f"the seed is a whole number below 2^63, not {seed}.")
        if deploy_batch < 1:
            raise UserError(f"the batch at which memory and latency are stated is 1 or more, not {deploy_batch}.")
        if budget is None and recipe == "budget":
            budget = DEFAULT_BUDGET
        if budget is not None and not isinstance(budget, Budget):
            budget = Budget.parse(budget)
        if multiple is None:
            multiple = "auto" if budget is not None and "latency" in budget.costs else 1
        later = peak * (GENTLE if base_is_trained else 1.0)
        return Plan(
            budget=budget,
            method=method,
            init=init,
            recipe=recipe,
            base_is_trained=base_is_trained,
            epochs=_phases(epochs, _usual(method, recipe), base_is_trained, chooser.trains),
            rates=(peak, ARCHITECTURE_RATE * later, peak if init == "fresh" else RETRAIN_RATE * later),
            lambda_=penalty,
            distil=distil,
            steps=steps,
            seed=seed,
            least=least,
            multiple=multiple,
            depth=recipe == "budget" if depth is None else depth,
            deploy_batch=deploy_batch,
            backend=backend,
        )

    def settings(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "budget": None if self.budget is None else str(self.budget),
            "method": self.method,
            "init": self.init,
            "recipe": self.recipe,
            "epochs": list(self.epochs),
            "lr": self.rates[0],
            "rates": list(self.rates),
            "lambda": self.lambda_ if self.recipe == "paper" else None,
            "base_is_trained": self.base_is_trained,
            "distil": self.distil,
            "steps": self.steps,
            "seed": self.seed,
            "least": self.least,
            "multiple": self.multiple,
            "depth": self.depth,
            "deploy_batch": self.deploy_batch,
            "backend": self.backend,
        }


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"unknown {what} '{value}'; choose {' or '.join(known)}.")


def _usual(method: str, recipe: str) -> tuple[int, int, int]:
    return DEFAULT_EPOCHS if (method, recipe) == ("dnal", "budget") else LONG_SEARCH


def _phases(
    epochs: int | tuple[int, int, int] | None, usual: tuple[int, int, int], base_is_trained: bool, trains: bool
) -> tuple[int, int, int]:
    if epochs is None:
        first, second, third = usual
    elif isinstance(epochs, int):
        if epochs < 3:
            raise UserError(f"three phases need at least 3 epochs, not {epochs}.")
        first, second = (max(1, round(epochs * share / sum(usual))) for share in usual[:2])
        third = epochs - first - second
    else:
        if len(epochs) != 3:
            raise UserError(f"give the epochs of three phases, or one number, not {len(epochs)} numbers.")
        first, second, third = epochs
    if not trains:
        second, third = 0, third + second
    if min(first, third) < 0 or second < trains:
        raise UserError(f"epochs must not be negative and the second phase needs one, not {first},{second},{third}.")
    return (0 if base_is_trained else first), second, third
