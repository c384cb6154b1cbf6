"""learn: the whole job in one call, for a user's own network and data; trade_off: several that share their base."""

from __future__ import annotations

import copy
import itertools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from dnal.methods import method_of
from dnal.methods.task import Task
from dnal.methods.widths import Widths
from dnal.plan import Plan
from dnal.pricing import full_costs, priced, ranges, selected, widths_of
from dnal.space.patterns import Patterns, patterns
from dnal.space.space import Space
from dnal.supernet.text import blocks
from dnal.train.checkpoint import Checkpoints
from dnal.train.evaluate import Metric, accuracy, accuracy_and_confusion
from dnal.train.fastest import ORDERS, fastest_arrangement
from dnal.train.fresh import reset
from dnal.train.keeper import Keeper
from dnal.train.listener import Chorus, Listener
from dnal.train.place import Loader, Place, first_batch
from dnal.train.processes import shared_out
from dnal.train.weights import Loss, train_weights

if TYPE_CHECKING:
    from dnal.latency import LatencyModel

WARMUP = 0.1
"""The share of a phase in which the learning rate of new weights rises."""
LONG = 1e9
"""MACs of a batch from which the precision is worth timing: some hundredths of a second."""
PLACE = ("threads", "device", "precision", "memory_format", "processes")
"""Settings that belong to the machine: a job may go on with others, though not to the same last digit."""


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
        settings: everything decided, as plain values. seconds: per phase, that of its epochs, and of measuring.
        method: what chose the architecture.
        confusion: of "base" and "compact": how often each class (row) of the test data was taken for each (column),
            int64 (classes, classes); none where the metric is another one than accuracy, or there are very many.
        blocks: of a supernet: a line per mixed edge, what is left of it.
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
    confusion: dict[str, Tensor] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)


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
    method: str = "dnal",
    init: Literal["trained", "fresh"] | None = None,
    example_inputs: Tensor | None = None,
    epochs: int | tuple[int, int, int] | None = None,
    lr: float | None = None,
    lambda_: float | None = None,
    distil: bool | None = None,
    steps: Literal["joint", "alternating"] = "joint",
    seed: int = 0,
    precision: str = "auto",
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto",
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    least: int | float = 1,
    multiple: int | Literal["auto"] | None = None,
    depth: bool | None = None,
    deploy_batch: int = 1,
    backend: str = "auto",
    latency: LatencyModel | str | Path | None = None,
    fabric: Fabric | None = None,
    checkpoints: Checkpoints | str | Path | None = None,
    stop: Callable[[], bool] | None = None,
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
        method: who chooses: "dnal", or a name of :func:`dnal.methods.methods`. One that does not train leaves the
            epochs of the second phase to the third, so that all see equally many images.
        init: what is retrained: the "trained" weights that are left, or "fresh" ones, the control of what the weights
            were worth; by default what the method is made for: trained, but for "tas".
        example_inputs: a batch to trace the network with; by default the first images of ``val``.
        epochs: of the three phases, or one number shared out 40:20:40; 40, 20, 40 by default.
        lr: peak learning rate of the base phase, 0.1 by default; the others follow from it.
        lambda_: the paper recipe's penalty, 1e-4 by default.
        distil: let the network before removal teach; by default yes in the budget recipe with the default loss.
        steps: which data move the gates, see ``train``.
        seed: of torch's global random state.
        precision: of Lightning Fabric, such as 32-true or bf16-mixed; a ``fabric`` has its own. memory_format: of
            images and convolutions in training. With "auto" the first batch of ``val`` is timed where a step is long
            enough to matter, and bf16-mixed or contiguous are chosen where they are clearly faster than 32-true and
            channels_last; on a GPU that has bf16, it is bf16-mixed.
        include, exclude: names or patterns of what may vary and what may not, see :meth:`dnal.Space.of`.
        least, multiple: of the width of every group, see :class:`dnal.methods.widths.Widths`; a multiple of "auto" is
            what ``backend`` computes fastest, the default where the budget bounds the latency (with a ``latency`` model
            to reuse, what that was made for); else it is 1.
        depth: whether residual branches may go too, see :meth:`dnal.Space.of`; by default in the budget recipe.
        deploy_batch, backend: at which memory and latency are stated; "auto" is the GPU where there is one.
        latency: a latency model of this network to reuse, or its file; by default it is profiled, where the budget
            bounds the latency.
        fabric: Lightning's, launched, for several processes or a strategy of your own; one process by default. Each
            process is given the same loaders and takes its share of every batch.
        checkpoints: a folder in which the job keeps its state (:class:`dnal.train.checkpoint.Checkpoints` to say how
            often). If it holds one, the job goes on from there, as if it had never stopped.
        stop: asked after every step; once it says True the state is kept, and the job ends with
            :class:`dnal.train.loop.Stopped`.

    Raises:
        UserError: for input that cannot work, before anything is trained.
        Diverged: when a loss is no number.

    Whatever is decided by timing is decided before the first step; equal settings and thread count give equal networks.
    """
    (learned,) = trade_off(
        network, train, val, test, [budget], recipe=recipe, loss=loss, metric=metric, base_is_trained=base_is_trained,
        method=method, init=init, example_inputs=example_inputs, epochs=epochs, lr=lr, lambda_=lambda_, distil=distil,
        steps=steps, seed=seed, precision=precision, memory_format=memory_format, include=include, exclude=exclude,
        least=least, multiple=multiple, depth=depth, deploy_batch=deploy_batch, backend=backend, latency=latency,
        fabric=fabric, checkpoints=[checkpoints], stop=stop, listeners=[listener or Listener()],
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
    method: str = "dnal",
    init: Literal["trained", "fresh"] | None = None,
    example_inputs: Tensor | None = None,
    epochs: int | tuple[int, int, int] | None = None,
    lr: float | None = None,
    lambda_: float | None = None,
    distil: bool | None = None,
    steps: Literal["joint", "alternating"] = "joint",
    seed: int = 0,
    precision: str = "auto",
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto",
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    least: int | float = 1,
    multiple: int | Literal["auto"] | None = None,
    depth: bool | None = None,
    deploy_batch: int = 1,
    backend: str = "auto",
    latency: LatencyModel | str | Path | None = None,
    fabric: Fabric | None = None,
    checkpoints: Sequence[Checkpoints | str | Path | None] = (),
    stop: Callable[[], bool] | None = None,
    listeners: Sequence[Listener] = (),
) -> list[Learned]:
    """One job per budget, from one base: the first phase is trained once, and the rest goes on from it for each.

    Each result is, bit for bit, that of :func:`learn` with this budget and the same seed, as long as the loaders draw
    from the global random state or a generator of their own, or have a ``state_dict``.

    Args:
        budgets: what :func:`learn` takes one of.
        checkpoints: none, or a folder per budget.
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
            method=method,
            init=init,
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
    checkpoints = list(checkpoints) or [None for _ in plans]
    for what, given in (("listener", listeners), ("folder of checkpoints", checkpoints)):
        if len(given) != len(plans):
            raise UserError(f"give one {what} per budget: {len(plans)}, not {len(given)}.")
    test = val if test is None else test
    alone, fabric = fabric is None, _fabric(precision) if fabric is None else fabric
    keepers = [
        Keeper([train, val, test], _folder(place), stop=stop, writes=fabric.is_global_zero) for place in checkpoints
    ]
    fabric.barrier()  # all have read before one writes
    kept = [keeper for keeper in keepers if keeper.tree is not None]
    if kept:  # what timing decided stands
        plans = [
            replace(
                plan,
                multiple=keeper.job.get("multiple", plan.multiple) if plan.multiple == "auto" else plan.multiple,
                backend=keeper.job.get("backend", plan.backend) if plan.backend == "auto" else plan.backend,
            )
            for plan, keeper in zip(plans, keepers, strict=True)
        ]
        latency = _known(kept[0]) or latency
        precision = kept[0].job["precision"] if precision == "auto" else precision
        memory_format = kept[0].job["memory_format"] if memory_format == "auto" else memory_format
    deployment = Deployment.of(deploy_batch, plans[0].backend)
    example = _example(val, example_inputs).to(fabric.device)
    _place(network, fabric, example, torch.contiguous_format)  # as it is handed back, so that this is what is timed
    space = Space.of(network, example, include=patterns(include), exclude=patterns(exclude), depth=plans[0].depth)
    _check_removable(space, chosen_by_name=bool(include or exclude))
    everyone = Chorus(listeners)
    space, plans, model = _by_one(
        fabric, lambda own, known: priced(space, own, deployment, network, example, known, everyone), plans, latency
    )
    everyone.space(space, ranges(space, plans, model))
    if alone:
        precision, arranged = _arranged(fabric, precision, memory_format, network, space, val, loss)
        fabric = _fabric(precision)
    else:
        arranged = "channels_last" if memory_format == "auto" else memory_format
    order = ORDERS[arranged]
    torch.manual_seed(seed)
    decided = {
        "precision": str(fabric.strategy.precision.precision),
        "memory_format": "channels_last" if order is torch.channels_last and example.dim() == 4 else "contiguous",
        "threads": torch.get_num_threads(),
        "device": fabric.device.type,
        "processes": fabric.world_size,
        "input_shape": list(example.shape[1:]),
        "variables": space.num_variables,
        "branches": space.num_branches,
        "include": list(patterns(include)),
        "exclude": list(patterns(exclude)),
    }
    settings = [plan.settings() | decided for plan in plans]
    for keeper, own in zip(keepers, settings, strict=True):
        keeper.check(_identity(own))
    for own, listener in zip(settings, listeners, strict=True):
        listener.start(own)
    if model is not None:
        everyone.latency(model)

    _place(network, fabric, example, order)
    job = _Job(
        fabric, order, network, space, model, example, deployment, shared_out(train, fabric), val, test,
        loss or F.cross_entropy, metric or accuracy,
    )  # fmt: skip
    _train_base(job, plans[0], keepers, settings, everyone)
    base = copy.deepcopy(network).eval()  # the search trains on; the base is reported, and teaches
    results = []
    for plan, own, keeper, listener in zip(plans, settings, keepers, listeners, strict=True):
        learned = _shrunk(job, base, plan, own, keeper, listener)
        listener.finish(learned)
        results.append(learned)
    _place(network, fabric, example, torch.contiguous_format)
    return results


