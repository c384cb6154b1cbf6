"""The base: trained once per network and seed, kept, and shared by all methods."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dnal.base.errors import UserError
from dnal.bench.ground import Ground, folder_of
from dnal.bench.jobs import Base, part_of
from dnal.bench.spent import Spent
from dnal.data import fingerprint
from dnal.pipeline.plan import BASE, WARMUP
from dnal.train.phase import WHOLE, Context, Phase, run_phase
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.checkpointer import Checkpointer
from dnal.train.resume.data_position import DataPosition

DONE = "done"


@dataclass(frozen=True)
class Trained:
    """A base: the network in eval mode, its metric on the test data, what it took, and where its loader stands."""

    network: nn.Module
    metric: float
    seconds: float
    loader: dict[str, Any]


def train_base(ground: Ground, out: Path, stop: Callable[[], bool]) -> None:
    """Trains the base of a ground, or what is left of that, as :func:`dnal.learn` does; kept in ``out``.

    Raises:
        Stopped: when ``stop`` says so; its state is kept.
    """
    network, train = ground.start, ground.loaders.train
    checkpointer = Checkpointer([train], _checkpoints(ground, out), stop=stop)
    if checkpointer.phase == DONE:
        return
    position = DataPosition(train)
    if checkpointer.phase is None:
        checkpointer.begin(
            "base", job={}, history=[], parts={"network": network, "place": position}, carried={"spent": 0.0}
        )
    spent, history = Spent(checkpointer, ground.device), checkpointer.history
    around = Context(ground.fabric, train, ground.loss, None, spent, history, checkpointer)
    known, part = ground.network, part_of(ground.network, None, 0, ground.network.epochs)
    warmup = WARMUP if part == WHOLE else WARMUP * known.epochs[0] / sum(known.epochs)
    run_phase(Phase(BASE, known.epochs[0], ground.rate, warmup, part=part), network, around)
    seconds = spent.seconds
    carried = {
        "spent": seconds, "accuracy": ground.metric(network, ground.loaders.test), "data": fingerprint(ground.dataset),
    }  # fmt: skip
    checkpointer.begin(DONE, job={}, history=history, parts={"network": network, "place": position}, carried=carried)


def base_of(ground: Ground, out: Path) -> Trained:
    """The base that :func:`train_base` kept.

    Raises:
        UserError: it was trained on other data.
    """
    checkpointer = Checkpointer([], _checkpoints(ground, out))
    assert checkpointer.tree is not None
    assert checkpointer.phase == DONE
    if checkpointer.carried("data") != fingerprint(ground.dataset):
        raise UserError(
            f"the data '{ground.network.data}' are not those of the base in '{out}'; give the same, or choose another "
            "folder with --out."
        )
    network = copy.deepcopy(ground.start)
    network.load_state_dict(checkpointer.tree["parts"]["network"])
    loader: dict[str, Any] = checkpointer.tree["parts"]["place"]["loader"]
    return Trained(network.eval(), checkpointer.carried("accuracy"), checkpointer.carried("spent"), loader)


def trained(out: Path, job: Base) -> bool:
    """Whether this base is there."""
    return Checkpointer([], Checkpoints(folder_of(out, job.name))).phase == DONE


def _checkpoints(ground: Ground, out: Path) -> Checkpoints:
    return Checkpoints(folder_of(out, Base(ground.network.name, ground.seed).name))
