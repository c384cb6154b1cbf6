"""Scores of training examples: how much each matters, from networks that have just begun to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError, described
from dnal.space.surgery.running import call_with, in_eval
from dnal.train.outputs import task_loss
from dnal.train.rows import of_each

AT_ONCE = 64
"""Examples whose gradients are held together."""


def el2n(logits: Tensor, targets: Tensor) -> Tensor:
    """The error vector's L2 norm: ||softmax(logits) - onehot(target)||_2, from 0 to the root of 2.

    Args:
        logits: (N, classes), of a network in eval mode on images that are not augmented. targets: classes (N,).

    Returns:
        (N,).

    Raises:
        UserError: targets that are not one class per example, or none of the classes.

    Examples:
        >>> import torch
        >>> from dnal.techniques.data_diet import el2n
        >>> el2n(torch.zeros(1, 2), torch.tensor([0]))  # undecided between two classes
        tensor([0.7071])

    Source: Paul et al., arXiv 2107.07075, definition 2.
    """
    check_classes(logits, targets)
    wanted = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return torch.linalg.vector_norm(logits.softmax(1) - wanted, dim=1)  # type: ignore[no-any-return]


def grand(
    network: nn.Module, inputs: Any, targets: Tensor, *, loss: Callable[[Any, Any], Tensor] = task_loss
) -> Tensor:
    """The gradient's norm: ||d loss(example) / d weights||_2, over all trained parameters of the network.

    Args:
        network: is used in eval mode, in which an example's gradient does not depend on its batch, and stays as it is.
        inputs: any tree of tensors of N examples, as the network is called with. targets: (N, ...).
        loss: (outputs, targets) -> scalar, a mean over examples.

    Returns:
        (N,).

    Raises:
        UserError: nothing of the network is trained.

    Examples:
        >>> import torch
        >>> from dnal.techniques.data_diet import grand
        >>> grand(torch.nn.Linear(4, 3), torch.randn(5, 4), torch.randint(3, (5,))).shape
        torch.Size([5])

    Source: Paul et al., arXiv 2107.07075, definition 1; gradients by torch.func.
    """
    weights: dict[str, Tensor] = {
        name: value.detach() for name, value in network.named_parameters() if value.requires_grad
    }
    if not weights:
        raise UserError("the network has no weight that is trained, and so no gradient; let some train.")
    rest: dict[str, Tensor] = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    rest = {name: value for name, value in rest.items() if name not in weights}

    def of_one(weights: dict[str, Tensor], inputs: Any, target: Tensor) -> Tensor:
        one = tree_map_only(Tensor, lambda tensor: tensor.unsqueeze(0), inputs)
        return loss(call_with(network, {**weights, **rest}, one), target.unsqueeze(0))

    gradients = vmap(grad(of_one), in_dims=(None, 0, 0))
    squares = []
    with in_eval(network):
        for start in range(0, len(targets), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            found = gradients(weights, of_each(inputs, len(targets), rows), targets[rows])
            squares.append(torch.stack([each.flatten(1).square().sum(1) for each in found.values()]).sum(0))
    return torch.cat(squares).sqrt()


class Forgetting:
    """Counts how often each example is forgotten: right when it was last trained on, and wrong now.

    Args:
        examples: how many there are.

    Source: Toneva et al., arXiv 1812.05159; examples that are never learnt come first, as there.
    """

    def __init__(self, examples: int) -> None:
        self._right = torch.zeros(examples, dtype=torch.bool)
        self._learnt = torch.zeros(examples, dtype=torch.bool)
        self._events = torch.zeros(examples)

    def see(self, indices: Tensor, logits: Tensor, targets: Tensor) -> None:
        """A training batch: which examples it holds (N,), what the network says of them (N, classes), targets (N,)."""
        check_classes(logits, targets)
        right = (logits.argmax(1) == targets).cpu()
        self._events[indices] += (self._right[indices] & ~right).float()
        self._right[indices] = right
        self._learnt[indices] |= right

    def scores(self) -> Tensor:
        """(examples,): the counts; infinite for what was never right."""
        return torch.where(self._learnt, self._events, torch.full_like(self._events, torch.inf))


def check_classes(logits: Any, targets: Any) -> None:
    """Refuses what is not one class per example.

    Raises:
        UserError: saying what was given.
    """
    one = isinstance(logits, Tensor) and logits.dim() == 2 and isinstance(targets, Tensor)
    if not one or targets.shape != logits.shape[:1] or targets.is_floating_point():
        raise UserError(
            "examples are scored by logits (N, classes) and classes (N,), not by "
            f"{described(logits)} and {described(targets)}."
        )
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]:
        raise UserError(
            f"examples are scored by classes from 0 to {logits.shape[1] - 1}, not from {int(targets.min())} to "
            f"{int(targets.max())}."
        )
