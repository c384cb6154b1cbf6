"""How much noise in its weights a network bears, and the PAC-Bayes measures that follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Sized
from itertools import chain, repeat
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dnal.analyses.measures.explicit import Explicit
from dnal.space.surgery.running import call, in_eval
from dnal.train.batch import split
from dnal.train.evaluate import IGNORED
from dnal.train.loader import Loader
from dnal.train.outputs import logits_of
from dnal.train.rows import device_of, to_device

DRAWS = 10
"""Of the noise, at least."""
DEPTH = 15
"""Steps of bisection."""
LARGEST = 2.0
"""A sigma that is looked for is below."""
TARGET, NEAR = 0.1, 0.01
"""The accuracy that is lost, and how near it must come."""
EPS = 1e-3
"""Noise that a weight of 0 gets in units of the weights, where noise grows with them."""


class Bearable(NamedTuple):
    """The noise at which a tenth of the training accuracy is lost.

    Attributes:
        sigma: its standard deviation. reached: whether so much was lost below the largest sigma; else it is that one.
    """

    sigma: float
    reached: bool


def bearable_noise(
    explicit: Explicit, loader: Loader, accuracy: float, examples: int, *, magnitude: bool = False, seed: int = 0
) -> Bearable:
    """The standard deviation of normal noise on all weights at which 0.1 of the training accuracy is lost, up to 0.01.

    It is found by bisection in [0, 2]. Each batch is seen under a draw of its own, and the loader is gone through until
    there are ten, so that of many examples one pass tells as much as ten; the draws are the same at each sigma. A pass
    ends as soon as no batch that is left could change what it says.

    sigma is a standard deviation here. The reference code of Dziugaite et al. passes its square as one, so that its
    sigmas are the roots of ours.

    Args:
        explicit: the network, which is left as it was. loader: training batches as (inputs, class numbers), not
            augmented. accuracy: without noise. examples: targets that count.
        magnitude: noise of standard deviation sqrt(sigma^2 w^2 + eps^2) on a weight w, eps = 1e-3, instead of sigma.
    """
    own = [weight.detach().clone() for weight in explicit.weights]

    def noisy(sigma: float, draw: int) -> None:
        generator = torch.Generator(own[0].device).manual_seed(seed + draw)
        for weight, value in zip(explicit.weights, own, strict=True):
            noise = torch.randn(value.shape, generator=generator, device=value.device, dtype=value.dtype)
            reach: Tensor | float = (sigma**2 * value.square() + EPS**2).sqrt() if magnitude else sigma
            weight.copy_(value + reach * noise)

    try:
        with torch.no_grad():
            return _bisected(lambda sigma: _lost(explicit.network, loader, accuracy, examples, noisy, sigma))
    finally:
        with torch.no_grad():
            for weight, value in zip(explicit.weights, own, strict=True):
                weight.copy_(value)


def pac_bayes(
    weights: Sequence[Tensor], initial: Sequence[Tensor] | None, examples: int, sigma: float, magnitude: float
) -> dict[str, float]:
    """The PAC-Bayes measures of arXiv 1912.02178 (48, 49, 53, 56, 57, 61), by name, before they are set against the
    samples.

    Args:
        weights, initial: of the layers, after and before training. examples: m. sigma, magnitude: what
            :func:`bearable_noise` found, for plain noise and for noise that grows with the weights.

    Examples:
        >>> import torch
        >>> found = pac_bayes([torch.tensor([[3.0, 4.0]])], None, 100, 0.5, 0.5)
        >>> found["pacbayes_flatness"], found["pacbayes_orig"] == 25 + math.log(200) + 10
        (4.0, True)
    """
    w = torch.cat([weight.flatten() for weight in weights]).double()
    start = None if initial is None else torch.cat([weight.flatten() for weight in initial]).double()
    square, rest, rest_magnitude = (
        float(w.square().sum()),
        *(math.log(examples / one) + 10 if one else math.inf for one in (sigma, magnitude)),
    )
    found = {
        "pacbayes_flatness": 1 / sigma**2 if sigma else math.inf,
        "pacbayes_mag_flatness": 1 / magnitude**2 if magnitude else math.inf,
        "pacbayes_orig": square / (4 * sigma**2) + rest if sigma else math.inf,
    }
    if start is None:
        return found
    moved = (w - start).square()
    distance = float(moved.sum())

    def by_magnitude(reference: float) -> float:
        above = EPS**2 + (magnitude**2 + 1) * reference / len(w)
        return 0.25 * float((math.log(above) - (EPS**2 + magnitude**2 * moved).log()).sum()) + rest_magnitude

    return found | {
        "pacbayes_init": distance / (4 * sigma**2) + rest if sigma else math.inf,
        "pacbayes_mag_init": by_magnitude(distance), "pacbayes_mag_orig": by_magnitude(square),
    }  # fmt: skip


def _bisected(lost: Callable[[float], float]) -> Bearable:
    low, high = 0.0, LARGEST
    for step in range(DEPTH):
        sigma = (low + high) / 2
        drop = lost(sigma)
        if abs(drop - TARGET) < NEAR:
            return Bearable(sigma, True)
        if drop > TARGET:
            high = sigma
        else:
            low = sigma
            if step == 0 and lost(LARGEST) < TARGET:
                return Bearable(LARGEST, False)
    return Bearable((low + high) / 2, True)


def _lost(
    network: nn.Module,
    loader: Loader,
    accuracy: float,
    examples: int,
    noisy: Callable[[float, int], None],
    sigma: float,
) -> float:
    """The accuracy lost under noise, or, where that is enough to tell on which side of the target it is, a bound."""
    device, right, wrong, draw = device_of(network), 0, 0, 0
    passes = math.ceil(DRAWS / max(1, _length(loader)))
    total = passes * examples
    with in_eval(network):
        for batch in chain.from_iterable(repeat(loader, passes)):
            inputs, targets = to_device(split(batch), device)
            noisy(sigma, draw)
            draw += 1
            said = logits_of(call(network, inputs)).argmax(1)
            counts = targets != IGNORED
            hits = int(((said == targets) & counts).sum())
            right, wrong = right + hits, wrong + int(counts.sum()) - hits
            least, most = accuracy - 1 + wrong / total, accuracy - right / total
            if least > TARGET + NEAR:
                return least
            if most < TARGET - NEAR:
                return most
    return accuracy - right / max(1, right + wrong)


def _length(loader: Loader) -> int:
    """How many batches it has."""
    return len(loader) if isinstance(loader, Sized) else sum(1 for _ in loader)
