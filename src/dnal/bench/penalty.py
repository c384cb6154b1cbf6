"""The method ``paper`` has no budget but a penalty: the lambda whose architecture comes nearest a share of the MACs."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path

from dnal.base.atomic import write_text
from dnal.base.errors import UserError
from dnal.base.reading import json_of
from dnal.bench.base import base_of
from dnal.bench.ground import Ground, folder_of, unmeasured
from dnal.bench.jobs import Penalty
from dnal.methods.paper import RATE, chosen, ranked
from dnal.methods.task import Task
from dnal.pipeline.plan import SEARCH
from dnal.selection.widths import WidthRule
from dnal.train.phase import Context, Phase
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.checkpointer import Checkpointer
from dnal.train.resume.data_position import DataPosition

LOW, HIGH = 1e-4, 1e-1
"""Where the bisection begins."""
LARGEST = 2**16
"""Bytes of what it found."""


def nearest(tried: dict[float, float]) -> float:
    """The lambda whose share of the limit is nearest one, on a logarithmic scale."""
    return min(tried, key=lambda lambda_: abs(math.log(max(tried[lambda_], 1e-9))))


def following(tried: dict[float, float]) -> float:
    """The next lambda to try: the geometric middle of those between which the limit lies."""
    low = max((lambda_ for lambda_, used in tried.items() if used > 1), default=LOW)
    high = min((lambda_ for lambda_, used in tried.items() if used <= 1), default=HIGH)
    return math.sqrt(low * high)


def find_penalty(ground: Ground, job: Penalty, out: Path, stop: Callable[[], bool]) -> None:
    """Bisection on the logarithm of lambda, without a teacher; its samples are given to the method for nothing.

    Raises:
        Stopped: when ``stop`` says so; its state is kept.
    """
    base, space, limit = base_of(ground, out), ground.channels, ground.limits(job.share)["macs"]
    train = ground.loaders.train
    checkpointer = Checkpointer([train], Checkpoints(folder_of(out, job.name)), stop=stop)
    while len(tried := _tried(checkpointer)) < ground.suite.bisections:
        lambda_ = following(tried)
        network = copy.deepcopy(base.network)
        if not checkpointer.resumed:
            train.load_state_dict(dict(base.loader))
            checkpointer.begin(
                "architecture", job={}, history=[], parts={"place": DataPosition(train)},
                carried={"tried": [list(pair) for pair in tried.items()]},
            )  # fmt: skip
        task = Task(
            network=network, space=space, budget="", limits={}, widths=WidthRule(),
            select=lambda scores, tighter=None: scores, val=ground.held_out,
            phase=Phase(SEARCH, ground.network.epochs[1], RATE),
            context=Context(ground.fabric, train, ground.loss, base.network, checkpointer=checkpointer),
            seed=ground.seed, validate=unmeasured,
        )  # fmt: skip
        s = ranked(task, lambda_)
        checkpointer.resumed = False
        used = float(space.costs["macs"](chosen(space, s, 1e4))) / limit
        assert checkpointer.tree is not None
        checkpointer.tree["carried"]["tried"] = [list(pair) for pair in (tried | {lambda_: used}).items()]
    write_text(penalty_file(out, job), json.dumps({"lambda": nearest(tried), "tried": list(tried.items())}) + "\n")
    Checkpoints(folder_of(out, job.name)).clear()


def penalty_of(out: Path, job: Penalty) -> float:
    """The lambda that was found.

    Raises:
        UserError: its file is damaged.
    """
    path, remedy = penalty_file(out, job), "remove it, and the same command finds it again"
    document = json_of(path, LARGEST, remedy=remedy)
    lambda_ = document.get("lambda") if isinstance(document, dict) else None
    if not isinstance(lambda_, float) or not 0 < lambda_ < math.inf:
        raise UserError(f"'{path}' holds no lambda; {remedy}.")
    return lambda_


def penalty_file(out: Path, job: Penalty) -> Path:
    return folder_of(out, job.name) / "lambda.json"


def _tried(checkpointer: Checkpointer) -> dict[float, float]:
    """lambda -> what its architecture uses of the limit, so far."""
    return {} if checkpointer.tree is None else dict(checkpointer.carried("tried"))
