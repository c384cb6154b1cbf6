"""Copies of a network, and inputs, on which a comparison shows what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dnal.base.errors import lacks_memory
from dnal.space.surgery.inputs import Inputs, cloned
from dnal.space.surgery.running import call, copied, evaluating
from dnal.space.surgery.tensors import answers

logger = logging.getLogger(__name__)

LEAST_SCALE = 0.1
"""Of the numbers that are added to equal ones. A residual branch that is scaled by zero, or by a millionth, would not
show."""

HALF = (torch.float16, torch.bfloat16)


def randomised(network: nn.Module) -> nn.Module:
    """A copy whose constant parameters and batch statistics are random: a wrong slice of equal numbers would not
    show."""
    twin = copied(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            if (
                parameter.numel() > 1
                and parameter.is_floating_point()
                and bool((parameter == parameter.reshape(-1)[0]).all())
            ):
                scale = parameter.reshape(-1)[0].abs().clamp(min=LEAST_SCALE)
                parameter.add_(scale * (torch.rand_like(parameter) - 0.5))
        for module in twin.modules():
            mean, var = getattr(module, "running_mean", None), getattr(module, "running_var", None)
            if isinstance(mean, Tensor) and isinstance(var, Tensor):
                spread = var.sqrt()
                mean.add_(0.1 * spread * torch.randn_like(mean))
                var.mul_(0.5 + torch.rand_like(var))
    return twin


def redrawn(network: nn.Module) -> nn.Module:
    """A copy whose layers have drawn their weights again, as PyTorch draws them."""
    twin = copied(network)
    with torch.no_grad():
        for module in twin.modules():
            draw = getattr(module, "reset_parameters", None)
            if callable(draw) and type(module).__module__.startswith("torch.nn."):
                draw()
    return twin


def weightless(network: nn.Module) -> nn.Module:
    """A copy without its weights: the parameters of two dimensions and more are zero."""
    twin = copied(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.dim() > 1:
                parameter.zero_()
    return twin


def tries(network: nn.Module, inputs: Inputs) -> Iterator[tuple[nn.Module, Inputs, list[Tensor] | None]]:
    """The network, in single precision where that can be, with noise where it takes that: some want positive or whole
    numbers, or their own precision. The last one is as given. With each what it computes, where that is known."""
    single = _single_precision(network)
    for candidate, tried in ((single, noise(_single_precision_inputs(inputs))), (network, noise(inputs))):
        if (outputs := finite_outputs(candidate, tried)) is not None:
            yield candidate, tried, outputs
    yield network, cloned(inputs), None


def noise(inputs: Inputs) -> Inputs:
    """Normal numbers in the place of the inputs' own; whole numbers as they are."""
    return tree_map_only(  # type: ignore[no-any-return]
        Tensor, lambda t: torch.randn_like(t) if t.is_floating_point() else t.clone(), inputs
    )


def finite_outputs(network: nn.Module, inputs: Inputs) -> list[Tensor] | None:
    """What the network computes from these inputs; None where it refuses them or that is not finite."""
    try:
        with evaluating(network):
            torch.manual_seed(1)  # as in every pass that is compared
            outputs = answers(call(network, cloned(inputs)))
    except Exception as error:  # whatever the user's forward raises
        if lacks_memory(error):
            raise
        logger.debug("the network refuses noise: %s", error)
        return None
    return outputs if finite(outputs) else None


def finite(outputs: Iterable[Tensor]) -> bool:
    """Whether all of the numbers are."""
    return all(bool(out.isfinite().all()) for out in outputs)


def _single_precision_inputs(inputs: Inputs) -> Inputs:
    return tree_map_only(  # type: ignore[no-any-return]
        Tensor, lambda t: t.float() if t.dtype in HALF else t, inputs
    )


def _single_precision(network: nn.Module) -> nn.Module:
    """The network itself, or in single precision if it is in half: the tolerance is below a half's resolution."""
    return copied(network).float() if any(p.dtype in HALF for p in network.parameters()) else network
