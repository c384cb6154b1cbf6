"""The last linear layer of any network, found by the trace of its Space, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs


def last_linear(network: nn.Module, inputs: Inputs) -> str:
    """The path of the linear layer that runs the last product of a forward pass.

    Args:
        network: stays as it is. inputs: what it is called with.

    Raises:
        UserError: the last product is that of something else, or its layer runs more than once.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.techniques.rich import last_linear
        >>> last_linear(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2), nn.Flatten(0)), torch.randn(3, 4))
        '2'
    """
    return last_linear_of(network, Space.of(network, inputs, probe=False))


def last_linear_of(network: nn.Module, space: Space) -> str:
    """:func:`last_linear` of a network whose Space is known."""
    products = space.multiplied
    path = products[-1] if products else ""
    found = dict(network.named_modules()).get(path)
    if not isinstance(found, nn.Linear) or products.count(path) > 1:
        what = f"of '{path}' ({type(found).__name__})" if products and path else "there is no such product"
        raise UserError(
            "the last product of the network must be that of a linear layer which runs once, whose inputs are the "
            f"features; it is {what}. Let the network end with an nn.Linear."
        )
    return path


@contextmanager
def reading(network: nn.Module, path: str) -> Iterator[list[Tensor]]:
    """While the network runs: what the layer at ``path`` read last, as a list of one tensor (N, F).

    Raises:
        UserError: it reads something else than one row of features per example.
    """
    read: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if args[0].dim() != 2:
            raise UserError(
                f"'{path}' reads a tensor of {args[0].dim()} dimensions, and features are (N, F); give a network "
                "that says one class per example."
            )
        read[:] = [args[0]]

    hook = network.get_submodule(path).register_forward_pre_hook(keep)
    try:
        yield read
    finally:
        hook.remove()
