"""The weights that convolutions compute from their parameter (weight standardisation), to be looked at and replaced."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Visit = Callable[[str, Tensor], Tensor]
CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


class Convolutions(TorchFunctionMode):
    """Hands the weight of every convolution, with the name of the parameter of the module that runs it, to ``visit``,
    and lets the convolution use what comes back."""

    def __init__(self, network: nn.Module, visit: Visit) -> None:
        super().__init__()
        self.visit = visit
        self.running: list[str] = []
        for name, module in network.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self.running.append(f"{name}.weight"))
            module.register_forward_hook(lambda *_: self.running.pop() and None)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in CONVOLUTIONS and len(args) > 1 and self.running:
            args = (args[0], self.visit(self.running[-1], args[1]), *args[2:])
        return func(*args, **(kwargs or {}))


class WithWeights(nn.Module):
    """A network whose convolutions use these weights, by parameter name, instead of those that they compute. Its
    modules get hooks."""

    def __init__(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.mode = Convolutions(network, lambda name, own: weights.get(name, own))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with self.mode:
            return self.network(*args, **kwargs)


def computed_weights(network: nn.Module, run: Callable[[nn.Module], Any]) -> dict[str, Tensor]:
    """The weights that are computed, and not their parameter itself, by the parameter's name; of the same shape.
    ``run`` runs a network."""
    twin = copy.deepcopy(network)
    parameters = dict(twin.named_parameters(remove_duplicate=False))
    found: dict[str, Tensor] = {}

    def visit(name: str, weight: Tensor) -> Tensor:
        own = parameters.get(name)
        if own is not None and weight.shape == own.shape and not torch.equal(weight, own):
            found[name] = weight.detach().clone()
        return weight

    with torch.no_grad(), Convolutions(twin, visit):
        run(twin)
    return found
