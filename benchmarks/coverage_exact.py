"""Whether a compact network computes what the original computes with the closed channels' slices at zero.

The reference is plain indexing of the original's parameters; nothing here asks the package how it removes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode

import dnal
from coverage_told import tell
from coverage_weights import WithWeights, computed_weights

TOLERANCE = 1e-4
CLOSER = 100
"""Another choice of channels (the negative control) must be this many times farther away than the right one."""
NEARLY = 1e-2
"""A difference that rounding could make: it is measured again in double precision."""
Inputs = Tensor | tuple[Any, ...] | dict[str, Any]
LARGER = (32, 64)
"""Pixels to add for the second input size: the first that the network itself takes."""


@dataclass(frozen=True)
class Verdict:
    """``exact``, or the reason why not; ``difference`` relative to the largest output; the second input's pixels;
    ``macs``, how far what the space says of half the variables, what dnal counts and what torch counts on the compact
    network are apart, relative to the last."""

    exact: bool
    difference: float
    control: float
    second_size: int | None
    reason: str
    macs: float = float("nan")


def randomise(network: nn.Module) -> nn.Module:
    """Random numbers for what starts constant (statistics, scales, biases), where a wrong slice would not show. In
    place."""
    generator = torch.Generator().manual_seed(5)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)

    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(0.2 * noise(parameter))
        for module in network.modules():
            if isinstance(getattr(module, "running_var", None), Tensor):
                module.running_mean.add_(0.2 * noise(module.running_mean) * module.running_var.sqrt())
                module.running_var.mul_(1 + 0.5 * noise(module.running_var).tanh())
    return network


def half_of(space: dnal.Space, seed: int) -> dnal.Architecture:
    """Every variable stays or leaves by its own coin; one of each group stays at least."""
    stays = torch.rand(space.num_variables, generator=torch.Generator().manual_seed(seed)) < 0.5
    for group in space.groups:
        if not stays[group.variables].any():
            stays[group.variables[seed % group.width]] = True
    return dnal.Architecture.of(space, stays)


def called(network: nn.Module, inputs: Inputs) -> Any:
    """What a network returns for fresh copies of one tensor, a tuple of arguments or a dict of keywords."""
    own = tree_map_only(Tensor, torch.clone, inputs)
    if isinstance(own, Tensor):
        return network(own)
    return network(**own) if isinstance(own, dict) else network(*own)


def copied(network: nn.Module) -> nn.Module:
    """A deep copy in the mode of the original: some graph modules forget it."""
    twin = copy.deepcopy(network)
    for module, own in zip(network.modules(), twin.modules(), strict=True):
        own.training = module.training
    return twin


def with_zeros(network: nn.Module, space: dnal.Space, stays: Tensor, inputs: Inputs) -> nn.Module:
    """A copy of the original in which every parameter slice of a closed variable is zero.

    Where a convolution computes its weight from its parameter (weight standardisation), zeros in the parameter would
    also change what is left: there the weight that the original computes gets the zeros. Of weight norm it is the
    length that gets them: a direction of zeros, divided by its norm, would be no number. Where norms are open, those of
    the copy are told which channels exist.
    """
    twin = copied(network)
    computed = computed_weights(network, lambda twin: called(twin, inputs))
    with torch.no_grad():
        for name, parameter in twin.named_parameters(remove_duplicate=False):
            for dim, ids in enumerate(space.sources.get(name, ())):
                lengths = space.sources.get(name.removesuffix("original1") + "original0", ())
                scaled = name.endswith("weight.original1") and len(lengths) > dim and lengths[dim] is not None
                if ids is not None and not scaled:
                    closed = ((ids >= 0) & ~stays[ids.clamp(min=0)]).nonzero().squeeze(1)
                    computed.get(name, parameter).index_fill_(dim, closed, 0)
    tell(twin, network, space, stays)
    return WithWeights(twin, computed) if computed else twin


def outputs(network: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Every tensor that the network returns."""
    with torch.no_grad():
        return tensors_in(called(network, inputs))


