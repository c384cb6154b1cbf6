"""learn: the whole job in one call, for a user's own network and data; trade_off: several that share their base."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.architecture import Architecture
from dnal.budget import Budget
from dnal.compaction import compact
from dnal.deployment import Deployment, kept_bounds
from dnal.errors import UserError
from dnal.gates import Gated
from dnal.methods import budget_recipe, paper_recipe
from dnal.methods.selection import fits, least_costs
from dnal.methods.widths import Widths
from dnal.plan import Plan
from dnal.pricing import full_costs, priced, ranges, selected, widths_of
from dnal.space.patterns import Patterns, patterns
from dnal.space.space import Space
from dnal.train.evaluate import Metric, accuracy
from dnal.train.listener import Chorus, Listener
from dnal.train.loop import Loader
from dnal.train.random_state import remembered
from dnal.train.weights import Loss, train_weights

if TYPE_CHECKING:
    from dnal.latency import LatencyModel

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
            no test data), latency_ms (of a batch of ``deploy_batch`` on ``backend``); memory (bytes) if it was bounded.
        constraints: per bound: cost, bound, asked and got (in the cost's unit), holds; for the latency, which is
            measured, also what was predicted, and it holds up to 5 %.
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
    least: int | float = 1,
    multiple: int | Literal["auto"] | None = None,
    depth: bool | None = None,
    deploy_batch: int = 1,
    backend: str = "auto",
    latency: LatencyModel | str | Path | None = None,
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
        budget: for example "macs<=30%", "params<=1.2M,latency<=3ms" or "memory<=2MB"; "macs<=30%" by default in the
            budget recipe. The paper's recipe knows only ``lambda_``; given a budget too, it drops the lowest-ranked
            channels until it holds.
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
        least, multiple: of the width of every group, see :class:`dnal.methods.widths.Widths`; a multiple of "auto" is
            what ``backend`` computes fastest, the default where the budget bounds the latency (with a ``latency`` model
            to reuse, what that was made for); else it is 1.
        depth: whether residual branches may go too, see :meth:`dnal.Space.of`; by default in the budget recipe.
        deploy_batch, backend: at which memory and latency are stated; "auto" is the GPU where there is one.
        latency: a latency model of this network to reuse, or its file; by default it is profiled, where the budget
            bounds the latency.

    Raises:
        UserError: for input that cannot work, before anything is trained.
        Diverged: when a loss is no number.

    Whatever is decided by timing is decided before the first step; equal settings and thread count give equal networks.
    """
    (learned,) = trade_off(
        network, train, val, test, [budget], recipe=recipe, loss=loss, metric=metric, base_is_trained=base_is_trained,
        example_inputs=example_inputs, epochs=epochs, lr=lr, lambda_=lambda_, distil=distil, steps=steps, seed=seed,
        precision=precision, include=include, exclude=exclude, least=least, multiple=multiple, depth=depth,
        deploy_batch=deploy_batch, backend=backend, latency=latency, listeners=[listener or Listener()],
    )  # fmt: skip
    return learned


