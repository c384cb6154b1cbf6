"""Penalties for data of several environments, so that what is learnt holds in others too: IRMv1, VREx, SD, Fishr."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dnal.base.errors import UserError


def nll(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss of each example, (N,): of one logit, (N,) or (N, 1), against 0 and 1, or of (N, classes) against
    classes."""
    if _is_single(logits):
        return F.binary_cross_entropy_with_logits(_flat(logits), targets.to(logits.dtype).reshape(-1), reduction="none")
    return F.cross_entropy(logits, targets, reduction="none")


def likeliest(logits: Tensor) -> Tensor:
    """The class that logits find likeliest, (N,): 0 or 1 of a single one."""
    return (_flat(logits) > 0).long() if _is_single(logits) else logits.argmax(1)


def irmv1(logits: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The penalty of invariant risk minimisation: mean over environments e of (d nll_e(s f) / ds at s = 1)^2.

    Args:
        logits, targets: of each environment, as :func:`nll` takes them.

    Returns:
        a scalar, to be added to the loss times lambda.

    Raises:
        UserError: no environment, or other numbers of logits and targets.

    Examples:
        >>> import torch
        >>> from dnal.techniques.rich import irmv1
        >>> float(irmv1([torch.zeros(2, 2)], [torch.tensor([0, 1])]).detach())
        0.0

    Source: Arjovsky et al., arXiv 1907.02893, as in the published code of arXiv 2203.15516 (on all examples of an
    environment, not on two halves).
    """
    _check(logits, targets)
    slopes = []
    for own, wanted in zip(logits, targets, strict=True):
        scale = torch.ones((), dtype=own.dtype, device=own.device, requires_grad=True)
        (slope,) = torch.autograd.grad(nll(own * scale, wanted).mean(), scale, create_graph=True)
        slopes.append(slope)
    return torch.stack(slopes).square().mean()


def vrex(losses: Sequence[Tensor]) -> Tensor:
    """The penalty of risk extrapolation: the variance of the environments' mean losses, by their number E and not by
    E - 1.

    Args:
        losses: a scalar of each environment.

    Returns:
        a scalar, to be added to the loss times lambda.

    Raises:
        UserError: no environment.

    Source: Krueger et al., arXiv 2003.00688 (recalled).
    """
    _check(losses, losses)
    return torch.stack(list(losses)).var(correction=0)


def spectral_decoupling(logits: Sequence[Tensor]) -> Tensor:
    """The penalty of spectral decoupling: the mean square of all logits of all environments, which need not be known.

    Args:
        logits: of each environment.

    Returns:
        a scalar, to be added to the loss times lambda.

    Raises:
        UserError: no environment.

    Source: Pezeshki et al., arXiv 2011.09468 (recalled).
    """
    _check(logits, logits)
    return torch.cat([each.reshape(-1) for each in logits]).square().mean()


def fishr(gradients: Sequence[Tensor]) -> Tensor:
    """The penalty of Fishr: mean over environments e of ||v_e - mean of all v||^2, where v_e is the variance over its
    examples of each component of their gradients, by their number.

    Args:
        gradients: of each environment, (N_e, P), those of the last layer (:func:`head_gradients`).

    Returns:
        a scalar, to be added to the loss times lambda.

    Raises:
        UserError: no environment.

    Source: Rame et al., arXiv 2109.02934 (recalled: without the moving average over steps of the published code).
    """
    _check(gradients, gradients)
    variances = torch.stack([each.var(0, correction=0) for each in gradients])
    return (variances - variances.mean(0)).square().sum(1).mean()


def head_gradients(features: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """The gradient of each example's loss with respect to weight and bias of a last linear layer, in closed form, so
    that a penalty on it costs no pass of its own.

    Args:
        features: what the layer reads, (N, F). logits: what it makes, (N,), (N, 1) or (N, classes). targets: as of
            :func:`nll`.

    Returns:
        (N, classes (F + 1)): first the weight's, row by row, then the bias's.
    """
    if _is_single(logits):
        wrong = torch.sigmoid(_flat(logits))[:, None] - targets.to(logits.dtype).reshape(-1, 1)
    else:
        wrong = logits.softmax(1) - F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return torch.cat([(wrong[:, :, None] * features[:, None]).flatten(1), wrong], 1)


def _is_single(logits: Tensor) -> bool:
    return logits.dim() == 1 or (logits.dim() == 2 and logits.shape[1] == 1)


def _flat(logits: Tensor) -> Tensor:
    return logits.reshape(-1)


def _check(one: Sequence[Tensor], other: Sequence[Tensor]) -> None:
    if not len(one) or len(one) != len(other):
        raise UserError(
            f"a penalty is of one environment or more, with as many targets, not of {len(one)} and {len(other)}."
        )
