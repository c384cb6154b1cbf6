"""How many copies of a network's weights a job holds, counted in the tensors that are alive."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.pipeline.learn import _twin
from dnal.train.listener import Listener

WIDTH = 384


def alive() -> dict[int, int]:
    """The memory of tensors that is held: bytes by address."""
    found = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, nn.Parameter) and thing.layout is torch.strided and thing.is_cpu:
            for tensor in (thing, thing.grad if thing.is_leaf else None):
                if tensor is not None:
                    storage = tensor.untyped_storage()
                    found[storage.data_ptr()] = storage.nbytes()
    return found


class Held(Listener):
    """The most that is held after the first step and at the end of each phase, without what was held before."""

    def __init__(self) -> None:
        self.before, self.most = alive(), dict[str, int]()
        self._phase = ""

    def phase(self, name: str, epochs: int, steps: int) -> None:
        self._phase, self._steps = name, 0

    def step(self, loss: float) -> None:
        self._steps += 1
        if self._steps == 2:
            self._look()

    def epoch(self, record: dict[str, Any]) -> None:
        self._look()

    def _look(self) -> None:
        held = sum(size for address, size in alive().items() if address not in self.before)
        self.most[self._phase] = max(self.most.get(self._phase, 0), held)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_nothing_of_a_phase_outlives_it(kept: bool, tmp_path: Path) -> None:
    """Held beside the network that was given: gradients and momentum; in the search the network that it trains on too.
    What is left of it has half of the weights."""
    data = TensorDataset(torch.rand(16, 8), torch.arange(16) % 4)
    loaders = [DataLoader(data, 4) for _ in range(3)]
    layers = [layer for _ in range(4) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    network = nn.Sequential(nn.Linear(8, WIDTH), nn.ReLU(), *layers, nn.Linear(WIDTH, 4))
    weights = sum(parameter.nbytes for parameter in network.parameters())
    held = Held()
    dnal.trade_off(
        network, *loaders, budgets=["macs<=50%"], epochs=(1, 1, 1), lr=1e-3, method="dnal:curves_to=none",
        deployment="backend=torch-cpu", listeners=[held], checkpoints=[tmp_path / "kept"] if kept else (),
    )  # fmt: skip
    times = {name: size / weights for name, size in held.most.items()}
    assert 1.9 < times["base"] < 2.2
    assert 2.9 < times["architecture"] < 3.3
    assert 1.3 < times["retrain"] < 1.8


def test_a_twin_computes_with_the_same_memory_and_has_modes_of_its_own() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    network[2].weight = nn.Parameter(network[0].weight.T)  # tied by memory, not by name
    network.shared = network[0]
    twin = _twin(network).eval()
    assert network.training
    assert not twin[1].training
    assert twin.shared is twin[0]
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        own = twin.get_parameter(name) if isinstance(tensor, nn.Parameter) else twin.get_buffer(name)
        assert own is not tensor
        assert own.data_ptr() == tensor.data_ptr()
    twin.requires_grad_(False)
    assert all(parameter.requires_grad for parameter in network.parameters())
