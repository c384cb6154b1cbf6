"""Norms over the channels that are open.

A layer norm takes mean and variance over the channels that it is given: without some of them these are other numbers.
So a network whose channels are still all there, some of them closed, takes its means over those that are open, each
weighted by its gate g: mean = sum(g x) / sum(g), variance = sum(g (x - mean)^2) / sum(g). With gates of 0 and 1 that is
what the same code computes of the channels that are left. A mode does it for the calls that are known to run over
channels, by the module, the function, and the place of the call among those of its kind there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dnal.base.errors import UserError

HALF = (torch.float16, torch.bfloat16)
LEAST = 1e-12
"""Of the sum of gates by which a mean is divided: where all are closed there is none."""


class NormCall(NamedTuple):
    """A call that takes a mean over channels: the ``which``-th one of ``function`` while module ``path`` runs, over
    dimension ``dim`` of its input, counted from the end."""

    path: str
    function: str
    which: int
    dim: int


@dataclass(frozen=True)
class NormRule:
    """What such a call runs over; ``channels``: labels, later variable ids, (size,), -1 = fixed."""

    call: NormCall
    channels: Tensor

    def with_variables(self, of_label: Tensor) -> NormRule:
        """The same in terms of variables."""
        return NormRule(self.call, of_label[self.channels])


class OpenNorm(NamedTuple):
    """Which of the ``size`` channels of a call are open: sorted indices."""

    call: NormCall
    size: int
    stays: Tensor


def open_norms(rules: Iterable[NormRule], open_variables: Tensor) -> list[OpenNorm]:
    """The calls over channels of which some are closed, where exactly ``open_variables`` are open."""
    found = []
    for rule in rules:
        stays = (rule.channels < 0) | open_variables[rule.channels.clamp(min=0)]
        if not bool(stays.all()):
            found.append(OpenNorm(rule.call, len(stays), stays.nonzero().squeeze(1)))
    return found


def hard_weights(norms: Iterable[OpenNorm], device: torch.device) -> dict[NormCall, Tensor]:
    """By call 1 for each channel that is open and 0 for each other one, (size,)."""
    return {call: torch.zeros(size, device=device).index_fill_(0, stays.to(device), 1.0) for call, size, stays in norms}


@contextmanager
def weighted(network: nn.Module, weights: Mapping[NormCall, Tensor]) -> Iterator[None]:
    """Within, these calls of the network's modules take their means over weighted channels.

    Raises:
        UserError: where the network has no such module, or a call runs over another number of channels.
    """
    of_module: dict[str, dict[tuple[str, int], tuple[int, Tensor]]] = {}
    for call, weight in weights.items():
        of_module.setdefault(call.path, {})[call.function, call.which] = call.dim, weight
    mode = _Weighted()
    with ExitStack() as stack:
        for path, calls in of_module.items():
            try:
                module = network.get_submodule(path)
            except AttributeError:
                raise UserError(f"the architecture belongs to another network: no module '{path}'.") from None
            stack.callback(module.register_forward_pre_hook(mode.enters(path, calls)).remove)
            stack.callback(module.register_forward_hook(mode.leaves, always_call=True).remove)
        stack.enter_context(mode)
        yield


class _Weighted(TorchFunctionMode):
    """Counts the calls of the modules that run, as :class:`dnal.space.surgery.sizes.Recorder` does."""

    def __init__(self) -> None:
        super().__init__()
        self._running: list[tuple[str, Mapping[tuple[str, int], tuple[int, Tensor]], Counter[str]]] = []

    def enters(self, path: str, calls: Mapping[tuple[str, int], tuple[int, Tensor]]) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self._running.append((path, calls, Counter()))

        return enter

    def leaves(self, *_: Any) -> None:
        if self._running:
            self._running.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = norm_of(func) if self._running else ""
        if not name:
            return func(*args, **kwargs)
        path, calls, count = self._running[-1]
        known = calls.get((name, count[name]))
        for _, _, each in self._running:
            each[name] += 1
        if known is None:
            return func(*args, **kwargs)
        dim, weight = known
        source = args[0] if args else kwargs["input"]
        if source.dim() < -dim or source.size(dim) != len(weight):
            raise UserError(
                f"a {name} in '{path}' runs over other channels than when the network was looked at: its code takes "
                "another way here. Look at it on inputs like these, or keep its norms fixed (norms='fixed')."
            )
        return WEIGHTED[name](_Over(source, dim, weight), *(args[1:] if args else ()), **_without_input(kwargs))


def _without_input(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != "input"}


def norm_of(function: Any) -> str:
    """The name in :data:`WEIGHTED` by which a function of torch, or an operation of ATen, is known; or ""."""
    known_by = function.overloadpacket if isinstance(function, torch._ops.OpOverload) else function
    name = getattr(known_by, "__name__", "")
    return name if name in WEIGHTED else ""


class _Over(NamedTuple):
    """A tensor and the weights of its channels along a dimension, counted from the end."""

    source: Tensor
    dim: int
    weight: Tensor

    @property
    def wide(self) -> Tensor:
        """The tensor, in single precision where it has less."""
        return self.source.float() if self.source.dtype in HALF else self.source

    def share(self, dims: Sequence[int], dtype: torch.dtype) -> Tensor:
        """What each entry is of a mean over dimensions counted from the end; they add up to 1."""
        weight = self.weight.to(dtype)
        weight = weight / (weight.sum().clamp(min=LEAST) * self._others(dims))
        return weight.view([-1] + [1] * (-self.dim - 1))

    def entries(self, dims: Sequence[int]) -> Tensor:
        """How many entries such a mean is taken of."""
        return self.weight.sum() * self._others(dims)

    def _others(self, dims: Sequence[int]) -> int:
        """Entries for each channel."""
        return math.prod(self.source.size(dim) for dim in dims if dim != self.dim)

    def dims(self, dim: Any) -> list[int]:
        """Dimensions as a call names them, None for all, counted from the end."""
        number = self.source.dim()
        if dim is None or dim == []:
            return list(range(-number, 0))
        return sorted({d - number if d >= 0 else d for d in ([dim] if isinstance(dim, int) else dim)})

    def finish(self, result: Tensor) -> Tensor:
        """Under autocast of a GPU torch's norms give single precision, else that of their input."""
        device = self.source.device.type
        mixed = device != "cpu" and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        return result if mixed else result.to(self.source.dtype)


