"""learn: the whole job in one call, for a user's own network and data."""

from __future__ import annotations

import copy
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
from dnal.plan import Plan
from dnal.space.patterns import Patterns, patterns
from dnal.space.space import Space, macs
from dnal.train.evaluate import Metric, accuracy
from dnal.train.latency import latencies_ms
from dnal.train.listener import Listener
from dnal.train.loop import Loader
from dnal.train.weights import Loss, train_weights

IMAGES = torch.channels_last
"""The order of memory that convolutions prefer while they train."""


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
    plan = Plan.of(
        budget=budget,
        recipe=recipe,
        base_is_trained=base_is_trained,
        epochs=epochs,
        lr=lr,
        lambda_=lambda_,
        distil=recipe == "budget" and loss is None if distil is None else distil,
        steps=steps,
        seed=seed,
    )
    loss, metric, listener = loss or F.cross_entropy, metric or accuracy, listener or Listener()
    test = val if test is None else test
    fabric = _fabric(precision)
    example = _example(val, example_inputs).to(fabric.device)
    _place(network, fabric, example, IMAGES)
    space = Space.of(network, example, include=patterns(include), exclude=patterns(exclude))
    _check(space, plan, chosen_by_name=bool(include or exclude))
    torch.manual_seed(seed)
    settings = plan.settings() | {
        "precision": str(fabric._precision.precision),
        "device": fabric.device.type,
        "input_shape": list(example.shape[1:]),
        "variables": space.num_variables,
        "include": list(patterns(include)),
        "exclude": list(patterns(exclude)),
    }
    listener.start(settings)

    history: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}
    common: dict[str, Any] = {
        "loss": loss,
        "validate": lambda module: metric(module, val),
        "listener": listener,
        "history": history,
    }
    with _timed(seconds, "base"):
        train_weights(
            fabric, network, train, name="base", epochs=plan.epochs[0], lr=plan.rates[0], warmup=0.1, **common
        )
    base = copy.deepcopy(network).eval()  # the search trains on; the base is reported, and teaches
    common["teacher"] = base if plan.distil else None
    working = copy.deepcopy(network)
    with _timed(seconds, "architecture"):
        open_variables = _search(fabric, working, space, plan, train, val, common)
    architecture = Architecture.of(space, open_variables)
    small = compact(working, architecture)
    _place(small, fabric, example, IMAGES)
    with _timed(seconds, "retrain"):
        train_weights(fabric, small, train, name="retrain", epochs=plan.epochs[2], lr=plan.rates[2], **common)
    small.eval()
    for module in (network, base, small):  # handed back as torch makes them: files of tensors want them contiguous
        _place(module, fabric, example, torch.contiguous_format)
    with _timed(seconds, "measure"):
        base_row, small_row = _measured([base, small], example[:1], metric, test)
    constraints = [
        {"cost": b.cost, "bound": str(b), "asked": b.limit(space.full_cost), "got": small_row[b.cost]}
        for b in (plan.budget.bounds if plan.budget is not None else ())
    ]
    return Learned(small, architecture, space, history, base_row, small_row, constraints, settings, seconds)


def _search(
    fabric: Fabric,
    network: nn.Module,
    space: Space,
    plan: Plan,
    train: Loader,
    val: Loader,
    common: dict[str, Any],
) -> Tensor:
    """The architecture phase of the plan's recipe, in place: the variables that stay, bool, (num_variables,)."""
    limits = plan.budget.limits(space.full_cost) if plan.budget is not None else {}
    epochs = plan.epochs[1]
    if plan.recipe == "budget":
        gated = Gated(network, space, start=budget_recipe.START).to(fabric.device)
        held_out = val if plan.steps == "alternating" else None
        s = budget_recipe.search(
            fabric, gated, space, limits, train, epochs=epochs, lr=plan.rates[1], held_out=held_out, **common
        )
        return select(space, s, limits)
    gated = Gated(network, space).to(fabric.device)
    s = paper_recipe.search(fabric, gated, space, train, epochs=epochs, lambda_=plan.lambda_, **common)
    open_variables = paper_recipe.chosen(space, s, paper_recipe.delta_of_epoch(epochs, epochs))
    if fits(space.costs, limits, open_variables):
        return open_variables
    warnings.warn(
        f"lambda={plan.lambda_:g} left the network above the budget {plan.budget}; its lowest-ranked channels are "
        "dropped too. A larger lambda closes more.",
        stacklevel=3,
    )
    return select(space, s, limits)


def _measured(networks: list[nn.Module], example: Tensor, metric: Metric, test: Loader) -> list[dict[str, float]]:
    """macs, params, accuracy and latency_ms of each network, counted and measured on the network itself."""
    return [
        {
            "macs": macs(network, example),
            "params": sum(parameter.numel() for parameter in network.parameters()),
            "accuracy": metric(network, test),
            "latency_ms": latency,
        }
        for network, latency in zip(networks, latencies_ms(networks, example), strict=True)
    ]


def _check(space: Space, plan: Plan, *, chosen_by_name: bool) -> None:
    """Refuses a network with nothing to remove, and a budget out of its reach."""
    if not space.num_variables:
        remedy = "include more or exclude less; " if chosen_by_name else ""
        raise UserError(f"nothing in this network can be removed: {remedy}'dnal space' lists why each channel stays.")
    if plan.budget is not None:
        plan.budget.check(space.full_cost, least_costs(space))


def _example(val: Loader, given: Tensor | None) -> Tensor:
    """The user's example, or two inputs of ``val``: taking them from the training data would use up their first
    order."""
    inputs = next(iter(val))[0] if given is None else given
    if not isinstance(inputs, Tensor):
        raise UserError("learn needs batches of (inputs, targets) whose inputs are one tensor.")
    return inputs[:2] if given is None else inputs


def _place(network: nn.Module, fabric: Fabric, example: Tensor, order: torch.memory_format) -> None:
    """Moves the network to its device and, if it works on images, orders its weights in memory."""
    network.to(fabric.device)
    if example.dim() == 4:
        network.to(memory_format=order)


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
