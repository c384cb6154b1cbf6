"""learn: the whole job in one call, for a user's own network and data; trade_off: several that share their base."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.budget import Budget
from dnal.deployment import Deployment
from dnal.learned import Learned
from dnal.methods import method_of
from dnal.methods.widths import Widths
from dnal.phases import Job, placed, shrunk, train_base
from dnal.plan import Plan
from dnal.pricing import priced, ranges
from dnal.space.copying import without_fabric
from dnal.space.explain import commonest_reasons
from dnal.space.patterns import Patterns, patterns
from dnal.space.running import check_changeable
from dnal.space.space import Space
from dnal.train.arrangement import ORDERS, arranged, fabric_of, workable
from dnal.train.checked import Classes, check_inputs, check_known, checked, classes_of
from dnal.train.checkpoint import Checkpoints
from dnal.train.enough import enough
from dnal.train.evaluate import Metric, accuracy
from dnal.train.fresh import check_resettable
from dnal.train.keeper import Keeper
from dnal.train.listener import Chorus, Listener
from dnal.train.place import Loader, check_length, first_batch, pair
from dnal.train.processes import shared_out
from dnal.train.rehearsal import check, check_gateable, examples
from dnal.train.reproducible import reproducible
from dnal.train.source import fingerprint
from dnal.train.weights import Loss

if TYPE_CHECKING:
    from dnal.latency import LatencyModel

PLACE = ("threads", "device", "precision", "memory_format", "processes")
"""Settings that belong to the machine: a job may go on with others, though not to the same last digit."""


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
        train, val, test: batches of (inputs (N, ...), targets), those that move something with a length. Training data
            move weights and, with joint steps, gates; ``val`` is for the log, and moves the gates with alternating
            steps; ``test`` is measured once, at the end.
        budget: for example "macs<=30%", "params<=1.2M,latency<=3ms" or "memory<=2MB"; "macs<=30%" by default in the
            budget recipe. The paper's recipe knows only ``lambda_``; given a budget too, it drops the lowest-ranked
            channels until it holds.
        recipe: "budget" (``dnal.methods.budget_recipe``) or "paper" (``dnal.methods.paper_recipe``).
        loss: (outputs, targets) -> scalar; cross entropy by default. It is tried on two examples of ``val`` first.
        metric: (network, loader) -> float, higher is better; it may change the network's mode. By default top-1
            accuracy, of logits (N, classes, ...) and class numbers (N, ...), where -100 does not count.
        base_is_trained: skip the first phase and train gently.
        method: who chooses: "dnal", or a name of :func:`dnal.methods.methods`. One that does not train leaves the
            epochs of the second phase to the third, so that all see equally many images.
        init: what is retrained: the "trained" weights that are left, or "fresh" ones, the control of what the weights
            were worth; by default what the method is made for: trained, but for "tas".
        example_inputs: a batch to trace the network with; by default the first images of ``val``.
        epochs: of the three phases, or one number shared out as by default: 40, 4, 56, and 40, 20, 40 for the paper's
            recipe and other methods.
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
    check_changeable(network)  # before Fabric moves it, which many of these networks refuse in words of their own
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
    check_length(train, "training")
    if steps == "alternating":
        check_length(val, "validation")
    alone, fabric = fabric is None, fabric_of(precision) if fabric is None else fabric
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
        with kept[0].believed():
            precision = kept[0].job["precision"] if precision == "auto" else precision
            if memory_format == "auto":
                memory_format = kept[0].job["memory_format"]
                ORDERS[memory_format]  # no other is believed
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        without_fabric(network),
        _brought_home(network, fabric) as home,
        reproducible(fabric.device),
    ):
        deployment = Deployment.of(deploy_batch, plans[0].backend)
        named = {"validation": val} if test is val else {"validation": val, "test": test}
        held_out = [pair(first_batch(loader, data)) for data, loader in named.items()]
        example = _example([inputs for inputs, _ in held_out], example_inputs).to(fabric.device)
        placed(network, fabric, example, torch.contiguous_format)  # as it is handed back, so that this is what is timed
        for (inputs, _), data in zip(held_out, named, strict=True):
            check_inputs(network, inputs, data)
        space = Space.of(network, example, include=patterns(include), exclude=patterns(exclude), depth=plans[0].depth)
        _check_removable(space, chosen_by_name=bool(include or exclude))
        _check_trained(network, plans[0])
        if plans[0].init == "fresh":
            check_resettable(network)
        loss, metric = loss or F.cross_entropy, metric or accuracy
        for batch in held_out:
            check(network, fabric.to_device(batch), loss, metric, distil=plans[0].distil)
        inputs, targets = fabric.to_device(examples(held_out[0]))
        if any(method_of(plan.method).gates for plan in plans):
            check_gateable(network, inputs)
        classes = classes_of(network, inputs, targets, loss)
        check_known(train, network, classes, "training")
        held_classes = Classes(classes.count) if classes is not None and metric is accuracy else None
        for data, loader in named.items():
            check_known(loader, network, held_classes, data)
        train = checked(enough(train, network, fabric.world_size), network, classes, "training")
        shares = shared_out(train, fabric)
        if not len(shares) and any(any(plan.epochs) for plan in plans):
            raise UserError(
                "the training data give no batch; lower the batch size, add images, or use fewer processes."
            )
        layout = workable(memory_format, network, inputs, targets, loss)
        everyone = Chorus(listeners)
        space, plans, model = _by_one(
            fabric, lambda own, known: priced(space, own, deployment, network, example, known, everyone), plans, latency
        )
        everyone.space(space, ranges(space, plans, model))
        if alone:
            precision, layout = arranged(fabric, precision, layout, network, space.full_cost["macs"], held_out[0], loss)
            fabric = fabric_of(precision)
        order = ORDERS["channels_last" if layout == "auto" else layout]
        torch.manual_seed(seed)
        decided = {
            "precision": str(fabric.strategy.precision.precision),
            "memory_format": "channels_last" if order is torch.channels_last and example.dim() == 4 else "contiguous",
            "threads": torch.get_num_threads(),
            "device": fabric.device.type,
            "processes": fabric.world_size,
            "input_shape": list(example.shape[1:]),
            "code": fingerprint(network),
            "variables": space.num_variables,
            "branches": space.num_branches,
            "include": list(patterns(include)),
            "exclude": list(patterns(exclude)),
        }
        settings = [plan.settings() | decided for plan in plans]
        for keeper, own in zip(keepers, settings, strict=True):
            keeper.check(_identity(own))
        _warn_of_other_code(keepers, str(decided["code"]))
        if model is not None:
            everyone.latency(model)
        for own, listener in zip(settings, listeners, strict=True):
            listener.start(own)

        placed(network, fabric, example, order)
        job = Job(
            fabric, order, network, space, model, example, deployment, shares, val, test,
            loss, metric,
        )  # fmt: skip
        train_base(job, plans[0], keepers, settings, everyone)
        base = copy.deepcopy(network).eval()  # the search trains on; the base is reported, and teaches
        results = []
        for plan, own, keeper, listener in zip(plans, settings, keepers, listeners, strict=True):
            learned = shrunk(job, base, plan, own, keeper, listener)
            learned.network.to(home)
            listener.finish(learned)
            results.append(learned)
        placed(network, fabric, example, torch.contiguous_format)
        return results


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


def _warn_of_other_code(keepers: list[Keeper], code: str) -> None:
    """Says that a job goes on with other code than it began with: weights of equal shapes would not tell."""
    if any(keeper.job.get("code", code) != code for keeper in keepers):
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
    if any(plan.epochs) and not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError("no parameter of this network has requires_grad; set it for those that may be trained.")


def _example(held_out: list[Any], given: Tensor | None) -> Tensor:
    """The user's example, or two of the first inputs held out: taking them from the training data would use up their
    first order."""
    if not all(isinstance(inputs, Tensor) for inputs in (*held_out, *([] if given is None else [given]))):
        raise UserError("learn needs batches of (inputs, targets) whose inputs are one tensor.")
    inputs: Tensor = held_out[0]
    return inputs[:2] if given is None else given


def _known(keeper: Keeper) -> LatencyModel | None:
    from dnal.latency import LatencyModel

    document = keeper.carried("latency")
    return None if document is None else LatencyModel.of(document)


def _folder(place: Checkpoints | str | Path | None) -> Checkpoints | None:
    return place if isinstance(place, Checkpoints) or place is None else Checkpoints(place)