def _moments(x: Tensor, share: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
    """x without its mean, and its variance."""
    apart = x - (x * share).sum(dims, keepdim=True)
    return apart, (apart.square() * share).sum(dims, keepdim=True)


def _layer_norm(
    over: _Over, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    x, dims = over.wide, list(range(-len(_shape(normalized_shape)), 0))
    apart, variance = _moments(x, over.share(dims, x.dtype), dims)
    result = apart * (variance + eps).rsqrt()
    result = result if weight is None else result * weight
    return over.finish(result if bias is None else result + bias)


def _rms_norm(over: _Over, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    x, dims = over.wide, list(range(-len(_shape(normalized_shape)), 0))
    square = (x.square() * over.share(dims, x.dtype)).sum(dims, keepdim=True)
    result = x * (square + (torch.finfo(x.dtype).eps if eps is None else eps)).rsqrt()
    return over.finish(result if weight is None else result * weight)


def _group_norm(
    over: _Over, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    """Of one group: of several, whole ones leave."""
    x, dims = over.wide, list(range(1 - over.source.dim(), 0))
    apart, variance = _moments(x, over.share(dims, x.dtype), dims)
    result, shape = apart * (variance + eps).rsqrt(), [-1] + [1] * (x.dim() - 2)
    result = result if weight is None else result * weight.view(shape)
    return over.finish(result if bias is None else result + bias.view(shape))


def _mean(
    over: _Over, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, **_: Any
) -> Tensor:
    x, dims = over.wide if dtype is None else over.source.to(dtype), over.dims(axis if dim is None else dim)
    result = (x * over.share(dims, x.dtype)).sum(dims, keepdim=keepdim)
    return result.to(over.source.dtype) if dtype is None else result


def _var_mean(
    over: _Over, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None,
    axis: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    x, dims = over.wide, over.dims(axis if dim is None else dim)
    share = over.share(dims, x.dtype)
    mean = (x * share).sum(dims, keepdim=True)
    variance = ((x - mean).square() * share).sum(dims, keepdim=True)
    less = float(unbiased) if correction is None else float(correction)
    if less:
        count = over.entries(dims).to(x.dtype)
        variance = variance * (count / (count - less).clamp(min=LEAST))
    found = (variance, mean) if keepdim else (variance.squeeze(dims), mean.squeeze(dims))
    return found[0].to(over.source.dtype), found[1].to(over.source.dtype)


def _var(over: _Over, *args: Any, **kwargs: Any) -> Tensor:
    return _var_mean(over, *args, **kwargs)[0]


def _std(over: _Over, *args: Any, **kwargs: Any) -> Tensor:
    return _var_mean(over, *args, **kwargs)[0].sqrt()


def _std_mean(over: _Over, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    variance, mean = _var_mean(over, *args, **kwargs)
    return variance.sqrt(), mean


def _shape(normalized: Any) -> Sequence[int]:
    return [normalized] if isinstance(normalized, int) else list(normalized)


WEIGHTED: dict[str, Callable[..., Any]] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "mean": _mean,
    "var": _var,
    "std": _std,
    "var_mean": _var_mean,
    "std_mean": _std_mean,
}
"""The functions of torch that may run over open channels, and how they do."""
