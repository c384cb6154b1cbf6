"""A row of the table: choose, retrain, measure once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnal.base.atomic import write_text
from dnal.base.version import VERSION
from dnal.bench import baselines
from dnal.bench.base import Trained, base_of
from dnal.bench.choosing import again, choose, teaching, trains
from dnal.bench.ground import Ground, folder_of, handed_out
from dnal.bench.jobs import Impossible, Penalty, Run, new_weights, part_of, phases
from dnal.bench.penalty import penalty_of
from dnal.bench.spent import Spent
from dnal.bench.suite import BASELINES
from dnal.costs.counted import params
from dnal.latency.backends.backend import cpu_name
from dnal.pipeline.plan import RETRAIN, WARMUP
from dnal.space.space import macs
from dnal.train.loop import Diverged
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.checkpointer import Checkpointer
from dnal.train.resume.data_position import DataPosition
from dnal.train.setup.reinitialize import reset

ROW = "row.json"
DIVERGED: dict[str, Any] = {"accuracy": -1.0, "samples": 0}
"""Of a retraining that did; a metric may be lower, but samples it has."""


def run_row(ground: Ground, job: Run, rates: Sequence[float], out: Path, stop: Callable[[], bool]) -> None:
    """Makes the row of a run, or what is left of it, in ``out``.

    Args:
        rates: of the retraining, none: those of the ground; the one that is best on the validation data counts, and is
            tested.

    Raises:
        Impossible: every rate diverges.
        Stopped: when ``stop`` says so; its state is kept.
    """
    entry, train = ground.suite.entry(job.entry), ground.loaders.train
    rates = rates or ground.rates(entry)
    base, limit = base_of(ground, out), ground.limits(job.share)["macs"]
    epochs = phases(ground.network, entry, trains(entry))
    lambda_ = penalty_of(out, Penalty(job.network, job.share)) if entry.method == "paper" else None
    checkpointer = Checkpointer([train], Checkpoints(folder_of(out, job.name)), stop=stop)
    if checkpointer.phase is None:
        if not entry.without_base:
            train.load_state_dict(dict(base.loader))
        torch.manual_seed(job.seed)
        checkpointer.begin(
            "architecture", job={}, history=[], parts={"place": DataPosition(train)}, carried={"spent": 0.0}
        )  # fmt: skip
    if checkpointer.phase == "architecture":
        _choose(ground, base, job, epochs, lambda_, rates[0], checkpointer)
    while True:
        tried, rate = checkpointer.carried("tried"), rates[len(checkpointer.carried("tried"))]
        small, own = _retrained(ground, base, job, checkpointer.carried("epochs")[2], rate, checkpointer)
        tried, best = [*tried, own], checkpointer.carried("best")
        if _rank(own) > max(map(_rank, tried[:-1]), default=_rank(DIVERGED)):
            best = copy.deepcopy(small.state_dict())
        if len(tried) == len(rates):
            break
        _begin(ground, _phase(rates[len(tried)]), checkpointer, {"tried": tried, "best": best})
    winner = max(tried, key=_rank)
    if not winner["samples"]:
        raise Impossible(f"{job.name} diverges at every learning rate of {', '.join(map(str, rates))}.")
    small.load_state_dict(best)
    cost = macs(small, ground.example)
    row = {
        "suite": ground.suite.name, "network": job.network, "model": ground.network.model,
        "data": ground.network.data, "input": "x".join(map(str, ground.network.input_shape)),
        "images": ground.images, "share": job.share, "seed": job.seed, "taught": int(job.taught),
        "entry": job.entry, "method": entry.method, "reinitialize": int(entry.reinitialize),
        "lambda": "" if lambda_ is None else lambda_, "epochs": "+".join(map(str, checkpointer.carried("epochs"))),
        "batch": ground.network.batch, "rate": winner["rate"],
        "rates_tried": " ".join(f"{each['rate']:g}={each['accuracy']:.4f}" for each in tried) if len(tried) > 1 else "",
        "accuracy": round(ground.metric(small, ground.loaders.test), 6), "val_accuracy": round(winner["accuracy"], 6),
        "base_accuracy": round(base.metric, 6), "macs": cost, "base_macs": ground.space.full_cost["macs"],
        "used": round(cost / limit, 6), "params": params(small),
        "samples": winner["samples"], "choosing_samples": checkpointer.carried("samples"),
        "base_seconds": round(base.seconds, 2), "choosing_seconds": round(checkpointer.carried("choosing"), 2),
        "retrain_seconds": round(winner["seconds"], 2), "widths": _widths(small), "dnal": VERSION,
        "torch": torch.__version__, "device": machine(ground.device), "precision": ground.suite.precision,
        "baseline": baselines.version(entry.method) if entry.method in BASELINES else "",
        "metric": ground.dataset.objective.figure,
    }  # fmt: skip
    write_text(row_file(out, job), json.dumps(row) + "\n")
    Checkpoints(folder_of(out, job.name)).clear()


def row_file(out: Path, job: Run) -> Path:
    return folder_of(out, job.name) / ROW


def _choose(
    ground: Ground,
    base: Trained,
    job: Run,
    epochs: tuple[int, int, int],
    lambda_: float | None,
    rate: float,
    checkpointer: Checkpointer,
) -> None:
    """The first half of a run; what it leaves is in the checkpointer, which begins the second.

    A method that does not train may look at the training data: whole epochs of that are taken from its retraining, and
    of an epoch that was begun the retraining sees what is left.
    """
    entry, train = ground.suite.entry(job.entry), ground.loaders.train
    checkpointer.resume("architecture", {"place": DataPosition(train)}, [])
    before = 0 if entry.without_base else ground.network.epochs[0] * len(train)
    spent = Spent(checkpointer, ground.device)
    small, shapes = choose(
        ground, base, entry, share=job.share, taught=job.taught, lambda_=lambda_, epochs=epochs[1], listener=spent,
        checkpointer=checkpointer,
    )  # fmt: skip
    if entry.reinitialize:
        reset(small, job.seed)
    batches = handed_out(train) - before
    looked = batches // len(train) - epochs[1]
    samples = (1 + entry.held_out) * ground.samples(batches) + entry.looks * ground.images
    carried: dict[str, Any] = {
        "shapes": shapes, "small": small.state_dict(), "place": train.state_dict(), "tried": [], "best": None,
        "choosing": spent.seconds, "samples": samples, "epochs": [epochs[0], epochs[1] + looked, epochs[2] - looked],
    }  # fmt: skip
    assert checkpointer.tree is not None
    checkpointer.tree["carried"] |= carried
    _begin(ground, _phase(rate), checkpointer, {})


def _begin(ground: Ground, phase: str, checkpointer: Checkpointer, more: dict[str, Any]) -> None:
    """Begins a retraining: all of them see the same batches."""
    assert checkpointer.tree is not None
    carried = {**checkpointer.tree["carried"], **more, "spent": 0.0}
    train = ground.loaders.train
    train.load_state_dict(dict(carried["place"]))
    torch.manual_seed(ground.seed)
    checkpointer.begin(phase, job={}, history=[], parts={"place": DataPosition(train)}, carried=carried)


def _retrained(
    ground: Ground, base: Trained, job: Run, epochs: int, rate: float, checkpointer: Checkpointer
) -> tuple[nn.Module, dict[str, Any]]:
    """What was chosen, retrained at one rate, and how that went."""
    entry, train = ground.suite.entry(job.entry), ground.loaders.train
    small = again(ground, checkpointer.carried("shapes"))
    small.load_state_dict(checkpointer.carried("small"))
    ground.placed(small)
    spent = Spent(checkpointer, ground.device)
    part = part_of(ground.network, entry, 2, checkpointer.carried("epochs"))
    try:
        phase = Phase(
            _phase(rate), epochs, rate, WARMUP if new_weights(entry) else 0.0, 
            teaching(ground.suite, job.taught, RETRAIN), part=part,
        )  # fmt: skip
        around = Context(ground.fabric, train, ground.loss, base.network, spent, checkpointer=checkpointer)
        run_phase(phase, small, around)
    except Diverged:
        return small, {"rate": rate, "seconds": spent.seconds, **DIVERGED}
    seconds, samples = spent.seconds, ground.samples(handed_out(train))
    samples += checkpointer.carried("samples") // 2 if entry.held_out else entry.looks * ground.images
    return small.eval(), {
        "rate": rate, "accuracy": ground.metric(small, ground.loaders.val), "seconds": seconds, "samples": samples,
    }  # fmt: skip


def _rank(tried: dict[str, Any]) -> tuple[bool, float]:
    """By what retrainings are compared: whatever diverged is behind all others."""
    return tried["samples"] > 0, tried["accuracy"]


def _phase(rate: float) -> str:
    return f"retrain at {rate:g}"


def _widths(network: nn.Module) -> str:
    """Outputs of every convolution and linear layer, in the order of the network."""
    return " ".join(
        str(module.weight.shape[0]) for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    )


def machine(device: str) -> str:
    """The kind of machine, in words; ``device``: cpu or cuda."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{cpu_name()}, {torch.get_num_threads()} thread"
