"""References that share no code with the package: plain indexing, plain counting."""

import copy
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode

import dnal


def randomise(network: nn.Module) -> nn.Module:
    """Random values for everything that starts constant (biases, batch-norm scales, statistics): a wrong slice of
    equal numbers would not show. In place."""
    generator = torch.Generator().manual_seed(5)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)

    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(0.2 * noise(parameter))
        for module in network.modules():
            if getattr(module, "running_var", None) is not None:
                module.running_mean.add_(0.2 * noise(module.running_mean) * module.running_var.sqrt())
                module.running_var.mul_(1 + 0.5 * noise(module.running_var).tanh())
    return network


def zero_twin(network: nn.Module, space: dnal.Space, is_open: Tensor) -> nn.Module:
    """The original network with every parameter slice of a closed variable set to zero. Of weight norm the length, not
    the direction: divided by its norm of zero it would be no number."""
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in twin.named_parameters(remove_duplicate=False):
            for dim, ids in enumerate(space.sources[name]):
                length = space.sources.get(name.removesuffix("original1") + "original0", ())
                direction = name.endswith(".original1") and len(length) > dim and length[dim] is not None
                if ids is not None and not direction:
                    closed = [i for i, v in enumerate(ids.tolist()) if v >= 0 and not is_open[v]]
                    parameter.index_fill_(dim, torch.tensor(closed, dtype=torch.long), 0)
    return twin


def coin_flips(space: dnal.Space, seed: int, keep: float = 0.5) -> dnal.Architecture:
    """Every variable by its own coin, so that every group keeps another share; one per group at least."""
    is_open = torch.rand(space.num_variables, generator=torch.Generator().manual_seed(seed)) < keep
    for group in space.groups:
        if not is_open[group.variables].any():
            is_open[group.variables[seed % group.width]] = True
    return dnal.Architecture.of(space, is_open)


def run(network: nn.Module, inputs: object) -> list[Tensor]:
    """The output tensors for fresh copies of the inputs (a tensor, a tuple or a dict)."""
    inputs = tree_map_only(Tensor, torch.clone, inputs)
    with torch.no_grad():
        if isinstance(inputs, Tensor):
            out = network(inputs)
        else:
            out = network(**inputs) if isinstance(inputs, dict) else network(*inputs)
    held = [
        list(vars(x).values()) if hasattr(x, "__dict__") and not isinstance(x, Tensor) else x for x in tree_leaves(out)
    ]
    return [leaf for leaf in tree_leaves(held) if isinstance(leaf, Tensor)]


def difference(reference: list[Tensor], result: list[Tensor]) -> float:
    """The largest difference relative to the largest number of each reference tensor; infinite on other shapes."""
    if [r.shape for r in reference] != [r.shape for r in result]:
        return float("inf")
    each = [float((a - b).detach().abs().max() / a.abs().max()) for a, b in zip(reference, result, strict=True)]
    return max(each, default=0.0)


def counted_macs(network: nn.Module, inputs: object, batch: int) -> float:
    """Multiply-accumulates of one example, counted by torch, which overlooks its own fused attention and recurrence."""
    torch.backends.mha.set_fastpath_enabled(False)
    recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())
    stepwise = torch.backends.mkldnn.flags(enabled=False) if recurrent else nullcontext()
    try:
        with stepwise, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            run(network, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops() / 2 / batch


def parameter_count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def assert_exact(
    network: nn.Module,
    inputs: object,
    space: dnal.Space,
    architecture: dnal.Architecture,
    macs: Callable[[nn.Module], float] | None = None,
) -> nn.Module:
    """Compact and hard-gated networks compute what the zeroed original computes, and cost what is said; ``macs`` counts
    where torch does not. Returns the compact network."""
    reference = run(zero_twin(network, space, architecture.open), inputs)
    small = dnal.compact(network, architecture)
    coarse = max(torch.finfo(r.dtype).eps if r.is_floating_point() else 0.0 for r in reference)
    tolerance = max(1e-4, 8 * coarse)  # half precision cannot do better
    assert difference(reference, run(small, inputs)) <= tolerance
    assert difference(reference, run(dnal.gated(network, architecture), inputs)) <= tolerance
    assert float(space.costs["params"](architecture.open)) == parameter_count(small)
    batch = next(leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)).size(0)
    counted = counted_macs(small, inputs, batch) if macs is None else macs(small)
    assert float(space.costs["macs"](architecture.open)) == counted
    assert macs is not None or dnal.macs(small, inputs) == counted
    return small
