"""learn: the whole job in one call, for a user's own network and data; trade_off: one per budget from one base; and
what both of them are: several results from one base."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.costs.budget import Budget
from dnal.methods import Method
from dnal.pipeline.against import Wanted, compared, folder_of
from dnal.pipeline.asked import APART, Group, Shared, asked_of, warn_of_blocks
from dnal.pipeline.phases import Unchosen, placed, shrunk, train_base
from dnal.pipeline.plan import Plan
from dnal.pipeline.prepare import JobData, prepared
from dnal.pipeline.result import Learned
from dnal.selection.widths import WidthRule
from dnal.settings import Deployment, Numerics, Widths
from dnal.space.copying import deep_copy, without_fabric
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import check_changeable
from dnal.train.evaluate import Metric
from dnal.train.listener import Listener, Listeners
from dnal.train.loader import Loader
from dnal.train.loop import Diverged
from dnal.train.optimizers import MakeOptimizer
from dnal.train.phase import Loss
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.checkpointer import Checkpointer
from dnal.train.schedule import Schedule
from dnal.train.setup.numerics import fabric_of
from dnal.train.setup.reproducible import reproducible
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from dnal.latency import LatencyModel


def learn(
    network: nn.Module,
    train: Loader,
    val: Loader,
    test: Loader | None = None,
    budget: str | Budget | None = None,
    *,
    method: str | Method | None = None,
    against: Sequence[str | Method] = (),
    techniques: Sequence[str | Technique] = (),
    without: Sequence[str] = (),
    loss: Loss | None = None,
    metric: Metric | None = None,
    epochs: int | tuple[int, int, int] | None = None,
    lr: float | None = None,
    optimizer: str | MakeOptimizer = "sgd",
    schedule: str | Schedule = "cosine",
    schedule_over: str = "phase",
    accumulate: int = 1,
    reinitialize: bool | None = None,
    seed: int = 0,
    base_is_trained: bool = False,
    example_inputs: Inputs | None = None,
    batch: Callable[[Any], Any] | None = None,
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
        train, val, test: batches, those that move something with a length: pairs (inputs, targets), or mappings as
            Hugging Face's collators give them, whose ``labels`` are the targets. Inputs that are a tensor are the
            network's one argument, a tuple or list its arguments in their order, a mapping its arguments by name. A
            network that takes ``labels`` gets those of a mapping too. Training data move weights and gates; ``val`` is
            for the log, and for methods that need data of their own; ``test`` is measured once, at the end.
        budget: for example "macs<=30%", "params<=1.2M,latency<=3ms" or "memory<=2MB"; "macs<=30%" by default, except
            for methods that need none.
        method: what chooses: an object such as ``TAS(tau_start=4)``, a text such as "tas:tau_start=4", or the name of
            one; `dnal methods` lists them. By default "dnal", and "obs" with ``base_is_trained``. One that does not
            train leaves the epochs of the second phase to the third, so that all see equally many images.
        against: methods that reach the same budget too, to tell whether this one paid: as for ``method``, and
            "scratch", uniform widths that are trained from new weights for as long as all phases of the others
            together. They share the base, the seed, the order of the data, the techniques with the teacher and the
            widths that may be, and each sees as many training samples. Their results are in ``against`` of what is
            returned, and :meth:`dnal.Learned.ahead_of` says how far this one is ahead. One that takes no budget, or
            that fails, is left out with a warning.
        techniques: ways to train better that act beside the method's own: objects, or texts such as "ema:decay=0.99";
            `dnal techniques` lists them. By default, with the default loss, the network before removal teaches
            ("distillation"). without: names of the method's own to leave out.
        loss: (outputs, targets) -> scalar, of whatever the network returns and the batch has. By default the ``loss``
            of outputs that are a mapping with one, else the cross entropy of the logits: the outputs, or their
            ``logits``. It is tried on two examples of ``val`` first.
        metric: (network, loader) -> float, higher is better; it may change the network's mode, and gets the loader as
            it was given. By default top-1 accuracy, of logits (N, classes, ...) and class numbers (N, ...), where -100
            does not count.
        epochs: of the three phases, or one number shared out as the method does by default.
        lr: peak learning rate of the base phase, 0.1 by default; the others follow from it.
        optimizer: a name ("sgd", "adamw", "lamb", any of timm's), or (network, lr) -> an optimizer.
        schedule: of the learning rate over base and retraining: "cosine", "one-cycle", "step", "constant", or (progress
            from 0 to 1, peak, share in which it rises) -> rate.
        schedule_over: "phase": base and retraining each have the schedule; "job": it runs once, through all three
            phases, so that the base never settles. That base is what the result is compared with, and what teaches.
        accumulate: batches per step, whose gradients are added up in the memory of one: a step is that of one batch of
            all their examples, except for what a network computes over a batch, as batch norm does. The schedule, the
            search and checkpoints count steps.
        reinitialize: whether what is left is retrained from new weights, the control of what the weights were worth; by
            default what the method is made for.
        seed: of torch's global random state.
        base_is_trained: skip the first phase, and take 0.6 of the learning rates of the others.
        example_inputs: inputs to trace the network with, and to state its costs for; by default the first of ``val``,
            without the labels of a mapping.
        batch: (batch) -> (inputs, targets), for batches of another kind; it is called with every batch of the loaders.
            ``lambda batch: ((batch["image"], batch["age"]), batch["sick"])`` makes two arguments and a target.
        widths: what may vary and how: a :class:`dnal.settings.Widths`, or a text such as "min_width=8,divisor=auto". A
            divisor of "auto" is what the backend computes fastest where the budget bounds the latency (the default
            there), and elsewhere 16, or 8, 4 and 2 in narrow groups, if the budget is used up to 99 % with them.
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
            which also says how often. If it holds one, the job goes on from there, as if it had never stopped. No other
            process may work there meanwhile. With ``against`` each method has a folder in it.
        stop: asked after every step; once it says True the state is kept, and the job ends with
            :class:`dnal.train.loop.Stopped`.
        listener: its hooks are called for all that happens (:class:`dnal.train.listener.Listener`).

    Raises:
        UserError: for input that cannot work, before anything is trained.
        Diverged: when a loss is no number.

    Whatever is decided by timing is decided before the first step; equal settings and thread count give equal networks.
    """
    shared: Shared = {
        "method": method, "techniques": techniques, "without": without, "loss": loss, "metric": metric,
        "epochs": epochs, "lr": lr, "optimizer": optimizer, "schedule": schedule, "schedule_over": schedule_over,
        "accumulate": accumulate, "reinitialize": reinitialize, "seed": seed, "base_is_trained": base_is_trained,
        "example_inputs": example_inputs, "batch": batch, "widths": widths, "deployment": deployment,
        "numerics": numerics, "latency": latency, "fabric": fabric, "stop": stop,
    }  # fmt: skip
    asked = asked_of(**_training(shared), against=against)
    warn_of_blocks(asked)
    wanted = compared(Wanted(budget, asked))
    names = wanted[0].asked.comparison.against
    kept = _folder(checkpoints)
    folders = [kept, *(None if kept is None else kept.within(folder_of(name)) for name in names)]
    first, *others = several(
        network, train, val, test, wanted, checkpoints=folders,
        listeners=[listener or Listener(), *(Listener() for _ in names)], shared=shared,
    )  # fmt: skip
    assert first is not None
    return replace(first, against={n: found for n, found in zip(names, others, strict=True) if found is not None})


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
        listeners: none, or one per budget; each is called for its own job, and for the phase that all share.

    The other arguments are those of :func:`learn`.

    Raises:
        UserError: as :func:`learn`; all budgets are checked before anything is trained.
    """
    if not budgets:
        raise UserError("a trade-off needs at least one budget.")
    asked = asked_of(**_training(shared))
    warn_of_blocks(asked)
    if asked.comparison.against:
        raise UserError("against compares methods under one budget; give it to learn, once for each budget.")
    found = several(
        network, train, val, test, [Wanted(budget, asked) for budget in budgets], checkpoints=checkpoints,
        listeners=listeners, shared=shared,
    )  # fmt: skip
    return [learned for learned in found if learned is not None]


def several(
    network: nn.Module,
    train: Loader,
    val: Loader,
    test: Loader | None,
    wanted: Sequence[Wanted],
    *,
    checkpoints: Sequence[Checkpoints | str | Path | None] = (),
    listeners: Sequence[Listener] = (),
    shared: Shared,
) -> list[Learned | None]:
    """Several results from one base, whose first phase is the same: see :func:`trade_off` and ``against`` of
    :func:`learn`.

    Args:
        wanted: what each is asked for. shared: the arguments of :func:`learn` that say nothing of how a job trains
            (``APART``); others are not looked at.

    Returns:
        One per entry of ``wanted``; None for a rival that failed, of which a warning says why.
    """
    check_changeable(network)  # before Fabric moves it, which many of these networks refuse in words of their own
    plans = _plans(wanted)
    listeners = _one_each("listener", listeners, len(plans), Listener)
    checkpoints = _one_each("folder of checkpoints", checkpoints, len(plans), lambda: None)
    data = JobData(train, val, val if test is None else test)
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
    with (
        _kept(data, list(map(_folder, checkpoints)), stop, fabric) as checkpointers,
        torch.inference_mode(False),
        torch.enable_grad(),
        without_fabric(network),
        _brought_home(network, fabric) as home,
        reproducible(fabric.device),
    ):
        job, plans, settings = prepared(network, data, plans, checkpointers, listeners, fabric, shared)
        train_base(job, plans[0], checkpointers, settings, Listeners(listeners))
        base = _twin(network).eval()  # the search trains a copy on; the base is reported, and teaches
        Listeners(listeners).base(base)
        results: list[Learned | None] = []
        for one, plan, own, checkpointer, listener in zip(
            wanted, plans, settings, checkpointers, listeners, strict=True
        ):
            try:
                learned = shrunk(job, base, plan, own, checkpointer, listener)
            except (Unchosen, Diverged) as error:
                if one.rival is None:
                    raise
                warnings.warn(f"'{one.rival}' is left out of the comparison: {error}", stacklevel=3)
                results.append(None)
                continue
            learned.network.to(home)
            listener.finish(learned)
            results.append(learned)
        placed(network, job.fabric, job.example, torch.contiguous_format)
        return results


def _twin(network: nn.Module) -> nn.Module:
    """A copy with modes of its own that computes with the memory of the same weights, neither of which is trained any
    more."""
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        if type(parameter) is nn.Parameter:
            memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
    memo |= {id(buffer): buffer.detach() for buffer in network.buffers() if type(buffer) is Tensor}
    return deep_copy(network, memo)


def _training(shared: Shared) -> dict[str, Any]:
    """Those arguments that say how a job trains."""
    return {name: value for name, value in shared.items() if name not in APART}


def _plans(wanted: Sequence[Wanted]) -> list[Plan]:
    """A plan of each, checked as far as it goes without network and data."""
    plans = [Plan.of(one.budget, one.asked) for one in wanted]
    alike = [plan for plan, one in zip(plans, wanted, strict=True) if one.asked == wanted[0].asked]
    _check_distinct([plan.budget for plan in alike if plan.budget is not None])
    for plan in plans:
        widths = plan.asked.widths
        WidthRule(widths.min_width, widths.divisor if isinstance(widths.divisor, int) else 1)
    return plans


def _one_each(what: str, given: Sequence[Any], count: int, default: Callable[[], Any]) -> list[Any]:
    """One thing per budget: those given, or default ones."""
    things = list(given) or [default() for _ in range(count)]
    if len(things) != count:
        raise UserError(f"give one {what} per budget: {count}, not {len(things)}.")
    return things


@contextmanager
def _brought_home(network: nn.Module, fabric: Fabric) -> Iterator[torch.device]:
    """The device that a network came from, to which it goes back at the end, or on an error."""
    home = next((p.device for p in network.parameters()), fabric.device)
    try:
        yield home
    finally:
        network.to(home)


def _check_distinct(budgets: list[Budget]) -> None:
    seen: set[frozenset[object]] = set()
    for budget in budgets:
        if frozenset(budget.bounds) in seen:
            raise UserError(f"the budget {budget} was given twice; each budget is one run.")
        seen.add(frozenset(budget.bounds))


@contextmanager
def _kept(
    data: JobData, folders: list[Checkpoints | None], stop: Callable[[], bool] | None, fabric: Fabric
) -> Iterator[list[Checkpointer]]:
    """A checkpointer per folder of checkpoints, which are this job's alone until its end."""
    with ExitStack() as claims:
        for folder in folders:
            if folder is not None and fabric.is_global_zero:
                claims.enter_context(folder.claimed())
        checkpointers = [Checkpointer(data, folder, stop=stop, writes=fabric.is_global_zero) for folder in folders]
        fabric.barrier()  # all have read before one writes
        yield checkpointers


def _folder(given: Checkpoints | str | Path | None) -> Checkpoints | None:
    return given if isinstance(given, Checkpoints) or given is None else Checkpoints(given)
