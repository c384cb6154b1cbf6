"""learn: the whole job in one call, for a user's own network and data; trade_off: several that share their base."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.costs.budget import Budget
from dnal.costs.deployment import Deployed
from dnal.methods import Method
from dnal.pipeline.asked import Group, asked_of
from dnal.pipeline.feasibility import priced, ranges
from dnal.pipeline.phases import Job, placed, shrunk, train_base
from dnal.pipeline.plan import Plan
from dnal.pipeline.result import Learned
from dnal.selection.widths import WidthRule
from dnal.settings import Deployment, Numerics, Widths
from dnal.space.copying import without_fabric
from dnal.space.explain import commonest_reasons
from dnal.space.space import Space
from dnal.space.surgery.running import check_changeable
from dnal.train.checked import Classes, check_inputs, check_known, checked, classes_of
from dnal.train.enough import enough
from dnal.train.evaluate import Metric, accuracy
from dnal.train.listener import Listener, Listeners
from dnal.train.loader import Loader, check_length, first_batch, pair
from dnal.train.optimizers import MakeOptimizer
from dnal.train.phase import Loss
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.checkpointer import Checkpointer
from dnal.train.schedule import Schedule
from dnal.train.setup.dry_run import check, check_gateable, examples
from dnal.train.setup.numerics import ORDERS, chosen_numerics, fabric_of, workable
from dnal.train.setup.processes import shared_out
from dnal.train.setup.reinitialize import check_resettable
from dnal.train.setup.reproducible import reproducible
from dnal.train.source import fingerprint
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from dnal.latency import LatencyModel

PLACE = ("threads", "device", "precision", "memory_format", "processes")
"""Settings that belong to the machine: a job may go on with others, though not to the same last digit."""
APART = ("metric", "example_inputs", "latency", "fabric", "stop")
"""Arguments that say nothing of how a job trains."""


class Shared(TypedDict, total=False):
    """The arguments of :func:`learn` that :func:`trade_off` takes too."""

    method: str | Method
    techniques: Sequence[str | Technique]
    without: Sequence[str]
    loss: Loss | None
    metric: Metric | None
    epochs: int | tuple[int, int, int] | None
    lr: float | None
    optimizer: str | MakeOptimizer
    schedule: str | Schedule
    reinitialize: bool | None
    seed: int
    base_is_trained: bool
    example_inputs: Tensor | None
    widths: Group[Widths]
    deployment: Group[Deployment]
    numerics: Group[Numerics]
    latency: LatencyModel | str | Path | None
    fabric: Fabric | None
    stop: Callable[[], bool] | None


def learn(
    network: nn.Module,
    train: Loader,
    val: Loader,
    test: Loader | None = None,
    budget: str | Budget | None = None,
    *,
    method: str | Method = "dnal",
    techniques: Sequence[str | Technique] = (),
    without: Sequence[str] = (),
    loss: Loss | None = None,
    metric: Metric | None = None,
    epochs: int | tuple[int, int, int] | None = None,
    lr: float | None = None,
    optimizer: str | MakeOptimizer = "sgd",
    schedule: str | Schedule = "cosine",
    reinitialize: bool | None = None,
    seed: int = 0,
    base_is_trained: bool = False,
    example_inputs: Tensor | None = None,
    widths: Group[Widths] = None,
    deployment: Group[Deployment] = None,
    numerics: Group[Numerics] = None,
    latency: LatencyModel | str | Path | None = None,
    fabric: Fabric | None = None,
    checkpoints: Checkpoints | str | Path | None = None,
    stop: Callable[[], bool] | None = None,
    listener: Listener | None = None,
) -> Learned:
    """Learns a smaller architecture of ``network`` and returns it as an ordinary network.

    Three phases: the base's weights ("base"), the choice of the architecture ("architecture"), in which most methods
    train too, and, after the closed channels are removed, the weights of what is left ("retrain"). ``network`` itself
    is trained in place in the first phase and left whole.

    Args:
        train, val, test: batches of (inputs (N, ...), targets), those that move something with a length. Training data
            move weights and gates; ``val`` is for the log, and for methods that need data of their own; ``test`` is
            measured once, at the end.
        budget: for example "macs<=30%", "params<=1.2M,latency<=3ms" or "memory<=2MB"; "macs<=30%" by default, but for
            methods that need none.
        method: what chooses: an object such as ``TAS(tau_start=4)``, a text such as "tas:tau_start=4", or the name of
            one; `dnal methods` lists them. One that does not train leaves the epochs of the second phase to the third,
            so that all see equally many images.
        techniques: ways to train better that act beside the method's own: objects, or texts such as "ema:decay=0.99";
            `dnal techniques` lists them. By default, with the default loss, the network before removal teaches
            ("distillation"). without: names of the method's own to leave out.
        loss: (outputs, targets) -> scalar; cross entropy by default. It is tried on two examples of ``val`` first.
        metric: (network, loader) -> float, higher is better; it may change the network's mode. By default top-1
            accuracy, of logits (N, classes, ...) and class numbers (N, ...), where -100 does not count.
        epochs: of the three phases, or one number shared out as the method does by default.
        lr: peak learning rate of the base phase, 0.1 by default; the others follow from it.
        optimizer: a name ("sgd", "adamw", "lamb", any of timm's), or (network, lr) -> an optimizer.
        schedule: of the learning rate over base and retraining: "cosine", "one-cycle", "step", "constant", or (progress
            from 0 to 1, peak, share in which it rises) -> rate.
        reinitialize: whether what is left is retrained from new weights, the control of what the weights were worth; by
            default what the method is made for.
        seed: of torch's global random state.
        base_is_trained: skip the first phase and train gently.
        example_inputs: a batch to trace the network with; by default the first images of ``val``.
        widths: what may vary and how: a :class:`dnal.settings.Widths`, or a text such as "min_width=8,divisor=auto". A
            divisor of "auto" is what the backend computes fastest, the default where the budget bounds the latency.
        deployment: at which batch and where memory and latency are stated: a :class:`dnal.settings.Deployment`, or a
            text such as "deploy_batch_size=64".
        numerics: precision and order of memory: a :class:`dnal.settings.Numerics`, or a text. With "auto" the first
            batch of ``val`` is timed where a step is long enough to matter, and bf16-mixed or contiguous are chosen
            where they are clearly faster than 32-true and channels_last; on a GPU that has bf16, it is bf16-mixed. A
            ``fabric`` has its own precision.
        latency: a latency model of this network to reuse, or its file; by default it is profiled, where the budget
            bounds the latency.
        fabric: Lightning's, launched, for several processes or a strategy of your own; one process by default. Each
            process is given the same loaders and takes its share of every batch.
        checkpoints: a folder in which the job keeps its state, or a :class:`dnal.train.resume.checkpoint.Checkpoints`,
            which also says how often. If it holds one, the job goes on from there, as if it had never stopped.
        stop: asked after every step; once it says True the state is kept, and the job ends with
            :class:`dnal.train.loop.Stopped`.
        listener: hears of everything (:class:`dnal.train.listener.Listener`).

    Raises:
        UserError: for input that cannot work, before anything is trained.
        Diverged: when a loss is no number.

    Whatever is decided by timing is decided before the first step; equal settings and thread count give equal networks.
    """
    (learned,) = trade_off(
        network, train, val, test, [budget], checkpoints=[checkpoints], listeners=[listener or Listener()],
        method=method, techniques=techniques, without=without, loss=loss, metric=metric, epochs=epochs, lr=lr,
        optimizer=optimizer, schedule=schedule, reinitialize=reinitialize, seed=seed, base_is_trained=base_is_trained,
        example_inputs=example_inputs, widths=widths, deployment=deployment, numerics=numerics, latency=latency,
        fabric=fabric, stop=stop,
    )  # fmt: skip
    return learned


def trade_off(
    network: nn.Module,
    train: Loader,
    val: Loader,
    test: Loader | None = None,
    budgets: Sequence[str | Budget | None] = (),
    *,
    checkpoints: Sequence[Checkpoints | str | Path | None] = (),
    listeners: Sequence[Listener] = (),
    **shared: Unpack[Shared],
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
    check_changeable(network)  # before Fabric moves it, which many of these networks refuse in words of their own
    plans = _plans(budgets, shared)
    listeners = _one_each("listener", listeners, len(plans), Listener)
    checkpoints = _one_each("folder of checkpoints", checkpoints, len(plans), lambda: None)
    data = _Data(train, val, val if test is None else test)
    if test is None:
        warnings.warn(
            "there are no test data: the figures of base and compact network are of the validation data; give test, "
            "which decides nothing.",
            stacklevel=3,
        )
    asked, given = plans[0].asked, shared.get("fabric")
    precision = asked.numerics.precision
    fabric = fabric_of(precision) if given is None else given
    stop = shared.get("stop")
    checkpointers = [
        Checkpointer(data, _folder(place), stop=stop, writes=fabric.is_global_zero) for place in checkpoints
    ]
    fabric.barrier()  # all have read before one writes
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        without_fabric(network),
        _brought_home(network, fabric) as home,
        reproducible(fabric.device),
    ):
        job, plans, settings = _prepared(network, data, plans, checkpointers, listeners, fabric, shared)
        train_base(job, plans[0], checkpointers, settings, Listeners(listeners))
        base = copy.deepcopy(network).eval()  # the search trains on; the base is reported, and teaches
        results = []
        for plan, own, checkpointer, listener in zip(plans, settings, checkpointers, listeners, strict=True):
            learned = shrunk(job, base, plan, own, checkpointer, listener)
            learned.network.to(home)
            listener.finish(learned)
            results.append(learned)
        placed(network, job.fabric, job.example, torch.contiguous_format)
        return results


class _Data(NamedTuple):
    train: Loader
    val: Loader
    test: Loader


def _plans(budgets: Sequence[str | Budget | None], shared: Shared) -> list[Plan]:
    """A plan per budget, checked as far as it goes without network and data."""
    if not budgets:
        raise UserError("a trade-off needs at least one budget.")
    told: dict[str, Any] = {name: value for name, value in shared.items() if name not in APART}
    asked = asked_of(**told)
    plans = [Plan.of(budget, asked) for budget in budgets]
    _check_distinct([plan.budget for plan in plans if plan.budget is not None])
    divisor = asked.widths.divisor
    WidthRule(asked.widths.min_width, divisor if isinstance(divisor, int) else 1)
    return plans


def _one_each(what: str, given: Sequence[Any], count: int, default: Callable[[], Any]) -> list[Any]:
    """One thing per budget: those given, or default ones."""
    things = list(given) or [default() for _ in range(count)]
    if len(things) != count:
        raise UserError(f"give one {what} per budget: {count}, not {len(things)}.")
    return things


def _prepared(
    network: nn.Module,
    data: _Data,
    plans: list[Plan],
    checkpointers: list[Checkpointer],
    listeners: list[Listener],
    fabric: Fabric,
    shared: Shared,
) -> tuple[Job, list[Plan], list[dict[str, Any]]]:
    """Everything that is decided before the first step: what may vary, what it costs, which numbers to compute with.

    Returns:
        the job, the plans with nothing left open, and the settings of each as plain values.
    """
    plans, latency, numerics = _as_kept(plans, checkpointers, shared.get("latency"))
    asked = plans[0].asked
    check_length(data.train, "training")
    if getattr(asked.method, "held_out", False):  # then they move something too
        check_length(data.val, "validation")
    deployment = Deployed.of(asked.deployment.deploy_batch_size, asked.deployment.backend)
    named = {"validation": data.val} if data.test is data.val else {"validation": data.val, "test": data.test}
    held_out = [pair(first_batch(loader, kind)) for kind, loader in named.items()]
    example = _example([inputs for inputs, _ in held_out], shared.get("example_inputs")).to(fabric.device)
    placed(network, fabric, example, torch.contiguous_format)  # as it is handed back, so that this is what is timed
    for (inputs, _), kind in zip(held_out, named, strict=True):
        check_inputs(network, inputs, kind)
    widths = asked.widths
    space = Space.of(
        network, example, include=widths.include, exclude=widths.exclude, depth=bool(widths.prune_blocks)
    )  # fmt: skip
    _check_removable(space, chosen_by_name=bool(widths.include or widths.exclude))
    _check_trained(network, plans[0])
    if asked.training.reinitialize:
        check_resettable(network)
    loss, metric = shared.get("loss") or F.cross_entropy, shared.get("metric") or accuracy
    for batch in held_out:
        check(network, fabric.to_device(batch), loss, metric, asked.techniques)
    inputs, targets = fabric.to_device(examples(held_out[0]))
    if asked.method.gates:
        check_gateable(network, inputs)
    train = _checked_training_data(network, data, named, fabric, (inputs, targets), loss, metric)
    shares = shared_out(train, fabric)
    if not len(shares) and any(phase.epochs for plan in plans for phase in plan.phases):
        raise UserError("the training data give no batch; lower the batch size, add images, or use fewer processes.")
    layout = workable(numerics.memory_format, network, inputs, targets, loss)
    everyone = Listeners(listeners)
    space, plans, model = _by_one(
        fabric, lambda own, known: priced(space, own, deployment, network, example, known, everyone), plans, latency
    )
    everyone.space(space, ranges(space, plans, model))
    if shared.get("fabric") is None:
        precision, layout = chosen_numerics(
            fabric, numerics.precision, layout, network, space.full_cost["macs"], held_out[0], loss
        )
        fabric = fabric_of(precision)
    order = ORDERS["channels_last" if layout == "auto" else layout]
    torch.manual_seed(asked.training.seed)
    decided = _decided(fabric, order, example, space) | {"code": fingerprint(network)}
    settings = [plan.settings() | decided for plan in plans]
    for checkpointer, own in zip(checkpointers, settings, strict=True):
        checkpointer.check(_identity(own))
    _warn_of_other_code(checkpointers, str(decided["code"]))
    if model is not None:
        everyone.latency(model)
    for own, listener in zip(settings, listeners, strict=True):
        listener.start(own)
    placed(network, fabric, example, order)
    job = Job(
        fabric, order, network, space, model, example, deployment, shares, data.val, data.test, loss, metric,
    )  # fmt: skip
    return job, plans, settings


def _checked_training_data(
    network: nn.Module,
    data: _Data,
    held_out: Mapping[str, Loader],
    fabric: Fabric,
    batch: tuple[Any, Any],
    loss: Loss,
    metric: Metric,
) -> Loader:
    """The training data, each batch of which is looked at before it is trained on, and without a last batch that batch
    norm cannot take. What can be looked at before training is; ``batch``: a few held-out examples."""
    inputs, targets = batch
    classes = classes_of(network, inputs, targets, loss)
    check_known(data.train, network, classes, "training")
    held_classes = Classes(classes.count) if classes is not None and metric is accuracy else None
    for kind, loader in held_out.items():
        check_known(loader, network, held_classes, kind)
    return checked(enough(data.train, network, fabric.world_size), network, classes, "training")


def _as_kept(
    plans: list[Plan], checkpointers: list[Checkpointer], latency: LatencyModel | str | Path | None
) -> tuple[list[Plan], LatencyModel | str | Path | None, Numerics]:
    """Plans, latency model and numerics with what timing decided when a job that goes on was begun."""
    numerics = plans[0].asked.numerics
    kept = next((checkpointer for checkpointer in checkpointers if checkpointer.tree is not None), None)
    if kept is None:
        return plans, latency, numerics
    decided = []
    for plan, checkpointer in zip(plans, checkpointers, strict=True):
        if plan.asked.widths.divisor == "auto" and "divisor" in checkpointer.job:
            plan = plan.with_widths(divisor=checkpointer.job["divisor"])
        if plan.asked.deployment.backend == "auto" and "backend" in checkpointer.job:
            plan = plan.with_backend(checkpointer.job["backend"])
        decided.append(plan)
    open_ = [name for name in ("precision", "memory_format") if getattr(numerics, name) == "auto"]
    with kept.believed():
        numerics = replace(numerics, **{name: kept.job[name] for name in open_})
    return decided, _known(kept) or latency, numerics


def _decided(fabric: Fabric, order: torch.memory_format, example: Tensor, space: Space) -> dict[str, Any]:
    """What the machine and the network decided, as plain values."""
    return {
        "precision": str(fabric.strategy.precision.precision),
        "memory_format": "channels_last" if order is torch.channels_last and example.dim() == 4 else "contiguous",
        "threads": torch.get_num_threads(),
        "device": fabric.device.type,
        "processes": fabric.world_size,
        "input_shape": list(example.shape[1:]),
        "variables": space.num_variables,
        "branches": space.num_branches,
    }


@contextmanager
def _brought_home(network: nn.Module, fabric: Fabric) -> Iterator[torch.device]:
    """The device that a network came from, to which it goes back at the end, or on an error."""
    home = next((p.device for p in network.parameters()), fabric.device)
    try:
        yield home
    finally:
        network.to(home)


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


def _identity(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that make it this job, wherever it runs."""
    return {name: value for name, value in settings.items() if name not in (*PLACE, "code")}


def _warn_of_other_code(checkpointers: list[Checkpointer], code: str) -> None:
    """Says that a job goes on with other code than it began with: weights of equal shapes would not tell."""
    if any(checkpointer.job.get("code", code) != code for checkpointer in checkpointers):
        warnings.warn(
            "the code of the network's classes has changed since the checkpoint was written; what was trained goes on "
            "in the new code.",
            stacklevel=4,
        )


def _check_distinct(budgets: list[Budget]) -> None:
    seen: set[frozenset[object]] = set()
    for budget in budgets:
        if frozenset(budget.bounds) in seen:
            raise UserError(f"the budget {budget} was given twice; each budget is one run.")
        seen.add(frozenset(budget.bounds))


def _check_removable(space: Space, *, chosen_by_name: bool) -> None:
    """Refuses a network with nothing to remove."""
    if not space.num_gates:
        remedy = "; include more or exclude less" if chosen_by_name else ""
        reasons = commonest_reasons(space) or "it has no parameters"
        raise UserError(
            f"nothing in this network can be removed: {reasons}{remedy} (Space.fixed or `dnal space` tell the rest)."
        )


def _check_trained(network: nn.Module, plan: Plan) -> None:
    """Refuses a network that cannot learn, if it is to be trained at all."""
    if any(phase.epochs for phase in plan.phases) and not any(p.requires_grad for p in network.parameters()):
        raise UserError("no parameter of this network has requires_grad; set it for those that may be trained.")


def _example(held_out: list[Any], given: Tensor | None) -> Tensor:
    """The user's example, or two of the first inputs held out: taking them from the training data would use up their
    first order."""
    if not all(isinstance(inputs, Tensor) for inputs in (*held_out, *([] if given is None else [given]))):
        raise UserError("learn needs batches of (inputs, targets) whose inputs are one tensor.")
    inputs: Tensor = held_out[0]
    return inputs[:2] if given is None else given


def _known(checkpointer: Checkpointer) -> LatencyModel | None:
    from dnal.latency import LatencyModel

    document = checkpointer.carried("latency")
    return None if document is None else LatencyModel.of(document)


def _folder(place: Checkpoints | str | Path | None) -> Checkpoints | None:
    return place if isinstance(place, Checkpoints) or place is None else Checkpoints(place)
