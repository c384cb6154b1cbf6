"""The bank of generalisation measures, and all of them of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from dnal.analyses.analysis import ahead
from dnal.analyses.features import Seen, run
from dnal.analyses.measures.explicit import Explicit, explicit, plan_of
from dnal.analyses.measures.norms import norm_measures
from dnal.analyses.measures.path import not_linear, path_norm
from dnal.analyses.measures.sharpness import LARGEST, Bearable, bearable_noise, pac_bayes
from dnal.analyses.measures.spectral import convolution_norm, spectral_norm
from dnal.base.errors import UserError
from dnal.space.surgery.inputs import Inputs
from dnal.train.batch import split
from dnal.train.loader import Loader
from dnal.train.rows import device_of, to_device


class Measure(NamedTuple):
    """A measure: its name, the number of its equation in arXiv 1912.02178, 0 where it has none, and what it is."""

    name: str
    equation: int
    what: str


BANK = (
    Measure("l2", 0, "length of all weights"),
    Measure("l2_dist", 0, "distance of the weights from the start"),
    Measure("params", 20, "number of parameters"),
    Measure("inverse_margin", 22, "1 / margin^2"),
    Measure("log_spec_init_main", 29, "(31) times the squared distances over the squared spectral norms"),
    Measure("log_spec_orig_main", 30, "(31) times (33)"),
    Measure("log_prod_of_spec_over_margin", 31, "product of the squared spectral norms / margin^2"),
    Measure("log_prod_of_spec", 32, "product of the squared spectral norms"),
    Measure("fro_over_spec", 33, "sum of the squared Frobenius norms over the squared spectral norms"),
    Measure("log_sum_of_spec_over_margin", 34, "d times the d-th root of (31)"),
    Measure("log_sum_of_spec", 35, "d times the d-th root of (32)"),
    Measure("log_prod_of_fro_over_margin", 36, "product of the squared Frobenius norms / margin^2"),
    Measure("log_prod_of_fro", 37, "product of the squared Frobenius norms"),
    Measure("log_sum_of_fro_over_margin", 38, "d times the d-th root of (36)"),
    Measure("log_sum_of_fro", 39, "d times the d-th root of (37)"),
    Measure("fro_dist", 40, "sum of the squared distances from the start"),
    Measure("dist_spec_init", 41, "sum of the squared spectral norms of the distances from the start"),
    Measure("param_norm", 42, "sum of the squared Frobenius norms"),
    Measure("path_norm_over_margin", 43, "path norm / margin^2"),
    Measure("path_norm", 44, "sum over paths of the product of the squared weights"),
    Measure("pacbayes_init", 48, "PAC-Bayes bound around the start"),
    Measure("pacbayes_orig", 49, "PAC-Bayes bound around 0"),
    Measure("pacbayes_flatness", 53, "1 / sigma^2, the noise at which a tenth of the accuracy is lost"),
    Measure("pacbayes_mag_init", 56, "the same bound for noise that grows with the weights, around the start"),
    Measure("pacbayes_mag_orig", 57, "around 0"),
    Measure("pacbayes_mag_flatness", 61, "1 / sigma'^2, of noise that grows with the weights"),
)
"""All measures."""


NO_NOISE = "No noise up to"
UNKNOWN_START = "The network before training is not known: what is measured from there is left out."


@dataclass(frozen=True)
class Measured:
    """What the bank says of a network.

    Attributes:
        values: by name, in the order of the bank, set against the samples: (value - log m) / 2 of the logarithms, the
            root of value / m of all others. NaN where this is no number; what could not be measured is not there.
        margin: the tenth percentile, over the training examples, of how far the true class's logit is ahead of the
            best other one. sigma, sigma_magnitude: the noise in its weights, plain and in units of each weight, at
            which a tenth of the training accuracy is lost.
        accuracy: on the training examples. examples: m.
        remarks: a sentence for everything that could not be measured.
    """

    values: Mapping[str, float]
    margin: float
    sigma: float
    sigma_magnitude: float
    accuracy: float
    examples: int
    remarks: tuple[str, ...] = ()


def generalisation(
    network: nn.Module, initial: nn.Module | None, loader: Loader, *, exact_spectral: bool = False, seed: int = 0
) -> Measured:
    """All measures of a trained classifier; larger ones are meant to go with a larger gap to the test accuracy.

    Batch norms are folded into the layers before them, in ``network`` and ``initial`` alike. Weights are the matrices
    and kernels by which the network multiplies, kernels as matrices (out, in times the kernel's size); biases, tables
    and scales of other norms are none. Definitions: Jiang et al., arXiv 1912.02178, and the code of Dziugaite et al.,
    arXiv 2010.11924, except for sigma (:func:`dnal.analyses.measures.sharpness.bearable_noise`).

    Args:
        network: any that the Space reads, with logits (N, classes); it stays as it is. initial: the same before
            training; None: not known, and measures from there are left out.
        loader: training batches as (inputs, class numbers), not augmented. It is gone through about ten times.
        exact_spectral: spectral norms (29-35, 41) of convolutions as maps of whole images, by FFT, instead of those of
            their kernels as matrices. seed: of the noise.

    Raises:
        UserError: no matrix, outputs that are no logits, ``initial`` of another shape, or an empty loader.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.analyses import generalisation
        >>> network = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> _ = network[0].weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> found = generalisation(network, None, [(torch.eye(2), torch.arange(2))])
        >>> found.margin, found.values["param_norm"], found.values["path_norm"]  # the root of 2 / m
        (1.0, 1.0, 1.0)
    """
    first = next(iter(loader), None)
    if first is None:
        raise UserError("the loader has no batch; give the training data.")
    inputs = to_device(split(first)[0], device_of(network))
    plan = plan_of(network, inputs)
    own = explicit(network, plan)
    remarks = [
        f"The scale of the batch norm '{path}' is in no measure, since it does not follow a product alone."
        for path in plan.left[:1]
    ]
    remarks += [f"Nor are those of {len(plan.left) - 1} others."] if len(plan.left) > 1 else []
    start = None if initial is None else _start(initial, own)
    if start is None:
        remarks.append(UNKNOWN_START)
    seen = run(own.network, loader, "training", None)
    accuracy, m = float(seen.correct.double().mean()), len(seen.targets)
    margin = margin_of(seen)
    spectral = _spectral(own, own.weights, exact_spectral)
    apart = None if start is None else [a - b for a, b in zip(own.weights, start.weights, strict=True)]
    moved = None if apart is None else _spectral(own, apart, exact_spectral)
    initials = None if start is None else start.matrices
    found = norm_measures(own.matrices, initials, margin, spectral=spectral, moved=moved)
    found["params"] = float(sum(parameter.numel() for parameter in network.parameters()))
    found |= _paths(own, inputs, margin, remarks)
    plain, grown = (
        bearable_noise(own, loader, accuracy, m, magnitude=magnitude, seed=seed) for magnitude in (False, True)
    )
    _remark_of_noise(plain, grown, remarks)
    found |= pac_bayes(own.matrices, initials, m, plain.sigma, grown.sigma)
    values = {one.name: against_samples(one.name, found[one.name], m) for one in BANK if one.name in found}
    return Measured(values, margin, plain.sigma, grown.sigma, accuracy, m, tuple(remarks))


def margin_of(seen: Seen) -> float:
    """The tenth percentile of how far the true class's logit is ahead, without its sign."""
    found: Tensor = ahead(seen)
    return abs(float(found.kthvalue(max(1, len(found) // 10)).values))


def against_samples(name: str, value: float, examples: int) -> float:
    """A measure set against the number m of training examples: (value - log m) / 2 of a logarithm (``log_``), the root
    of value / m of any other; NaN of a negative one.

    Examples:
        >>> against_samples("params", 400, 100)
        2.0
    """
    if name.startswith("log_"):
        return 0.5 * (value - math.log(examples))
    return math.sqrt(value / examples) if value >= 0 else math.nan


def _start(initial: nn.Module, own: Explicit) -> Explicit:
    start = explicit(initial, own.plan)
    for name, (weight, other) in zip(own.plan.weights, zip(own.weights, start.weights, strict=True), strict=True):
        if weight.shape != other.shape:
            raise UserError(
                f"'{name}' is {tuple(other.shape)} before training and {tuple(weight.shape)} after it; give the "
                "network before training in the same shape."
            )
    start.network.to(device_of(own.network))
    return start


def _spectral(own: Explicit, weights: Any, exact: bool) -> list[float]:
    found = []
    for name, weight in zip(own.plan.weights, weights, strict=True):
        kernel, how = weight.detach().double().cpu(), own.plan.convolved.get(name)
        if exact and how is not None:
            value = convolution_norm(
                kernel, how.sizes, stride=how.stride, dilation=how.dilation, groups=how.groups
            )  # fmt: skip
        else:
            value = spectral_norm(kernel.flatten(1))
        found.append(value)
    return found


def _paths(own: Explicit, inputs: Inputs, margin: float, remarks: list[str]) -> dict[str, float]:
    ran = own.plan.ran
    closed = not_linear(ran)
    if closed:
        where = next(module for name, module in ran.items() if name in closed)
        remarks.append(f"There is no path norm of this network: no path runs through {where}.")
        return {}
    try:
        found = path_norm(own.network, inputs)
    except UserError as error:
        remarks.append(f"The path norm is left out: {error}")
        return {}
    return {"path_norm": found, "path_norm_over_margin": found / margin**2 if margin else math.inf}


def _remark_of_noise(plain: Bearable, grown: Bearable, remarks: list[str]) -> None:
    for found, what in zip((plain, grown), ("", ", in units of each weight,"), strict=True):
        if not found.reached:
            remarks.append(
                f"{NO_NOISE} {LARGEST:g}{what} takes a tenth off the training accuracy; {LARGEST:g} stands for it."
            )


def names_of(*found: Measured) -> list[str]:
    """The measures that all of these have, in the order of the bank."""
    kept = [one.values.keys() for one in found]
    return [one.name for one in BANK if all(one.name in each for each in kept)]
