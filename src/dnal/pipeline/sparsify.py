"""sparsify: few weights instead of few channels, in one call: the job of learn with a method that keeps weights."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from torch import nn

from dnal.methods import Method
from dnal.methods.sparsity import sparsifier
from dnal.pipeline.asked import Further
from dnal.pipeline.learn import learn
from dnal.pipeline.result import Learned
from dnal.train.listener import Listener
from dnal.train.loader import Loader
from dnal.train.resume.checkpoint import Checkpoints


def sparsify(
    network: nn.Module,
    train: Loader,
    val: Loader,
    test: Loader | None = None,
    keep: float | str | None = None,
    *,
    method: str | Method = "magnitude",
    rounds: int | None = None,
    reset: str | None = None,
    checkpoints: Checkpoints | str | Path | None = None,
    listener: Listener | None = None,
    **shared: Unpack[Further],
) -> Learned:
    """Keeps few weights of ``network``, holds the others at zero, and returns it as an ordinary network.

    The network is trained, then in each round the same share of what is left is masked, the weights are put back that
    ``reset`` says, and what stays is trained. Masked weights are zero after every step of any optimizer. Channels that
    nothing but zeros read are removed in the end, which changes nothing that the network computes. ``network`` itself
    is trained in place in the first phase and left whole.

    Args:
        train, val, test: as of :func:`dnal.learn`.
        keep: the share of the weights of two or more dimensions that stays, such as 0.1 or "10%"; 10 % by default.
        method: which weights stay: "magnitude" (the largest of the whole network), "layer-magnitude" (the largest of
            each layer), "random" (the control, with the counts of "magnitude" in each layer), "gradual" (ever fewer
            while it trains) or "edge-popup" (learnt scores, weights of the start); with options such as
            "magnitude:early=0.1", or an object.
        rounds: of masking and training; 3 by default. "gradual" and "edge-popup" have none.
        reset: from which weights a round is trained: "early" (those of an early step of the base), "init" (those before
            its first step), "none" (those that are there). By default early, and none with ``base_is_trained``.
        checkpoints, listener: as of :func:`dnal.learn`.
        shared: its further arguments, except for the budget; ``reinitialize=True`` draws the weights that stay again,
            and ``epochs`` are those of the base, of all rounds before the last, and of the last.

    Returns:
        as :func:`dnal.learn`: ``change`` is a :class:`dnal.changes.Masks`, ``network`` the masked network, and each
        record of ``history`` says under "kept" which share of the weights was there.

    Raises:
        UserError: as :func:`dnal.learn`; or a method that keeps channels, or that has no rounds or reset.
    """
    chosen = sparsifier(method, keep=keep, rounds=rounds, reset=reset)
    return learn(network, train, val, test, method=chosen, checkpoints=checkpoints, listener=listener, **shared)
