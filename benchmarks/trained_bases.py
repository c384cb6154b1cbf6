"""The bases of the suite ``trained``, for comparisons of what to do with them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from dnal.bench.base import Trained, base_of, train_base, trained
from dnal.bench.ground import DataFolders, Ground
from dnal.bench.jobs import Base
from dnal.bench.suite import SUITES
from dnal.methods.obs import curve_scores
from dnal.repair.curves import RIDGE, curves_of
from dnal.repair.order import leaving
from dnal.repair.statistics import GRADED, SAMPLES, Ahead, Statistics, measured

NETWORKS = ("vgg16-quarter", "resnet20")


def grounds(cifar: str, bases: Path, seeds: Sequence[int]) -> Iterator[tuple[Ground, Trained]]:
    """Each network with each seed, and its base from the folder ``bases``; what is missing there is trained."""
    suite = SUITES["trained"]
    for seed, name in itertools.product(seeds, NETWORKS):
        ground = Ground(suite, suite.network(name), seed, DataFolders(data=(("cifar10", cifar),)))
        if not trained(bases, Base(name, seed)):
            train_base(ground, bases, lambda: False)
        yield ground, base_of(ground, bases)


def by_curves(ground: Ground, base: Trained, share: float) -> tuple[Statistics, Tensor]:
    """What was measured of a base, and the scores of its variables by curves, (num_gates,). The loader is where the
    base left it."""
    space, network = ground.channels, base.network
    ground.loaders.train.load_state_dict(dict(base.loader))
    examples, graded = Ahead(ground.loaders.train, SAMPLES), Ahead(ground.held_out, GRADED)
    statistics = measured(network, space, examples, ground.loss, graded)
    turn = leaving(space, curves_of(network, space, statistics, RIDGE), ground.limits(share))
    return statistics, curve_scores(network, space, turn)
