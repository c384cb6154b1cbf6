"""Layers that compute their weight from a parameter (weight standardisation), made plain.

A standardised weight has another mean when an input channel leaves, so that such a layer can only lose channels with
the weight it has computed. Making it plain does not change what the network computes; it does change how it trains.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

from dnal.base.errors import UserError
from dnal.space.copying import deep_copy

logger = logging.getLogger(__name__)

CLOSE = 1e-5
PLAIN: dict[str, type[nn.Module]] = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv3d": nn.Conv3d,
    "linear": nn.Linear,
}


class SamePadded(nn.Conv2d):
    """A convolution that pads its input to ceil(size / stride) results, more behind than before."""

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride, dilation in zip(
            reversed(input.shape[-2:]),
            reversed(self.kernel_size),
            reversed(self.stride),
            reversed(self.dilation),
            strict=True,
        ):
            missing = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(input, pads))


class _Catch(TorchFunctionMode):
    """Remembers the product that a layer calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in PLAIN:
            self.calls.append((name, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def computes_its_weight(module: nn.Module, weight: Tensor) -> bool:
    """Whether a layer multiplies by a weight that is not its own parameter."""
    plain = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))
    return plain and not any(weight is own for own in module.parameters(recurse=False))


def plain(module: nn.Module) -> nn.Module | None:
    """An ordinary layer that computes the same as one that computes its weight; None if there is none."""
    small, large = (_example(module, extra) for extra in (5, 8))
    if small is None or large is None:
        return None
    try:
        with torch.no_grad(), _Catch() as caught:
            expected = module(small)
        if len(caught.calls) != 1:
            return None
        made = _made(caught.calls[0], small)
        with torch.no_grad():
            same = _close(expected, made(small)) and _close(module(large), made(large))
    except Exception as error:  # whatever the user's own layer raises
        logger.debug("a layer cannot be made plain: %s", error)
        return None
    return made.train(module.training) if same else None


def _example(module: nn.Module, extra: int) -> Tensor | None:
    parameter = next(module.parameters(), None)
    if parameter is None:
        return None
    if isinstance(module, nn.Linear):
        shape = [2, module.in_features]
    elif isinstance(module, _ConvNd):
        reach = [d * (k - 1) + extra for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        shape = [2, module.in_channels, *reach]
    else:
        return None
    generator = torch.Generator().manual_seed(extra)
    return torch.randn(shape, generator=generator).to(parameter.device, parameter.dtype)


def _made(caught: tuple[str, tuple[Any, ...], dict[str, Any]], given: Tensor) -> nn.Module:
    name, args, kwargs = caught
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    call = {**dict(zip(names, args, strict=False)), **kwargs}
    weight, bias = call["weight"].detach().clone(), call.get("bias")
    options: Any = {"device": weight.device, "dtype": weight.dtype, "bias": bias is not None}
    made: nn.Module
    if name == "linear":
        made = nn.Linear(weight.size(1), weight.size(0), **options)
    else:
        groups = call.get("groups", 1)
        kind: Any = PLAIN[name] if call["input"].shape == given.shape else SamePadded
        made = kind(
            weight.size(1) * groups,
            weight.size(0),
            tuple(weight.shape[2:]),
            stride=call.get("stride", 1),
            padding=call.get("padding", 0),
            dilation=call.get("dilation", 1),
            groups=groups,
            **options,
        )
    made.weight = nn.Parameter(weight)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    return made


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= CLOSE * one.abs().max())


def normed(module: nn.Module, name: str = "weight") -> bool:
    """Whether a tensor of a module is computed by torch's weight norm, as a length times a direction, and by nothing
    else: such a layer loses channels as it stands."""
    if not parametrize.is_parametrized(module, name):
        return False
    steps = module.parametrizations[name]  # type: ignore[index]
    return [type(step).__qualname__ for step in steps] == ["_WeightNorm"]


DIRECTION, LENGTH = "original1", "original0"


def remedy(layer: nn.Module) -> str | None:
    """The call after which a layer whose weight torch's own utilities compute is a plain one; None for others."""
    if normed(layer):
        return None
    if parametrize.is_parametrized(layer, "weight"):
        return "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod):
            return f"torch.nn.utils.prune.remove(layer, '{hook._tensor_name}')"
    hooks = [type(hook) for hook in layer._forward_pre_hooks.values()]
    for kind, name in ((WeightNorm, "remove_weight_norm"), (SpectralNorm, "remove_spectral_norm")):
        if kind in hooks:
            return f"torch.nn.utils.{name}(layer)"
    return None


def bakeable(network: nn.Module, paths: Iterable[str]) -> list[str]:
    """Those of the layers that have a plain counterpart under the same name of their weight: a parametrized one
    (weight norm) has not, and loses channels only after the call that :func:`remedy` names."""
    layers = {path: network.get_submodule(path) for path in paths if path}
    return [path for path, layer in layers.items() if "weight" in layer._parameters and plain(layer) is not None]


def baked(network: nn.Module, paths: Iterable[str]) -> nn.Module:
    """A deep copy of the network in which the layers at ``paths`` are plain ones with the weights they had computed.

    Raises:
        UserError: if a path is no layer that computes its weight.
    """
    twin = deep_copy(network)
    for path in paths:
        try:
            module = twin.get_submodule(path)
        except AttributeError:
            raise UserError(f"the architecture belongs to another network: no module '{path}'.") from None
        made = plain(module)
        if made is None:
            raise UserError(f"the architecture belongs to another network: '{path}' cannot be made a plain layer.")
        parent, _, name = path.rpartition(".")
        setattr(twin.get_submodule(parent), name, made)
    return twin
