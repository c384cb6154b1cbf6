"""grow: a larger network instead of a smaller one, in one call: the job of learn with a method that adds neurons."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from torch import nn

from dnal.costs.budget import Budget
from dnal.methods import Method
from dnal.methods.growing import grower
from dnal.pipeline.asked import Further
from dnal.pipeline.learn import learn
from dnal.pipeline.result import Learned
from dnal.train.listener import Listener
from dnal.train.loader import Loader
from dnal.train.resume.checkpoint import Checkpoints


def grow(
    network: nn.Module,
    train: Loader,
    val: Loader,
    test: Loader | None = None,
    budget: str | Budget | None = None,
    *,
    method: str | Method = "tiny",
    rounds: int | None = None,
    samples: int | None = None,
    checkpoints: Checkpoints | str | Path | None = None,
    listener: Listener | None = None,
    **shared: Unpack[Further],
) -> Learned:
    """Adds neurons to ``network`` where its loss misses them most, and returns it as an ordinary network.

    The network is trained, then in each round it grows by the same factor and is trained on, until the budget is used
    up. ``network`` itself is trained in place in the first phase and left whole.

    Args:
        train, val, test: as of :func:`dnal.learn`.
        budget: what the grown network may cost, above what ``network`` costs: "params<=400%", the default, "macs<=20M",
            or both with a comma.
        method: which neurons come: "tiny" (those that lower the expressivity bottleneck most), "gradmax" (those that
            compute nothing and have the largest gradient) or "random-neurons" (the control: random ones in the same
            places); with options such as "tiny:rounds=5", or an object.
        rounds: of growth and training; 3 by default.
        samples: training examples from which new neurons are made; half as many others decide how strong they are;
            512 by default.
        checkpoints, listener: as of :func:`dnal.learn`.
        shared: its further arguments; ``epochs`` are those of the base, of all rounds before the last, and of the last,
            and ``widths`` says by include and exclude what grows.

    Returns:
        as :func:`dnal.learn`: ``change`` is a :class:`dnal.changes.Growth`, ``network`` the grown network, and the
        records of rounds before the last say under "params" and "macs" how large it was, and under "bottleneck" what
        its layers could not follow before they grew.

    Raises:
        UserError: as :func:`dnal.learn`; or a method that adds no neurons, a budget that is no larger than the network,
            or a network in which nothing can grow.

    Examples:
        >>> data = dnal.data.loaders(dnal.data.load("digits"), 64)
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10))
        >>> grown = dnal.grow(network, *data, budget="params<=1200", epochs=(2, 4, 2))
        >>> [layer.out_features for layer in grown.network if isinstance(layer, nn.Linear)]
        [15, 10]
    """
    chosen = grower(method, rounds=rounds, samples=samples)
    return learn(network, train, val, test, budget, method=chosen, checkpoints=checkpoints, listener=listener, **shared)