@dataclass(frozen=True)
class _Job:
    """What all budgets of a job share."""

    fabric: Fabric
    order: torch.memory_format
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


def _by_one(
    fabric: Fabric,
    price: Callable[[list[Plan], Any], tuple[Space, list[Plan], LatencyModel | None]],
    plans: list[Plan],
    latency: LatencyModel | str | Path | None,
) -> tuple[Space, list[Plan], LatencyModel | None]:
    """``price`` of the plans, timed by one of the processes, while nothing else runs, and told to the others."""
    if fabric.is_global_zero:
        space, plans, model = price(plans, latency)
        fabric.broadcast((plans, model))
        return space, plans, model
    return price(*fabric.broadcast((plans, None)))


def _train_base(
    job: _Job, plan: Plan, keepers: list[Keeper], settings: list[dict[str, Any]], listener: Listener
) -> None:
    """The first phase, once for all budgets that have not come further; the base is in ``job.network`` then."""
    place = Place(job.train)
    waiting = [(keeper, own) for keeper, own in zip(keepers, settings, strict=True) if keeper.phase in (None, "base")]
    if not waiting:
        job.network.load_state_dict(keepers[0].carried("base"))
        return
    leader, own = next(((k, own) for k, own in waiting if k.phase), waiting[0])
    latency = None if job.latency is None else job.latency.document()
    if leader.phase is None:
        leader.begin(
            "base", job=own, history=[], parts={"network": job.network, "place": place},
            carried={"latency": latency},
        )  # fmt: skip
    history: list[dict[str, Any]] = []
    _train(job, job.network, "base", plan, 0, listener, history, leader, warmup=WARMUP)
    for keeper, own in waiting:
        keeper.begin(
            "architecture", job=own, history=history, parts={"place": place},
            carried={"latency": latency, "base": job.network.state_dict()},
        )  # fmt: skip


