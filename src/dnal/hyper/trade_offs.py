"""One hypernetwork for a whole trade-off: the weights of a network at every share of its MACs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.architecture.architecture import Architecture, check_shapes
from dnal.architecture.compact import compact
from dnal.base.errors import UserError
from dnal.hyper.network import Hypernetwork, hypernetwork, with_weights
from dnal.methods.magnitude import l1_scores
from dnal.methods.uniform import uniform_scores
from dnal.selection.select import select
from dnal.settings import DEFAULT_LR
from dnal.space.patterns import Patterns, patterns
from dnal.space.space import Space
from dnal.space.surgery.remove import Kept, removed, sliced
from dnal.space.surgery.running import call, copied
from dnal.space.surgery.substitute import call_with, slots
from dnal.train.batch import split
from dnal.train.loader import Loader, check_length, endless
from dnal.train.norm_statistics import renew_statistics
from dnal.train.optimizers import SGD, MakeOptimizer, optimizer_of
from dnal.train.rows import to_device
from dnal.train.schedule import cosine
from dnal.train.step import set_lr

LEAST = 0.1
"""The smallest share of the MACs."""
HIDDEN = (16, 32)
"""Units of the hypernetwork: a single number needs few, and the last layer has so many times the network's weights."""
LEVELS = 10
"""Shares that are trained, evenly from the least to 1."""
HELD = 64
"""Shares whose smaller networks are kept between steps."""


class TradeOff(nn.Module):
    """A network whose weights depend on how much of it is left: for a training loop of your own.

    Channels leave in the order of a fixed ranking. At each share a hypernetwork predicts the weights of the whole
    network, of which those of the channels that stay are used, in a network of that size. At the start they are the
    network's own, at every share.

    Args:
        network: new or trained; stays as it is. space: of it; branches stay.
        scores: (num_gates,), higher stays longer; None: the largest L1 norms, the same share of every group.
        least: smallest share of the MACs, above 0.
        predicted: what depends on the share, as patterns of names; all else is trained as one set of weights for every
            share. (): nothing, the control.
        hidden: units of the hypernetwork.

    Attributes:
        hyper: the hypernetwork, with the input ``share``; None where nothing is predicted.

    Raises:
        UserError: the space is of another network, which also may compute its weights (weight standardisation), or
            ``least`` cannot be kept.

    Examples:
        >>> import dnal, torch
        >>> from torch import nn
        >>> network, images = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), torch.randn(2, 1, 8, 8)
        >>> trade = dnal.hyper.TradeOff(network, dnal.Space.of(network, images), least=0.2)
        >>> trade(0.5, images).shape  # at half of the MACs
        torch.Size([2, 4, 4, 4])
        >>> trade.compact(0.5, [(images, torch.zeros(2))])[0]
        Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1))
    """

    def __init__(
        self,
        network: nn.Module,
        space: Space,
        *,
        scores: Tensor | None = None,
        least: float = LEAST,
        predicted: Patterns = "*",
        hidden: Sequence[int] = HIDDEN,
    ) -> None:
        super().__init__()
        check_shapes(network, space.shapes, "the space")
        if space.baked:
            raise UserError(
                f"'{space.baked[0]}' computes its weight, which no hypernetwork can predict for fewer channels; make "
                "such layers plain first."
            )
        self.network, self.space = copied(network), space
        self._trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        self._scores = uniform_scores(space, l1_scores(network, space)) if scores is None else scores.detach().clone()
        if len(self._scores) == space.num_gates:  # of another length it is refused below
            self._scores[space.num_variables :] = math.inf
        self.least = _share(least)
        self.architecture(least)
        self.hyper: Hypernetwork | None = None
        if patterns(predicted):
            self.hyper = hypernetwork(network, {"share": ()}, predicted=predicted, hidden=hidden, spread=0.0)
            for name in self.hyper.names:
                self.network.get_parameter(name).requires_grad_(False)
        self._smaller: dict[float, _Smaller] = {}

    def architecture(self, share: float) -> Architecture:
        """Which channels are there at a share of the MACs, from ``least`` to 1.

        Raises:
            UserError: it is no such share.
        """
        share = _share(share)
        if share < self.least:
            raise UserError(f"this trade-off begins at {self.least:g} of the MACs, and {share:g} is less; take more.")
        return Architecture.of(
            self.space, select(self.space, self._scores, {"macs": share * self.space.full_cost["macs"]})
        )

    def weights(self, share: float) -> dict[str, Tensor]:
        """All parameters of the whole network at a share, by name, with gradients."""
        own: dict[str, Tensor] = dict(self.network.named_parameters())
        return own if self.hyper is None else {**own, **self.hyper(share=share)}

    def forward(self, share: float, *args: Any, **kwargs: Any) -> Any:
        """What the network says with a share of its MACs. In eval mode batch norms have the statistics of the network
        that was given, or of training at this share: measure what :meth:`compact` returns.

        Args:
            share: from ``least`` to 1. args, kwargs: the network's inputs.
        """
        share = _share(share)
        smaller = self._at(share)
        smaller.network.train(self.training)
        weights = self.weights(share)
        own = {name: sliced(weights[name], smaller.kept[name]) for name in smaller.places}
        return call_with(smaller.network, own, smaller.places, args, kwargs)

    def compact(self, share: float, batches: Iterable[Any]) -> nn.Module:
        """An ordinary network of this size with its weights.

        Args:
            share: of the MACs, from ``least`` to 1. batches: for new statistics of its batch norms, as a loader gives
                them; targets are not read.
        """
        architecture = self.architecture(share)
        with torch.no_grad():
            whole = with_weights(self.network, self.weights(share))
        for name, parameter in whole.named_parameters():
            parameter.requires_grad_(name in self._trained)
        result = whole if bool(architecture.open.all()) else compact(whole, architecture)
        renew_statistics(result, batches)
        return result

    def _at(self, share: float) -> _Smaller:
        """A network of the size that this share has, whose parameters are replaced in each pass."""
        if share not in self._smaller:
            kept = self.architecture(share).kept
            network = removed(self.network, kept)
            names = [name for name, _ in network.named_parameters()]
            if len(self._smaller) >= HELD:
                del self._smaller[next(iter(self._smaller))]
            self._smaller[share] = _Smaller(network, kept, slots(network, names))
        return self._smaller[share]

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self._smaller.clear()  # they follow to another device or type when they are made again
        return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]


