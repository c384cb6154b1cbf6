"""Co-teaching: each of two networks chooses, by small losses, what the other one learns from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError, described
from dnal.space.surgery.inputs import batch_size
from dnal.space.surgery.running import call, in_eval
from dnal.techniques.nested_dropout.nested import Nested
from dnal.techniques.rich.features import as_classes, picked
from dnal.techniques.rich.penalties import nll
from dnal.train.batch import split
from dnal.train.outputs import logits_of


def small_losses(losses: Tensor, forget: float) -> Tensor:
    """The numbers of the examples with the smallest losses, in their order.

    Args:
        losses: of each example, (N,). forget: the share that is left out, at least 0 and below 1: of N examples the
            whole part of (1 - forget) N stay, and one at least.

    Raises:
        UserError: another share.

    Examples:
        >>> import torch
        >>> from dnal.techniques.co_teaching import small_losses
        >>> small_losses(torch.tensor([0.1, 5.0, 0.3, 0.2, 0.4]), 0.4).tolist()
        [0, 2, 3]
    """
    try:
        share = float(forget)
    except (TypeError, ValueError, RuntimeError):
        share = math.nan
    if not 0 <= share < 1:
        raise UserError(
            f"forget is the share of examples that is left out, from 0 to below 1, such as 0.2, not {forget!r}."
        )
    kept = max(1, math.floor((1 - share) * len(losses) + 1e-9))
    return torch.sort(losses.detach(), stable=True).indices[:kept].sort().values


def co_teach(
    first: nn.Module,
    second: nn.Module,
    batch: Any,
    forget: float,
    *,
    nested: tuple[Nested, Nested] | None = None,
) -> tuple[Tensor, Tensor]:
    """The losses of a step of co-teaching, one for each network; you descend on both.

    The batch is cut in two halves. Each network says of its own half, in eval mode, which examples have small losses;
    then, in the modes that they have, the first network learns from those of the second half that the second one
    chose, and the second from those of the first half that the first one chose. A wrong label that one of them has
    learnt by heart has a large loss for the other, as long as they differ: give them other initial weights. Both
    mostly start from networks that are trained already.

    Costs two forward passes of half a batch without gradients beside the two networks' own training on half of it.

    Args:
        first, second: (N, ...) -> one logit, (N,) or (N, 1), or (N, classes).
        batch: inputs and targets (N,), N at least 2, or a mapping with ``labels``.
        forget: the share of each half that is left out, about that of the wrong labels.
        nested: nested dropout of both, whose ``keep`` counts where they choose; they learn with one k, drawn by the
            first one's.

    Returns:
        the loss of the first and of the second network, scalars.

    Raises:
        UserError: fewer than two examples, or too few for batch norm, targets that are no classes of the networks, or a
            share that is none.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.techniques import co_teach
        >>> one, other, x, y = nn.Linear(4, 3), nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
        >>> mine, its = co_teach(one, other, (x, y), forget=0.25)
        >>> (mine + its).backward()  # each network gets the gradient of its own

    Source: Chen et al., arXiv 2206.13140, with the published code; Han et al., arXiv 1804.06872 (recalled), where both
    choose from the whole batch.
    """
    inputs, targets = split(batch)
    size = batch_size(inputs)
    if size < 2 or not isinstance(targets, Tensor) or targets.shape[:1] != (size,):
        raise UserError("co-teaching halves a batch: it needs two examples or more, with a class each.")
    halves = torch.arange(size).tensor_split(2)
    networks, chosen = (first, second), []
    for network, half in zip(networks, halves, strict=True):
        with in_eval(network), torch.no_grad():
            chosen.append(half[small_losses(_losses(network, inputs, targets, half), forget).cpu()])
    with _one_k(nested):
        mine, its = (
            _losses(network, inputs, targets, rows).mean()
            for network, rows in zip(networks, reversed(chosen), strict=True)
        )
    return mine, its


def _losses(network: nn.Module, inputs: Any, targets: Tensor, rows: Tensor) -> Tensor:
    """The loss of each of these examples."""
    try:
        logits = logits_of(call(network, picked(inputs, rows)))
    except ValueError as error:
        if len(rows) > 1 or "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "one example of a half is left to learn from, and batch norm needs two or more in training; take a larger "
            "batch, or a smaller forget."
        ) from error
    if not isinstance(logits, Tensor) or logits.dim() not in (1, 2) or len(logits) != len(rows):
        raise UserError(
            f"co-teaching is of networks that return one logit for each example, (N,) or (N, 1), or (N, classes), not "
            f"{described(logits)} for {len(rows)} examples."
        )
    return nll(logits, _fitting(targets[rows], logits))


def _fitting(targets: Tensor, logits: Tensor) -> Tensor:
    """The targets as :func:`nll` takes them: classes, or as many probabilities as logits."""
    if targets.is_floating_point() and targets.numel() == logits.numel():
        if not bool(((targets >= 0) & (targets <= 1)).all()):
            raise UserError("the targets of co-teaching are classes, or probabilities from 0 to 1; look for others.")
        return targets
    if targets.numel() != len(targets):
        raise UserError(f"co-teaching needs one class per example, (N,), not {described(targets)}.")
    return as_classes(targets.reshape(-1), 2 if logits.numel() == len(logits) else logits.shape[1])


@contextmanager
def _one_k(nested: tuple[Nested, Nested] | None) -> Iterator[None]:
    """Both networks with the same k of features."""
    k = None if nested is None else nested[0].draw()
    before = [one.k for one in nested or ()]
    for one in nested or ():
        one.k = k
    try:
        yield
    finally:
        for one, own in zip(nested or (), before, strict=True):
            one.k = own