def tensors_in(found: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists and dicts, and in objects there."""
    held = [
        vars(leaf) if hasattr(leaf, "__dict__") and not isinstance(leaf, Tensor) else leaf
        for leaf in tree_leaves(found)
    ]
    return [leaf for leaf in tree_leaves(held) if isinstance(leaf, Tensor)]


def difference(reference: list[Tensor], result: list[Tensor]) -> float:
    """The largest difference, relative to the largest number of each reference; infinite for other shapes or NaN."""
    if [r.shape for r in reference] != [r.shape for r in result] or not reference:
        return float("inf")
    return max(_apart_of(a, b) for a, b in zip(reference, result, strict=True))


def _apart_of(reference: Tensor, result: Tensor) -> float:
    if torch.equal(reference, result):  # also what is empty, all zero or infinite in a mask
        return 0.0
    if not (reference.is_floating_point() or reference.is_complex()):
        return float("inf")
    apart = torch.where(reference == result, 0, (reference - result).abs())
    value = (
        float(apart.max() / reference.abs()[reference.isfinite()].amax())
        if reference.isfinite().any()
        else float("inf")
    )
    return value if value == value else float("inf")


def checked(network: nn.Module, space: dnal.Space, pixels: int) -> Verdict:
    """Half of the variables off, two images, a second size where the network takes one, and a negative control.

    In single precision, and once more in double if that is not close enough: rounding is no wrong slice.
    """
    verdict = _checked(network, space, pixels)
    if not verdict.exact and verdict.difference < NEARLY:
        verdict = _checked(copied(network).double(), space, pixels)
    return verdict


def _checked(network: nn.Module, space: dnal.Space, pixels: int) -> Verdict:
    chosen, other = half_of(space, 1), half_of(space, 2)
    small = dnal.compact(network, chosen)
    if sum(p.numel() for p in small.parameters()) != float(space.costs["params"](chosen.open)):
        return Verdict(False, float("inf"), 0.0, None, "its parameters are not as many as the space says")
    images = _images(network, pixels)
    zero = with_zeros(network, space, chosen.open, images)
    second = next((pixels + more for more in LARGER if _takes(zero, pixels + more)), None)
    worst, reason = 0.0, ""
    for size in filter(None, (pixels, second)):
        apart, told = _apart(zero, small, _images(network, size))
        worst = max(worst, apart)
        reason = reason or (f"at {size} pixels {told}" if told else "")
    control, _ = _apart(with_zeros(network, space, other.open, images), small, images)
    if not reason and not (control > 0 and control >= CLOSER * worst):
        reason = f"the negative control differs by {control:.1e} only, the right choice by {worst:.1e}"
    return Verdict(not reason, worst, control, second, reason, _macs_apart(space, chosen, small, images))


def _macs_apart(space: dnal.Space, chosen: dnal.Architecture, small: nn.Module, images: Tensor) -> float:
    plain = copy.deepcopy(small).requires_grad_(False)  # torch's counter hooks into gradients, where there are none
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # torch counts nothing in its fused attention
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            outputs(plain, images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    counted = counter.get_total_flops() / 2 / len(images)
    told = float(space.costs["macs"](chosen.open)), float(dnal.macs(small, images)), counted
    return (max(told) - min(told)) / counted if counted else float("inf")


def _apart(zero: nn.Module, small: nn.Module, images: Tensor) -> tuple[float, str]:
    """How far the two networks are from each other, and in words if that is too far."""
    try:
        result = outputs(small, images)
    except Exception as error:  # whatever a wrong size leads to
        return float("inf"), f"it fails: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"[:160]
    apart = difference(outputs(zero, images), result)
    return apart, "" if apart <= TOLERANCE else f"the outputs differ by {apart:.1e} of the largest"


def _images(network: nn.Module, pixels: int) -> Tensor:
    dtype = next(network.parameters()).dtype
    return torch.randn(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(7)).to(dtype)


def _takes(network: nn.Module, pixels: int) -> bool:
    try:
        outputs(network, _images(network, pixels))
    except Exception:  # whatever a network says to a size it was not made for
        return False
    return True
