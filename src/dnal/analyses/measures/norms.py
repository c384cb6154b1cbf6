"""Measures made of the norms of a network's matrices and of its margin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from dnal.analyses.measures.spectral import spectral_norm


def norm_measures(
    matrices: Sequence[Tensor],
    initial: Sequence[Tensor] | None,
    margin: float,
    *,
    spectral: Sequence[float] | None = None,
    moved: Sequence[float] | None = None,
) -> dict[str, float]:
    """The measures of norms and distances of arXiv 1912.02178, by name, before they are set against the samples.

    Args:
        matrices: of the layers, (out, in) each, batch norm folded. initial: the same before training; None: not known,
            and what is measured from there is left out.
        margin: of the training data, in logits.
        spectral: the largest singular value of each layer; None: of its matrix. moved: the same of what training added.

    Returns:
        numbers by the names of :data:`dnal.analyses.measures.bank.BANK`.

    Examples:
        >>> import torch
        >>> found = norm_measures([torch.diag(torch.tensor([3.0, 4.0]))], None, 0.5)
        >>> found["param_norm"], found["fro_over_spec"], round(math.exp(found["log_prod_of_spec"]), 6)
        (25.0, 1.5625, 16.0)
    """
    depth, inverse = len(matrices), -2 * _log(margin)
    spec = [value**2 for value in (spectral or [spectral_norm(matrix) for matrix in matrices])]
    fro = [float(matrix.square().sum()) for matrix in matrices]
    log_spec, log_fro = (sum(map(_log, values)) for values in (spec, fro))
    found = {
        "l2": math.sqrt(sum(fro)), "inverse_margin": math.exp(inverse) if inverse < 700 else math.inf,
        "log_prod_of_spec": log_spec, "log_prod_of_spec_over_margin": log_spec + inverse,
        "fro_over_spec": sum(_over(a, b) for a, b in zip(fro, spec, strict=True)),
        "log_sum_of_spec": math.log(depth) + log_spec / depth,
        "log_sum_of_spec_over_margin": math.log(depth) + (log_spec + inverse) / depth,
        "log_prod_of_fro": log_fro, "log_prod_of_fro_over_margin": log_fro + inverse,
        "log_sum_of_fro": math.log(depth) + log_fro / depth,
        "log_sum_of_fro_over_margin": math.log(depth) + (log_fro + inverse) / depth,
        "param_norm": sum(fro),
    }  # fmt: skip
    found["log_spec_orig_main"] = found["log_prod_of_spec_over_margin"] + _log(found["fro_over_spec"])
    if initial is not None:
        apart = [own - start for own, start in zip(matrices, initial, strict=True)]
        distances = [float(matrix.square().sum()) for matrix in apart]
        ratio = sum(_over(a, b) for a, b in zip(distances, spec, strict=True))
        found |= {
            "l2_dist": math.sqrt(sum(distances)), "fro_dist": sum(distances),
            "log_spec_init_main": found["log_prod_of_spec_over_margin"] + _log(ratio),
            "dist_spec_init": sum(value**2 for value in (moved or [spectral_norm(matrix) for matrix in apart])),
        }  # fmt: skip
    return found


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _over(one: float, other: float) -> float:
    """A quotient; 0 where both are: of a layer that is all zeros."""
    return one / other if other else math.inf if one else 0.0