def trade_off(
    network: nn.Module,
    train: Loader,
    val: Loader,
    test: Loader | None = None,
    budgets: Sequence[str | Budget | None] = (),
    *,
    recipe: Literal["budget", "paper"] = "budget",
    loss: Loss | None = None,
    metric: Metric | None = None,
    base_is_trained: bool = False,
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
    least: int | float = 1,
    multiple: int | Literal["auto"] | None = None,
    depth: bool | None = None,
    deploy_batch: int = 1,
    backend: str = "auto",
    latency: LatencyModel | str | Path | None = None,
    listeners: Sequence[Listener] = (),
) -> list[Learned]:
    """One job per budget, from one base: the first phase is trained once, and the rest goes on from it for each.

    Each result is, bit for bit, that of :func:`learn` with this budget and the same seed, as long as the loaders draw
    from the global random state or can be put back (:func:`dnal.train.random_state.remembered`).

    Args:
        budgets: what :func:`learn` takes one of.
        listeners: none, or one per budget; each hears of its own job, and of the phase that all share.

    The other arguments are those of :func:`learn`.

    Raises:
        UserError: as :func:`learn`; all budgets are checked before anything is trained.
    """
    if not budgets:
        raise UserError("a trade-off needs at least one budget.")
    plans = [
        Plan.of(
            budget=budget,
            recipe=recipe,
            base_is_trained=base_is_trained,
            epochs=epochs,
            lr=lr,
            lambda_=lambda_,
            distil=recipe == "budget" and loss is None if distil is None else distil,
            steps=steps,
            seed=seed,
            least=least,
            multiple=multiple,
            depth=depth,
            deploy_batch=deploy_batch,
            backend=backend,
        )
        for budget in budgets
    ]
    _check_distinct([plan.budget for plan in plans if plan.budget is not None])
    Widths(least, multiple if isinstance(multiple, int) else 1)
    listeners = list(listeners) or [Listener() for _ in plans]
    if len(listeners) != len(plans):
        raise UserError(f"give one listener per budget: {len(plans)}, not {len(listeners)}.")
    deployment = Deployment.of(deploy_batch, backend)
    test = val if test is None else test
    fabric = _fabric(precision)
    example = _example(val, example_inputs).to(fabric.device)
    _place(network, fabric, example, torch.contiguous_format)  # as it is handed back, so that this is what is timed
    space = Space.of(network, example, include=patterns(include), exclude=patterns(exclude), depth=plans[0].depth)
    _check_removable(space, chosen_by_name=bool(include or exclude))
    everyone = Chorus(listeners)
    space, plans, model = priced(space, plans, deployment, network, example, latency, everyone)
    everyone.space(space, ranges(space, plans, model))
    torch.manual_seed(seed)
    decided = {
        "precision": str(fabric._precision.precision),
        "memory_format": "channels_last" if example.dim() == 4 else "contiguous",
        "threads": torch.get_num_threads(),
        "device": fabric.device.type,
        "input_shape": list(example.shape[1:]),
        "variables": space.num_variables,
        "branches": space.num_branches,
        "include": list(patterns(include)),
        "exclude": list(patterns(exclude)),
    }
    for plan, listener in zip(plans, listeners, strict=True):
        listener.start(plan.settings() | decided)
    if model is not None:
        everyone.latency(model)

    _place(network, fabric, example, IMAGES)
    job = _Job(
        fabric, network, space, model, example, deployment, train, val, test, loss or F.cross_entropy,
        metric or accuracy,
    )  # fmt: skip
    history: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}
    with _timed(seconds, "base"):
        _train(job, network, "base", plans[0], 0, everyone, history, warmup=0.1)
    base = copy.deepcopy(network).eval()  # the search trains on; the base is reported, and teaches
    restore = remembered([train, val, test])
    results = []
    for number, (plan, listener) in enumerate(zip(plans, listeners, strict=True)):
        if number:
            restore()
        learned = _shrunk(job, base, plan, plan.settings() | decided, listener, list(history), dict(seconds))
        listener.finish(learned)
        results.append(learned)
    _place(network, fabric, example, torch.contiguous_format)
    return results


@dataclass(frozen=True)
class _Job:
    """What all budgets of a job share."""

    fabric: Fabric
    network: nn.Module
    space: Space
    latency: LatencyModel | None
    example: Tensor
    deployment: Deployment
    train: Loader
    val: Loader
    test: Loader
    loss: Loss
    metric: Metric

    def validate(self, network: nn.Module) -> float:
        return self.metric(network, self.val)


def _shrunk(
    job: _Job,
    base: nn.Module,
    plan: Plan,
    settings: dict[str, Any],
    listener: Listener,
    history: list[dict[str, Any]],
    seconds: dict[str, float],
) -> Learned:
    """The second and third phase for one budget, and the figures; ``history`` and ``seconds`` are those of the base."""
    teacher = base if plan.distil else None
    working = copy.deepcopy(job.network)
    with _timed(seconds, "architecture"):
        open_variables = _search(job, working, plan, teacher, listener, history)
    architecture = Architecture.of(job.space, open_variables)
    small = compact(working, architecture)
    _place(small, job.fabric, job.example, IMAGES)
    with _timed(seconds, "retrain"):
        _train(job, small, "retrain", plan, 2, listener, history, teacher=teacher)
    small.eval()
    base = copy.deepcopy(base)
    for module in (base, small):  # handed back as torch makes them: files of tensors want them contiguous
        _place(module, job.fabric, job.example, torch.contiguous_format)
    with _timed(seconds, "measure"):
        base_row, small_row = job.deployment.figures([base, small], job.example, job.space.costs)
        for row, module in ((base_row, base), (small_row, small)):
            row["accuracy"] = job.metric(module, job.test)
    constraints: list[dict[str, Any]] = []
    if plan.budget is not None:
        predicted = {} if job.latency is None else {"latency": job.latency.predicted_ms(job.space, architecture.open)}
        constraints = kept_bounds(plan.budget, base_row, small_row, predicted)
    for row in constraints:
        if not row["holds"]:
            warnings.warn(
                f"the budget {row['bound']} does not hold: {row['got']:.4g} was measured, {row['predicted']:.4g} "
                f"predicted, {row['asked']:.4g} asked. A lower bound leaves room for what was not foreseen.",
                stacklevel=4,
            )
    return Learned(small, architecture, job.space, history, base_row, small_row, constraints, settings, seconds)