class _Smaller(NamedTuple):
    """A smaller network, what it keeps, and where each of its parameters stands."""

    network: nn.Module
    kept: Kept
    places: dict[str, list[str]]


def trade_off(
    network: nn.Module,
    space: Space,
    train: Loader,
    epochs: int,
    *,
    scores: Tensor | None = None,
    least: float = LEAST,
    levels: int = LEVELS,
    predicted: Patterns = "*",
    hidden: Sequence[int] = HIDDEN,
    lr: float = DEFAULT_LR / 2,
    optimizer: str | MakeOptimizer = SGD,
    loss: Callable[[Any, Any], Tensor] = F.cross_entropy,
    seed: int = 0,
) -> TradeOff:
    """Trains one hypernetwork that gives the weights of a network at every share of its MACs.

    Each batch is seen by the network at one share, drawn from ``levels`` between ``least`` and 1; the rate follows a
    cosine. A step costs that of the smaller network, and one on the hypernetwork, whose last layer has ``hidden[-1]``
    times as many weights as it predicts: ``predicted="*.bn1"`` or the like makes it small.

    Args:
        network: mostly trained, such as ``learned.base``; stays as it is. space: of it.
        train: batches as a loader gives them. epochs: of training.
        scores, least, predicted, hidden: as :class:`TradeOff`.
        levels: how many shares are trained, evenly spaced; others between them can be asked for too.
        lr: the highest. optimizer: a name of `--optimizer`, or a function of network and rate. With "sgd" weights in
            the hypernetwork's matrices decay, and those that they are added to do not.
        loss: (outputs, targets) -> scalar.
        seed: of the hypernetwork and of all draws; the global random state stays as it is.

    Raises:
        UserError: as :class:`TradeOff`; fewer than one level or epoch; or the loss is no number any more.

    Examples:
        >>> import dnal
        >>> train, _, _ = dnal.data.loaders(dnal.data.load("digits", limit_train=128), 64)
        >>> network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
        >>> space = dnal.Space.of(network, next(iter(train))[0])
        >>> found = dnal.hyper.trade_off(network, space, train, epochs=1, least=0.2)
        >>> small = found.compact(0.3, train)
        >>> 0.2 < dnal.macs(small, next(iter(train))[0][:1]) / space.full_cost["macs"] <= 0.3
        True

    Source: the hypernetwork is that of arXiv 2304.07645; to condition it on the share of MACs is ours.
    """
    if min(epochs, levels) < 1 or not (lr > 0 and math.isfinite(lr)):
        raise UserError(f"epochs and levels are 1 or more and lr is above 0, not {epochs}, {levels} and {lr}.")
    check_length(train, "training")
    make = optimizer_of(optimizer)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = TradeOff(network, space, scores=scores, least=least, predicted=predicted, hidden=hidden)
        shares = torch.linspace(least, 1, levels, dtype=torch.float64).tolist() if levels > 1 else [least]
        optimizing = make(found, lr)
        device = next(found.parameters()).device
        steps = epochs * len(train)
        found.train()
        for step, batch in zip(range(steps), endless(train), strict=False):
            inputs, targets = to_device(split(batch), device)
            share = shares[int(torch.randint(levels, ()))]
            set_lr(optimizing, cosine(step / steps, lr))
            optimizing.zero_grad()
            value = loss(call(partial(found, share), inputs), targets)
            if not math.isfinite(float(value.detach())):
                raise UserError(f"the loss became {float(value.detach())} in step {step + 1}; take a smaller lr.")
            value.backward()
            optimizing.step()
    return found


def _share(value: float) -> float:
    if not 0 < value <= 1:
        raise UserError(f"a share of the MACs is a number above 0, at most 1, not {value!r}.")
    return float(value)