def _identity(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that make it this job, wherever it runs."""
    return {name: value for name, value in settings.items() if name not in PLACE}


def _shrunk(
    job: _Job, base: nn.Module, plan: Plan, settings: dict[str, Any], keeper: Keeper, listener: Listener
) -> Learned:
    """The second and third phase for one budget, or what is left of them, and the figures."""
    teacher = base if plan.distil else None
    working, history = copy.deepcopy(job.network), keeper.history
    if keeper.phase == "architecture":
        architecture = Architecture.of(job.space, _search(job, working, plan, teacher, listener, history, keeper))
        small = compact(working, architecture)
        if plan.init == "fresh":
            reset(small, plan.seed)
        _place(small, job.fabric, job.example, job.order)
        keeper.begin(
            "retrain", job=settings, history=history, parts={"network": small, "place": Place(job.train)},
            carried={name: keeper.carried(name) for name in ("latency", "base")} | {"open": architecture.open},
        )  # fmt: skip
    else:
        architecture = Architecture.of(job.space, keeper.carried("open"))
        small = compact(working, architecture)
        _place(small, job.fabric, job.example, job.order)
    warmup = WARMUP if plan.init == "fresh" else 0.0
    _train(job, small, "retrain", plan, 2, listener, history, keeper, teacher=teacher, warmup=warmup)
    small.eval()
    base = copy.deepcopy(base)
    for module in (base, small):  # handed back as torch makes them: files of tensors want them contiguous
        _place(module, job.fabric, job.example, torch.contiguous_format)
    begun = time.perf_counter()
    (base_row, small_row), confusion = _measured(job, {"base": base, "compact": small})
    seconds = {
        phase: round(sum(record["seconds"] for record in history if record["phase"] == phase), 3)
        for phase in ("base", "architecture", "retrain")
    }
    seconds["measure"] = round(time.perf_counter() - begun, 3)
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
    return Learned(
        small, architecture, job.space, history, base_row, small_row, constraints, settings, seconds, plan.method,
        confusion, blocks(job.network, architecture),
    )  # fmt: skip


def _measured(job: _Job, networks: dict[str, nn.Module]) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """The figures of each network, measured by one process while the others wait, and its confusion matrix, where the
    metric has one."""
    rows: list[dict[str, float]] = []
    confusion: dict[str, Tensor] = {}
    if job.fabric.is_global_zero:
        rows = job.deployment.figures(list(networks.values()), job.example, job.space.costs)
    rows = job.fabric.broadcast(rows)
    for row, (name, network) in zip(rows, networks.items(), strict=True):
        if job.metric is not accuracy:
            row["accuracy"] = job.metric(network, job.test)
            continue
        row["accuracy"], matrix = accuracy_and_confusion(network, job.test)
        if matrix is not None:
            confusion[name] = matrix
    return rows, confusion


def _train(
    job: _Job,
    network: nn.Module,
    name: str,
    plan: Plan,
    phase: int,
    listener: Listener,
    history: list[dict[str, Any]],
    keeper: Keeper,
    *,
    teacher: nn.Module | None = None,
    warmup: float = 0.0,
) -> None:
    """A phase of the plan that trains weights only, in place."""
    train_weights(
        job.fabric, network, job.train, name=name, epochs=plan.epochs[phase], lr=plan.rates[phase], loss=job.loss,
        teacher=teacher, warmup=warmup, validate=job.validate, listener=listener, history=history, keeper=keeper,
    )  # fmt: skip


def _search(
    job: _Job,
    network: nn.Module,
    plan: Plan,
    teacher: nn.Module | None,
    listener: Listener,
    history: list[dict[str, Any]],
    keeper: Keeper,
) -> Tensor:
    """The plan's method on a network, which it may change: the variables that stay, bool, (num_gates,)."""
    space, widths = job.space, widths_of(plan)
    limits = plan.budget.limits(full_costs(space, job.latency)) if plan.budget is not None else {}

    def select(scores: Tensor, tighter: Mapping[str, float] | None = None) -> Tensor:
        return selected(space, scores, {**limits, **(tighter or {})}, widths, job.latency)

    task = Task(
        fabric=job.fabric, network=network, space=space, budget=str(plan.budget), limits=limits, widths=widths,
        select=select, train=job.train, val=job.val, loss=job.loss, epochs=plan.epochs[1], lr=plan.rates[1],
        seed=plan.seed, recipe=plan.recipe, lambda_=plan.lambda_, steps=plan.steps, teacher=teacher,
        validate=job.validate, listener=listener, history=history, keeper=keeper,
    )  # fmt: skip
    method = method_of(plan.method)
    if not method.trains:  # then no loop puts back what was kept of the phase's start, from which the data are drawn
        keeper.resume("architecture", {"place": Place(job.train)}, history)
    return method.choose(task)


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
    inputs = first_batch(val)[0] if given is None else given
    if not isinstance(inputs, Tensor):
        raise UserError("learn needs batches of (inputs, targets) whose inputs are one tensor.")
    return inputs[:2] if given is None else inputs


def _place(network: nn.Module, fabric: Fabric, example: Tensor, order: torch.memory_format) -> None:
    """Moves the network to its device and, if it works on images, orders its weights in memory."""
    network.to(fabric.device)
    if example.dim() == 4:
        network.to(memory_format=order)


def _arranged(
    fabric: Fabric, precision: str, order: str, network: nn.Module, space: Space, val: Loader, loss: Loss | None
) -> tuple[str, str]:
    """Precision and memory format, with what "auto" leaves open timed, where a step is long enough to matter."""
    usual = (precision_of(precision), "channels_last" if order == "auto" else order)
    open_ = [
        (kind, name)
        for kind, name in itertools.product(("32-true", "bf16-mixed"), ORDERS)
        if precision in ("auto", kind) and order in ("auto", name)
    ]
    if len(open_) < 2 or fabric.device.type == "cuda":
        return usual
    inputs, targets = first_batch(val)
    if inputs.dim() != 4 or space.full_cost["macs"] * len(inputs) < LONG:
        return usual
    return fastest_arrangement(
        network, inputs, targets, loss or F.cross_entropy, [usual, *(one for one in open_ if one != usual)]
    )


def precision_of(precision: str) -> str:
    """Of Lightning Fabric, with "auto" decided."""
    if precision == "auto":
        return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"
    return precision


def _fabric(precision: str) -> Fabric:
    try:
        return Fabric(accelerator="auto", devices=1, precision=precision_of(precision))  # type: ignore[arg-type]
    except ValueError:
        raise UserError(f"unknown precision '{precision}'; choose auto, 32-true, bf16-mixed or 16-mixed.") from None


def _known(keeper: Keeper) -> LatencyModel | None:
    from dnal.latency import LatencyModel

    document = keeper.carried("latency")
    return None if document is None else LatencyModel.of(document)


def _folder(place: Checkpoints | str | Path | None) -> Checkpoints | None:
    return place if isinstance(place, Checkpoints) or place is None else Checkpoints(place)