def _train(
    job: _Job,
    network: nn.Module,
    name: str,
    plan: Plan,
    phase: int,
    listener: Listener,
    history: list[dict[str, Any]],
    *,
    teacher: nn.Module | None = None,
    warmup: float = 0.0,
) -> None:
    """A phase of the plan that trains weights only, in place."""
    train_weights(
        job.fabric, network, job.train, name=name, epochs=plan.epochs[phase], lr=plan.rates[phase], loss=job.loss,
        teacher=teacher, warmup=warmup, validate=job.validate, listener=listener, history=history,
    )  # fmt: skip


def _search(
    job: _Job,
    network: nn.Module,
    plan: Plan,
    teacher: nn.Module | None,
    listener: Listener,
    history: list[dict[str, Any]],
) -> Tensor:
    """The architecture phase of the plan's recipe, in place: the variables that stay, bool, (num_gates,)."""
    fabric, space, widths = job.fabric, job.space, widths_of(plan)
    limits = plan.budget.limits(full_costs(space, job.latency)) if plan.budget is not None else {}
    epochs = plan.epochs[1]
    common: dict[str, Any] = {
        "loss": job.loss, "teacher": teacher, "validate": job.validate, "listener": listener, "history": history,
    }  # fmt: skip
    if plan.recipe == "budget":
        gated = Gated(network, space, start=budget_recipe.START).to(fabric.device)
        held_out = job.val if plan.steps == "alternating" else None
        s = budget_recipe.search(
            fabric, gated, space, limits, job.train, epochs=epochs, lr=plan.rates[1], held_out=held_out,
            widths=widths, **common,
        )  # fmt: skip
        return selected(space, s, limits, widths, job.latency)
    gated = Gated(network, space).to(fabric.device)
    s = paper_recipe.search(fabric, gated, space, job.train, epochs=epochs, lambda_=plan.lambda_, **common)
    open_variables = paper_recipe.chosen(space, s, paper_recipe.delta_of_epoch(epochs, epochs))
    if not fits(space.costs, limits, open_variables):
        warnings.warn(
            f"lambda={plan.lambda_:g} left the network above the budget {plan.budget}; its lowest-ranked channels are "
            "dropped too. A larger lambda closes more.",
            stacklevel=5,
        )
        return selected(space, s, limits, widths, job.latency)
    if widths == Widths():
        return open_variables
    # The paper knows no rule for widths: of the allowed ones, those that cost no more than what it chose.
    own = max(space.cost_of(open_variables)["macs"], least_costs(space, widths)["macs"])
    return selected(space, s, {**limits, "macs": min(own, limits.get("macs", own))}, widths, job.latency)


def _check_distinct(budgets: list[Budget]) -> None:
    seen: set[frozenset[object]] = set()
    for budget in budgets:
        if frozenset(budget.bounds) in seen:
            raise UserError(f"the budget {budget} was given twice; each budget is one run.")
        seen.add(frozenset(budget.bounds))


def _check_removable(space: Space, *, chosen_by_name: bool) -> None:
    """Refuses a network with nothing to remove."""
    if not space.num_gates:
        remedy = "include more or exclude less; " if chosen_by_name else ""
        raise UserError(f"nothing in this network can be removed: {remedy}'dnal space' lists why each channel stays.")


def _example(val: Loader, given: Tensor | None) -> Tensor:
    """The user's example, or two inputs of ``val``: taking them from the training data would use up their first
    order."""
    restore = remembered([val])
    inputs = next(iter(val))[0] if given is None else given
    restore()
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
