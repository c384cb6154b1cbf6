"""Why more parameters can mean less regret: Bayesian mixtures over parameters, exactly, and the weight of a hypothesis.

The over-parameterised coin: its probability is the mean of K weights with a uniform prior. All K say the same things,
but the prior over parameters is no longer one over functions: the simple coin 1/2 has most of the parameters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from dnal.base.errors import UserError

Array = NDArray[np.float64]


class Bound(NamedTuple):
    """The bound of a regret, the resolution at which it is least, and the prior weight of the hypotheses that near."""

    value: float
    resolution: float
    weight: float


class Predicted(NamedTuple):
    """Probabilities of a 1 at new inputs, (Q,): by the mixture, and by the single hypothesis of largest posterior."""

    mixture: Array
    single: Array


def density(theta: ArrayLike, weights: int) -> Array:
    """The prior density of a coin that is the mean of ``weights`` uniform parameters.

    By the recursion of the cardinal B-spline, whose terms are all positive: far in the tails it keeps its digits,
    where the alternating sum of the textbooks has none and samples have no hit.

    Args:
        theta: (n,). weights: K, 1 or more.

    Examples:
        >>> density([0.25, 0.5], 2)
        array([1., 2.])
    """
    return weights * _irwin_hall(weights * np.asarray(theta, dtype=np.float64), weights)


def divergence(truth: float, theta: ArrayLike) -> Array:
    """D(truth || theta) of coins, in nats.

    Examples:
        >>> divergence(0.5, [0.5, 0.25]).round(3)
        array([0.   , 0.144])
    """
    other = np.asarray(theta, dtype=np.float64)
    _coin(truth)
    found: Array = truth * np.log(truth / other) + (1 - truth) * np.log((1 - truth) / (1 - other))
    return found


def regret(truth: float, weights: int, samples: int) -> float:
    """D(P^n || Q) / n, in nats per sample: what the mixture Q over the prior loses on n tosses of a coin.

    Q(x^n) = integral of theta^k (1 - theta)^(n - k) over :func:`density`, by quadrature on each of its polynomial
    pieces.

    Args:
        truth: of the coin, between 0 and 1. weights: K. samples: n.

    Source:
        Feder, Urbanke and Fogel, arXiv 2506.07661.

    Examples:
        >>> [[round(regret(truth, weights, 100), 4) for weights in (1, 16, 64)] for truth in (0.5, 0.9)]
        [[0.0159, 0.0023, 0.0004], [0.021, 0.1353, 0.2566]]
    """
    _coin(truth)
    if weights < 1 or samples < 1:
        raise UserError("there is at least one weight, and one sample.")
    exact = (samples + weights) // 2 + 1
    nodes, shares = np.polynomial.legendre.leggauss(min(exact, 32 + math.ceil(exact / weights)))
    theta = ((np.arange(weights)[:, None] + (nodes + 1) / 2) / weights).ravel()
    share = np.tile(shares / 2 / weights, weights)
    held = density(theta, weights) * share
    theta, logs = theta[held > 0], np.log(held[held > 0])
    heads = np.arange(samples + 1)[:, None]
    mixed = logsumexp(heads * np.log(theta) + (samples - heads) * np.log1p(-theta) + logs, axis=1)
    own = heads[:, 0] * math.log(truth) + (samples - heads[:, 0]) * math.log1p(-truth)
    ways = gammaln(samples + 1) - gammaln(heads[:, 0] + 1) - gammaln(samples - heads[:, 0] + 1)
    return float((np.exp(ways + own) * (own - mixed)).sum() / samples)


def weight_of(truth: float, weights: int, resolution: float) -> float:
    """The prior weight of all coins within ``resolution`` nats of the true one: large for the simple ones.

    Examples:
        >>> [round(weight_of(0.5, weights, 0.01), 2) for weights in (1, 16)]
        [0.14, 0.67]
    """
    if not resolution > 0:
        raise UserError(f"a resolution is a divergence above 0, not {resolution}.")
    _coin(truth)
    own = min(truth, 1 - truth)  # the prior is even; below 1/2 its tail keeps its digits
    tiny = np.finfo(np.float64).tiny

    def over(theta: float) -> float:
        return float(divergence(own, theta)) - resolution

    low = float(brentq(over, tiny, own, xtol=1e-300)) if over(tiny) > 0 else 0.0
    most = 1 - 1e-16
    high = float(brentq(over, own, most)) if over(most) > 0 else 1.0
    return max(0.0, _below(high, weights) - _below(low, weights))


def regret_bound(truth: float, weights: int, samples: int) -> Bound:
    """The least of resolution + log(1 / weight) / samples: simple hypotheses have small regret, whatever the
    parameters.

    Source:
        arXiv 2506.07661; the form is recalled, and derived in one line: Q is at least the weight of a ball times its
        mean.

    Examples:
        >>> [round(regret_bound(truth, 1, 1000).value, 4) for truth in (0.5, 0.9)]
        [0.004, 0.0045]
    """
    found = []
    for resolution in np.geomspace(1e-2 / samples, 2.0, 60).tolist():
        held = weight_of(truth, weights, resolution)
        if held > 0:
            found.append(Bound(resolution - math.log(min(held, 1.0)) / samples, resolution, held))
    return min(found)


def predict(log_likelihoods: Array, predictions: Array) -> Predicted:
    """The mixture over a finite class with a uniform prior over its members, each weighted by what it said of the
    samples.

    Args:
        log_likelihoods: (H,): of the samples under each hypothesis. predictions: (H, Q): their probabilities of a 1.

    Returns:
        the mean of probabilities, not of parameters or losses.

    Examples:
        >>> predict(np.log([0.9, 0.1]), np.array([[0.8], [0.2]])).mixture
        array([0.74])
    """
    if len(log_likelihoods) != len(predictions):
        raise UserError(f"{len(predictions)} hypotheses predict, and {len(log_likelihoods)} have likelihoods.")
    posterior = np.exp(log_likelihoods - logsumexp(log_likelihoods))
    return Predicted(posterior @ predictions, predictions[int(log_likelihoods.argmax())])


def _irwin_hall(x: Array, number: int) -> Array:
    """The density of a sum of uniform numbers in [0, 1], at any points."""
    if number < 1:
        raise UserError("there is at least one weight.")
    shifted = np.asarray(x)[..., None] - np.arange(number)
    found = ((shifted >= 0) & (shifted < 1)).astype(np.float64)
    for order in range(2, number + 1):
        own = shifted[..., : number - order + 1]
        found = (own * found[..., :-1] + (order - own) * found[..., 1:]) / (order - 1)
    return np.asarray(found[..., 0], dtype=np.float64)


def _below(theta: float, number: int) -> float:
    """The prior weight of coins below: the sum of the next spline's values, all positive."""
    if theta >= 1:
        return 1.0
    return float(_irwin_hall(np.asarray(number * theta - np.arange(number), dtype=np.float64), number + 1).sum())


def _coin(truth: float) -> None:
    if not 0 < truth < 1:
        raise UserError(f"a coin's probability is between 0 and 1, not {truth}.")
