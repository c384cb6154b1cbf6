"""Numeric probing: remove half of every group and compare with the network whose slices are zero.

Labels are a theory; the numbers decide. A group whose removal changes the output (or crashes) is found by bisection and
frozen. Shapes alone would not do: a rewritten size that happens to fit, or a buffer that broadcasts, gives the right
shape and wrong numbers.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dnal.space.remove import Kept, kept_indices, removed, zeroed
from dnal.space.trace import Inputs, call, evaluating, tensors_of
from dnal.space.variables import Sources

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest allowed difference, relative to the largest output."""


def failing_groups(
    network: nn.Module, inputs: Inputs, sources: Sources, groups: Sequence[Tensor], variables: int
) -> list[int]:
    """The groups whose removal is not exact. One probe if all are; else by bisection."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        twin = randomised(network)
        noise = _noise(inputs)
        generator = torch.Generator().manual_seed(0)
        off = [group[torch.randperm(len(group), generator=generator)[: len(group) // 2]] for group in groups]

        def exact(chosen: Sequence[int]) -> bool:
            open_variables = torch.ones(variables, dtype=torch.bool)
            for g in chosen:
                open_variables[off[g]] = False
            return removal_is_exact(twin, noise, kept_indices(sources, open_variables))

        failing: list[int] = []
        remaining = list(range(len(groups)))
        while remaining and not exact(remaining):
            culprits = _bisect(exact, remaining)
            failing += culprits
            remaining = [g for g in remaining if g not in set(culprits)]
    return sorted(failing)


def _bisect(exact: Callable[[Sequence[int]], bool], failing: Sequence[int]) -> list[int]:
    """The members of a failing set that fail alone; the whole set where only their combination fails."""
    if len(failing) == 1:
        return list(failing)
    halves = failing[: len(failing) // 2], failing[len(failing) // 2 :]
    culprits = [g for half in halves if not exact(half) for g in _bisect(exact, half)]
    return culprits or list(failing)


def removal_is_exact(network: nn.Module, inputs: Inputs, kept: Kept) -> bool:
    """Whether the network without its closed channels computes what it computes with their slices at zero."""
    with evaluating(network):
        reference = tensors_of(call(lambda *a, **k: functional_call(network, zeroed(network, kept), a, k), inputs))
        try:
            small = removed(network, kept)
            result = tensors_of(call(small, inputs))
        except Exception as error:  # whatever the user's forward raises on smaller tensors: the group stays
            logger.debug("a probe failed: %s", error)
            return False
    return len(reference) == len(result) and all(close(a, b) for a, b in zip(reference, result, strict=True))


def close(reference: Tensor, result: Tensor) -> bool:
    """max|difference| <= 1e-4 * max|reference|, for equal shapes; NaN is never close."""
    if reference.shape != result.shape:
        return False
    if not reference.is_floating_point():
        return bool(torch.equal(reference, result))
    bound = TOLERANCE * reference.abs().amax() if reference.numel() else reference.new_zeros(())
    return bool(((reference - result).abs() <= bound).all())


def randomised(network: nn.Module) -> nn.Module:
    """A copy whose constant parameters and batch statistics are random: a wrong slice of equal numbers would not
    show."""
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            if (
                parameter.numel() > 1
                and parameter.is_floating_point()
                and bool((parameter == parameter.reshape(-1)[0]).all())
            ):
                value = parameter.reshape(-1)[0]
                scale = value.abs() if value != 0 else torch.ones_like(value) * 0.1
                parameter.add_(scale * (torch.rand_like(parameter) - 0.5))
        for module in twin.modules():
            mean, var = getattr(module, "running_mean", None), getattr(module, "running_var", None)
            if isinstance(mean, Tensor) and isinstance(var, Tensor):
                spread = var.sqrt()
                mean.add_(0.1 * spread * torch.randn_like(mean))
                var.mul_(0.5 + torch.rand_like(var))
    return twin


def _noise(inputs: Inputs) -> Inputs:
    def noisy(value: Any) -> Any:
        return torch.randn_like(value) if isinstance(value, Tensor) and value.is_floating_point() else value

    if isinstance(inputs, Tensor):
        return noisy(inputs)  # type: ignore[no-any-return]
    if isinstance(inputs, dict):
        return {key: noisy(value) for key, value in inputs.items()}
    return tuple(noisy(value) for value in inputs)
