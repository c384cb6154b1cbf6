"""The probabilities of a network's dropouts, which training may change and no state_dict has."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


def probabilities(network: nn.Module) -> dict[str, float]:
    """The probability of every dropout by the path of its module."""
    return {path: module.p for path, module in network.named_modules() if isinstance(module, _DropoutNd)}


def put_probabilities(network: nn.Module, found: Mapping[str, float]) -> None:
    """Gives the dropouts the probabilities that :func:`probabilities` found in a network of the same modules.

    Raises:
        ValueError: one of them is none, or is that of something else.
    """
    modules = dict(network.named_modules())
    for path, probability in found.items():
        module = modules.get(path)
        if not isinstance(module, _DropoutNd) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise ValueError(f"'{path}' is no dropout of such a probability")
        module.p = probability
