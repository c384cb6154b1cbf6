"""What can be tuned: the range of a hyperparameter, how it is held without bounds, and what it does to the inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dnal.base.errors import UserError, described

INSIDE = 1e-3
"""How far from the ends of its range, as a share of it, a hyperparameter starts at least."""

Act = Callable[[Tensor, Tensor], Tensor]
"""(inputs (N, ...), values (N,)) -> inputs, each example with its own value."""


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter of regularisation, which is tuned as a number l without bounds.

    Its value is low + (high - low) sigmoid(l), or low + softplus(l) where ``high`` is infinite; of a discrete one the
    whole part of low + (high + 1 - low) sigmoid(l).

    Attributes:
        name: in the schedule. low, high: its range. start: where it begins, inside the range.
        act: what it does to a batch of inputs in training; None: it is the probability of the network's dropouts.
        discrete: whether it is a whole number.

    Raises:
        UserError: the start is not in the range.

    Examples:
        >>> import torch
        >>> from dnal.techniques.stn import Hyperparameter
        >>> one = Hyperparameter("dropout", 0.0, 0.8, start=0.2)
        >>> round(float(one.value(torch.tensor(one.free_start))), 6)
        0.2
    """

    name: str
    low: float
    high: float
    start: float
    act: Act | None = None
    discrete: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and self.low < self.high and self.low <= self.start <= self.high):
            raise UserError(
                f"the hyperparameter '{self.name}' starts between its ends {self.low:g} and {self.high:g}, which are "
                f"apart, not at {self.start:g}."
            )

    def value(self, free: Tensor) -> Tensor:
        """The values of numbers without bounds, of the same shape."""
        if math.isinf(self.high):
            return self.low + F.softplus(free)
        if self.discrete:
            return (self.low + (self.high + 1 - self.low) * torch.sigmoid(free)).floor().clamp(max=self.high)
        return self.low + (self.high - self.low) * torch.sigmoid(free)

    @property
    def free_start(self) -> float:
        """l at the start."""
        if math.isinf(self.high):
            return math.log(math.expm1(max(self.start - self.low, INSIDE)))
        middle = 0.5 if self.discrete else 0.0  # of the numbers whose whole part it is
        share = (self.start + middle - self.low) / (self.high + 2 * middle - self.low)
        share = min(max(share, INSIDE), 1 - INSIDE)
        return math.log(share / (1 - share))


def noisy(inputs: Tensor, values: Tensor) -> Tensor:
    """Normal noise of a standard deviation of its own for each example.

    Args:
        inputs: (N, ...). values: (N,).

    Raises:
        UserError: the inputs are whole numbers.
    """
    _check_fractions("input-noise", inputs)
    return inputs + _for_each(values, inputs) * torch.randn_like(inputs)


def jittered(inputs: Tensor, values: Tensor) -> Tensor:
    """Brightness and contrast of each example, moved by at most its value times its standard deviation, or itself.

    Args:
        inputs: (N, ...). values: (N,).

    Raises:
        UserError: the inputs are whole numbers.
    """
    _check_fractions("jitter", inputs)
    flat = inputs.flatten(1)
    mean, width = (_for_each(each, inputs) for each in (flat.mean(1), flat.std(1)))
    brighter, steeper = (
        _for_each(values * (2 * torch.rand(len(values), device=inputs.device, dtype=inputs.dtype) - 1), inputs)
        for _ in range(2)
    )
    return (inputs - mean) * (1 + steeper) + mean + brighter * width


def cut_out(inputs: Tensor, values: Tensor) -> Tensor:
    """Each image without a square at a random place, whose side is its value in pixels; at the edge it is smaller.

    Args:
        inputs: (N, C, H, W). values: (N,).

    Raises:
        UserError: the inputs are no images.
    """
    if inputs.dim() != 4:
        raise UserError(f"cutout is of images (N, C, H, W), not of inputs of {inputs.dim()} dimensions; leave it out.")
    inside = []
    for size in inputs.shape[2:]:
        first = (torch.rand(len(values), device=inputs.device) * size - values / 2).round()
        places = torch.arange(size, device=inputs.device)
        inside.append((places >= first[:, None]) & (places < first[:, None] + values[:, None]))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return torch.where(hole, torch.zeros_like(inputs), inputs)


def dropped(inputs: Tensor, values: Tensor) -> Tensor:
    """Dropout with a probability p of its own for each example; what stays is divided by 1 - p.

    Args:
        inputs: (N, ...). values: (N,), below 1.
    """
    p = _for_each(values, inputs)
    return torch.where(torch.rand_like(inputs) < p, torch.zeros_like(inputs), inputs / (1 - p))


def _check_fractions(name: str, inputs: Tensor) -> None:
    if not (inputs.is_floating_point() or inputs.is_complex()):
        raise UserError(
            f"'{name}' is of floating-point inputs, not of {described(inputs)}; leave it out, or cast them."
        )


def _for_each(values: Tensor, inputs: Tensor) -> Tensor:
    return values.to(inputs.dtype).reshape(-1, *(1 for _ in inputs.shape[1:]))


HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    one.name: one
    for one in (
        Hyperparameter("dropout", 0.0, 0.9, 0.05),
        Hyperparameter("input-noise", 0.0, math.inf, 0.05, noisy),
        Hyperparameter("jitter", 0.0, 1.0, 0.05, jittered),
        Hyperparameter("cutout", 0.0, 24.0, 4.0, cut_out, discrete=True),
    )
}
"""By name, with the ranges and starts of the paper where it has them; ``dataclasses.replace`` changes them."""
