"""A job that goes on with other code than it began with says so."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.train.loop import Stopped
from dnal.train.source import fingerprint

CODE = """
import torch
from torch import nn

class Base(nn.Module):
    def act(self, x):
        return x.{act}()

class Net(Base):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.last(self.act(self.first(x)))
"""


def network(folder: Path, act: str, name: str = "own_network") -> nn.Module:
    file = folder / f"{name}_{act}.py"
    file.write_text(CODE.format(act=act))
    spec = importlib.util.spec_from_file_location("own_network", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    return module.Net()


def test_it_follows_the_code_and_nothing_else(tmp_path: Path) -> None:
    one = network(tmp_path, "relu")
    with torch.no_grad():
        one.first.weight.zero_()
    assert fingerprint(one) == fingerprint(network(tmp_path, "relu", "elsewhere"))
    assert fingerprint(one) != fingerprint(network(tmp_path, "tanh"))  # in a class that the network's inherits from
    graphs = [torch.fx.symbolic_trace(network(tmp_path, act)) for act in ("relu", "relu", "tanh")]
    assert fingerprint(graphs[0]) == fingerprint(graphs[1]) != fingerprint(graphs[2])


def test_a_resumed_job_warns_of_changed_code(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(16, 6), torch.randint(0, 3, (16,)))

    def learn(act: str, stop: bool = False) -> None:
        loader = DataLoader(data, 8)
        dnal.learn(
            network(tmp_path, act), loader, loader, loader, budget="macs<=60%", epochs=(1, 1, 1),
            checkpoints=tmp_path / "state", stop=lambda: stop,
        )  # fmt: skip

    with pytest.raises(Stopped):
        learn("relu", stop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Stopped):
            learn("relu", stop=True)
    with pytest.warns(UserWarning, match="the code of the network's classes has changed"):
        learn("tanh")
