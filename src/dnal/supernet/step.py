"""What a training step of a supernet takes, beside that of a network with one candidate on each of its edges."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dnal.space.surgery.edge import MixedEdge

TURNS = 5
BATCH = 8


@dataclass(frozen=True)
class Step:
    """Bytes that the forward pass keeps for the gradients, and seconds of forward and backward. What is computed again
    for the gradients comes on top of the bytes, a candidate at a time."""

    kept_bytes: int
    seconds: float


def steps(network: nn.Module, example: Tensor, batch: int = BATCH) -> dict[str, Step]:
    """One step of the "supernet", of it "recomputed" (``MixedEdge.recompute``), and of "one candidate": on every edge
    the one with the most parameters. On copies; medians of interleaved turns.

    Args:
        example: (1, C, H, W); it is repeated to a batch.
    """
    edges = [path for path, module in network.named_modules() if isinstance(module, MixedEdge)]
    networks = {"supernet": copy.deepcopy(network), "recomputed": copy.deepcopy(network)}
    networks["one candidate"] = copy.deepcopy(network)
    for path in edges:
        plain, again, one = (networks[name].get_submodule(path) for name in networks)
        assert isinstance(plain, MixedEdge)
        assert isinstance(again, MixedEdge)
        assert isinstance(one, MixedEdge)
        plain.recompute, again.recompute = False, True
        one.candidates = nn.ModuleList([max(one.candidates, key=lambda c: sum(p.numel() for p in c.parameters()))])
    inputs = example.expand(batch, *example.shape[1:]).contiguous()
    with torch.random.fork_rng():
        kept = {name: _kept(own.train(), inputs) for name, own in networks.items()}
        seconds: dict[str, list[float]] = {name: [] for name in networks}
        for turn in range(1 + TURNS):
            for name, own in networks.items():
                begun = time.perf_counter()
                own.zero_grad(set_to_none=True)
                own(inputs).sum().backward()
                if turn:
                    seconds[name].append(time.perf_counter() - begun)
    return {name: Step(kept[name], statistics.median(own)) for name, own in seconds.items()}


def _kept(network: nn.Module, inputs: Tensor) -> int:
    """Bytes that the forward pass keeps, memory that tensors share once, parameters not at all."""
    known = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    storages: dict[int, int] = {}

    def seen(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        result = network(inputs)
    del result
    return sum(storages.values())
