"""learn: the whole job in one call, for a user's own network and data."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.architecture import Architecture
from dnal.budget import Budget
from dnal.compaction import compact
from dnal.errors import UserError
from dnal.gates import Gated
from dnal.methods import budget_recipe, paper_recipe
from dnal.methods.selection import fits, least_costs, select
from dnal.space.patterns import Patterns, patterns
from dnal.space.space import Space, macs
from dnal.train.evaluate import Metric, accuracy
from dnal.train.latency import latencies_ms
from dnal.train.listener import Listener
from dnal.train.loop import Loader
from dnal.train.weights import Loss, train_weights

RECIPES = ("budget", "paper")
STEPS = ("joint", "alternating")
DEFAULT_BUDGET = "macs<=30%"
DEFAULT_EPOCHS = (40, 20, 40)
DEFAULT_LR = 0.1
DEFAULT_LAMBDA = 1e-4
GENTLE = 0.1
"""Factor on the learning rates when the base is trained already: what it knows should survive."""


@dataclass(frozen=True)
class Learned:
    """What a job found.

    Attributes:
        network: the compact network, trained, in eval mode.
        architecture, space: what it kept, and of what.
        history: one record per epoch of all phases.
        base, compact: macs, params, accuracy (the metric on the test data, or on the validation data where there are
            no test data), latency_ms (batch of one).
        constraints: per bound: cost, bound, asked (in the cost's unit), got.
        settings: everything decided, as plain values. seconds: per phase.
        method: what chose the architecture.
    """

    network: nn.Module
    architecture: Architecture
    space: Space
    history: list[dict[str, Any]]
    base: dict[str, float]
    compact: dict[str, float]
    constraints: list[dict[str, Any]]
    settings: dict[str, Any]
    seconds: dict[str, float]
    method: str = "dnal"


def learn(
    network: nn.Module,
    train: Loader,
    val: Loader,
    test: Loader | None = None,
    budget: str | Budget | None = None,
    recipe: Literal["budget", "paper"] = "budget",
    loss: Loss | None = None,
    metric: Metric | None = None,
    base_is_trained: bool = False,
    *,
    example_inputs: Tensor | None = None,
    epochs: int | tuple[int, int, int] | None = None,
    lr: float | None = None,
    lambda_: float | None = None,
    distil: bool | None = None,
    steps: Literal["joint", "alternating"] = "joint",
    seed: int = 0,
    precision: str = "auto",
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    listener: Listener | None = None,
) -> Learned:
    """Learns a smaller architecture of ``network`` and returns it as an ordinary network.

    Three phases: the base's weights ("base"), gates and, in the budget recipe, weights ("architecture"), and, after the
    closed channels are removed, the weights of what is left ("retrain"). ``network`` itself is trained in place in the
    first phase and left whole.

    Args:
        train, val, test: batches of (inputs (N, ...), targets), with a length. Training data move weights and, with
            joint steps, gates; ``val`` is for the log, and moves the gates with alternating steps; ``test`` is used
            once, at the end.
        budget: for example "macs<=30%" or "params<=1.2M"; "macs<=30%" by default in the budget recipe. The paper's
            recipe knows only ``lambda_``; given a budget too, it drops the lowest-ranked channels until it holds.
        recipe: "budget" (``dnal.methods.budget_recipe``) or "paper" (``dnal.methods.paper_recipe``).
        loss: (outputs, targets) -> scalar; cross entropy by default.
        metric: (network, loader) -> float, higher is better; top-1 accuracy by default.
        base_is_trained: skip the first phase and train gently.
        example_inputs: a batch to trace the network with; by default the first images of ``val``.
        epochs: of the three phases, or one number shared out 40:20:40; 40, 20, 40 by default.
        lr: peak learning rate of the base phase, 0.1 by default; the others follow from it.
        lambda_: the paper recipe's penalty, 1e-4 by default.
        distil: let the network before removal teach; by default yes in the budget recipe with the default loss.
        steps: which data move the gates, see ``train``.
        seed: of torch's global random state.
        precision: of Lightning Fabric, or "auto": bf16-mixed on a GPU that has it, else 32-true.
        include, exclude: names or patterns of what may vary and what may not, see :meth:`dnal.Space.of`.

    Raises:
        UserError: for input that cannot work, before anything is trained.
        Diverged: when a loss is no number.
    """
    job = _Job.prepare(
        network, train, val, test, budget, recipe, loss, metric, base_is_trained, example_inputs, epochs, lr, lambda_,
        distil, steps, seed, precision, patterns(include), patterns(exclude), listener,
    )  # fmt: skip
    return job.run()


@dataclass
class _Job:
    """A checked job: :meth:`prepare` refuses, :meth:`run` trains."""

    network: nn.Module
    train: Loader
    val: Loader
    test: Loader
    space: Space
    example: Tensor
    budget: Budget | None
    recipe: str
    loss: Loss
    metric: Metric
    epochs: tuple[int, int, int]
    rates: tuple[float, float, float]
    lambda_: float
    distil: bool
    steps: str
    fabric: Fabric
    seed: int
    settings: dict[str, Any]
    listener: Listener

    @staticmethod
    def prepare(
        network: nn.Module, train: Loader, val: Loader, test: Loader | None, budget: str | Budget | None, recipe: str,
        loss: Loss | None, metric: Metric | None, base_is_trained: bool, example_inputs: Tensor | None,
        epochs: int | tuple[int, int, int] | None, lr: float | None, lambda_: float | None, distil: bool | None,
        steps: str, seed: int, precision: str, include: tuple[str, ...], exclude: tuple[str, ...],
        listener: Listener | None,
    ) -> _Job:  # fmt: skip
        _one_of("recipe", recipe, RECIPES)
        _one_of("steps", steps, STEPS)
        phases = _phases(epochs, base_is_trained)
        peak = DEFAULT_LR if lr is None else lr
        if not (math.isfinite(peak) and peak > 0):
            raise UserError(f"the learning rate must be above zero, not {lr}.")
        if lambda_ is not None and recipe != "paper":
            raise UserError("lambda belongs to recipe='paper'; the budget recipe finds its own multiplier.")
        penalty = DEFAULT_LAMBDA if lambda_ is None else lambda_
        if not (math.isfinite(penalty) and penalty >= 0):
            raise UserError(f"lambda must not be negative, not {lambda_}.")
        if budget is None and recipe == "budget":
            budget = DEFAULT_BUDGET
        bounds = Budget.parse(budget) if isinstance(budget, str) else budget
        if distil is None:
            distil = recipe == "budget" and loss is None
        fabric = _fabric(precision)
        if example_inputs is None:
            example_inputs = next(iter(val))[0][:2]  # taking one from train would use up its first order
        if not isinstance(example_inputs, Tensor):
            raise UserError("learn needs batches of (inputs, targets) whose inputs are one tensor.")
        network.to(fabric.device)
        if example_inputs.dim() == 4:
            network.to(memory_format=torch.channels_last)
        example = example_inputs.to(fabric.device)
        space = Space.of(network, example, include=include, exclude=exclude)
        if not space.num_variables:
            remedy = "include more or exclude less; " if include or exclude else ""
            raise UserError(
                f"nothing in this network can be removed: {remedy}'dnal space' lists why each channel stays."
            )
        if bounds is not None:
            bounds.check(space.full_cost, least_costs(space))
        gentle = GENTLE if base_is_trained else 1.0
        rates = (peak, ARCHITECTURE_RATE * gentle * peak, RETRAIN_RATE * gentle * peak)
        settings: dict[str, Any] = {
            "budget": None if bounds is None else str(bounds),
            "recipe": recipe,
            "epochs": list(phases),
            "lr": peak,
            "rates": list(rates),
            "lambda": penalty if recipe == "paper" else None,
            "base_is_trained": base_is_trained,
            "distil": distil,
            "steps": steps,
            "seed": seed,
            "precision": str(fabric._precision.precision),
            "device": fabric.device.type,
            "input_shape": list(example.shape[1:]),
            "variables": space.num_variables,
            "include": list(include),
            "exclude": list(exclude),
        }
        return _Job(
            network, train, val, test if test is not None else val, space, example, bounds, recipe,
            loss or F.cross_entropy, metric or accuracy, phases, rates, penalty, distil,
            steps, fabric, seed, settings, listener or Listener(),
        )  # fmt: skip

    def run(self) -> Learned:
        torch.manual_seed(self.seed)
        history: list[dict[str, Any]] = []
        seconds: dict[str, float] = {}
        self.listener.start(self.settings)

        def validate(module: nn.Module) -> float:
            return self.metric(module, self.val)

        common: dict[str, Any] = {
            "loss": self.loss, "validate": validate, "listener": self.listener, "history": history,
        }  # fmt: skip
        with _timed(seconds, "base"):
            train_weights(
                self.fabric, self.network, self.train,
                name="base", epochs=self.epochs[0], lr=self.rates[0], warmup=0.1, **common,
            )  # fmt: skip
        base = copy.deepcopy(self.network).eval()  # the search trains on; the base is reported, and teaches
        teacher = base if self.distil else None
        working = copy.deepcopy(self.network)
        with _timed(seconds, "architecture"):
            architecture = self._search(working, teacher, common)
        small = compact(working, architecture)
        if self.example.dim() == 4:
            small.to(memory_format=torch.channels_last)
        with _timed(seconds, "retrain"):
            train_weights(
                self.fabric, small, self.train,
                name="retrain", epochs=self.epochs[2], lr=self.rates[2], teacher=teacher, **common,
            )  # fmt: skip
        small.eval()
        with _timed(seconds, "measure"):
            base_row, small_row = self._measure(base, small)
        constraints = [
            {
                "cost": bound.cost,
                "bound": str(bound),
                "asked": bound.limit(self.space.full_cost),
                "got": small_row[bound.cost],
            }
            for bound in (self.budget.bounds if self.budget is not None else ())
        ]
        return Learned(
            small, architecture, self.space, history, base_row, small_row, constraints, self.settings, seconds
        )

    def _search(self, working: nn.Module, teacher: nn.Module | None, common: dict[str, Any]) -> Architecture:
        limits = self.budget.limits(self.space.full_cost) if self.budget is not None else {}
        epochs = self.epochs[1]
        if self.recipe == "budget":
            gated = Gated(working, self.space, start=budget_recipe.START).to(self.fabric.device)
            s = budget_recipe.search(
                self.fabric, gated, self.space, limits, self.train,
                epochs=epochs, lr=self.rates[1], teacher=teacher,
                held_out=self.val if self.steps == "alternating" else None, **common,
            )  # fmt: skip
            return Architecture.of(self.space, select(self.space, s, limits))
        gated = Gated(working, self.space).to(self.fabric.device)
        s = paper_recipe.search(
            self.fabric, gated, self.space, self.train,
            epochs=epochs, lambda_=self.lambda_, teacher=teacher, **common,
        )  # fmt: skip
        open_variables = paper_recipe.chosen(self.space, s, paper_recipe.delta_of_epoch(epochs, epochs))
        if not fits(self.space.costs, limits, open_variables):
            warnings.warn(
                f"lambda={self.lambda_:g} left the network above the budget {self.budget}; its lowest-ranked channels "
                "are dropped too. A larger lambda closes more.",
                stacklevel=4,
            )
            open_variables = select(self.space, s, limits)
        return Architecture.of(self.space, open_variables)

    def _measure(self, base: nn.Module, small: nn.Module) -> tuple[dict[str, float], dict[str, float]]:
        example = self.example[:1]
        times = latencies_ms([base, small], example)
        rows = []
        for module, latency in ((base, times[0]), (small, times[1])):
            counted = dict(zip(("macs", "params"), counted_costs(module, example), strict=True))
            rows.append({**counted, "accuracy": self.metric(module, self.test), "latency_ms": latency})
        return rows[0], rows[1]


def counted_costs(network: nn.Module, example: Tensor) -> tuple[int, int]:
    """MACs and parameters counted on the network itself, not derived from a Space."""
    return macs(network, example), sum(parameter.numel() for parameter in network.parameters())


ARCHITECTURE_RATE = 0.3
RETRAIN_RATE = 0.5
"""Learning rates of the second and third phase, as shares of the first one's."""


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"unknown {what} '{value}'; choose {' or '.join(known)}.")


def _phases(epochs: int | tuple[int, int, int] | None, base_is_trained: bool) -> tuple[int, int, int]:
    if epochs is None:
        first, second, third = DEFAULT_EPOCHS
    elif isinstance(epochs, int):
        if epochs < 3:
            raise UserError(f"three phases need at least 3 epochs, not {epochs}.")
        first = max(1, round(0.4 * epochs))
        second = max(1, round(0.2 * epochs))
        third = epochs - first - second
    else:
        if len(epochs) != 3:
            raise UserError(f"give the epochs of three phases, or one number, not {len(epochs)} numbers.")
        first, second, third = epochs
    if min(first, third) < 0 or second < 1:
        raise UserError(f"epochs must not be negative and the second phase needs one, not {first},{second},{third}.")
    return (0 if base_is_trained else first), second, third


def _fabric(precision: str) -> Fabric:
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"
    try:
        return Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]
    except ValueError:
        raise UserError(f"unknown precision '{precision}'; choose auto, 32-true, bf16-mixed or 16-mixed.") from None


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - begun, 3)
