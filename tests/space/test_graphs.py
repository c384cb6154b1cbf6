"""Networks that are graphs of torch.fx: numbers in the arguments of their nodes follow the channels."""

import contextlib
import copy
import io
import json
from pathlib import Path

import pytest
import torch
from test_heads import HEADS, STREAM, Attention, exact_elsewhere
from torch import Tensor, nn

import dnal
from dnal.space.surgery.sizes import Attribute
from independent import assert_exact, coin_flips, difference, randomise, run


class Literal(nn.Module):
    """A literal number of channels and positions, and pieces by literal places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.last = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        y = y[:, :8] + torch.nn.functional.pad(y[:, 8:], (0, 0, 0, 0, 2, 2))
        return self.last(self.second(y).relu().reshape(-1, 256))


def literal() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return torch.fx.symbolic_trace(randomise(Literal())).eval(), torch.randn(2, 1, 8, 8)


def test_a_literal_in_a_graph_is_exact_as_it_is_in_code() -> None:
    network, images = literal()
    space, plain = dnal.Space.of(network, images), dnal.Space.of(randomise(Literal()).eval(), images)
    assert space.num_variables == plain.num_variables >= 16
    assert Attribute("reshape", 1) in {rule.target for rule in space.sizes}
    assert space.helped == []
    for seed in range(2):
        small = assert_exact(network, images, space, coin_flips(space, seed))
        others = [images, torch.randn(5, 1, 8, 8)]
        for other in others:
            assert difference(run(small, other), run(copy.deepcopy(small), other)) == 0
        assert "reshape(-1, 256)" in network.code
        assert f"reshape(-1, {small.last.in_features})" in small.code
        again = torch.export.export(small, (images,)).module()
        assert difference(run(small, images), run(again, images)) <= 1e-6


class Computed(Attention):
    """Written so that torch.fx follows it."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        batch, length, width = x.size(0), x.size(1), q.size(-1) // self.heads
        q, k, v = (t.view(batch, length, self.heads, width).transpose(1, 2) for t in (q, k, v))
        y = (q @ k.transpose(-2, -1) * self.scale).softmax(-1) @ v
        return x + self.out(y.transpose(1, 2).reshape(batch, length, self.heads * width))


@pytest.mark.parametrize("nested", [False, True])
def test_a_number_that_a_graph_computes_is_pinned(nested: bool) -> None:
    network = randomise(Computed())
    network = torch.fx.symbolic_trace(network) if nested else network
    network = nn.Sequential(network, randomise(nn.Linear(STREAM, 6)))
    network = (network if nested else torch.fx.symbolic_trace(network)).eval()
    said = io.StringIO()
    with contextlib.redirect_stderr(said):  # graphs print what they raise
        space = dnal.Space.of(network, torch.randn(2, 7, STREAM))
        assert [group.width for group in space.groups] == [HEADS]
        exact_elsewhere(network, space, [torch.randn(2, 7, STREAM), torch.randn(3, 11, STREAM)])
    assert said.getvalue() == ""


def test_the_analysis_leaves_the_graph_as_it_was() -> None:
    network, images = literal()
    code, nodes = network.code, [node.name for node in network.graph.nodes]
    space = dnal.Space.of(network, images)
    small = dnal.compact(network, coin_flips(space, 0))
    assert (network.code, [node.name for node in network.graph.nodes]) == (code, nodes)
    assert [node.name for node in small.graph.nodes] == nodes


def test_the_file_alone_makes_the_compact_graph(tmp_path: Path) -> None:
    network, images = literal()
    architecture = coin_flips(dnal.Space.of(network, images), 1)
    architecture.save(tmp_path / "a.json")
    loaded = dnal.Architecture.load(tmp_path / "a.json")
    assert loaded == architecture
    assert difference(run(dnal.compact(network, architecture), images), run(dnal.compact(network, loaded), images)) == 0
    document = json.loads((tmp_path / "a.json").read_text())
    for wrong in (
        ["", ["nowhere", 0], 8, 4, False],
        ["", ["reshape", 0], 8, 4, False],
        ["", ["reshape", 9], 8, 4, False],
    ):
        (tmp_path / "b.json").write_text(json.dumps({**document, "sizes": [wrong]}))
        with pytest.raises(dnal.UserError, match="another network"):
            dnal.compact(network, dnal.Architecture.load(tmp_path / "b.json"))


def test_a_graph_learns() -> None:
    network, _ = literal()
    data = torch.utils.data.TensorDataset(torch.randn(16, 1, 8, 8), torch.randint(0, 10, (16,)))
    loader = torch.utils.data.DataLoader(data, 8)
    learned = dnal.learn(network, loader, loader, budget="macs<=50%", epochs=(1, 1, 1))
    assert all(row["holds"] for row in learned.constraints)


def test_a_feature_extractor_keeps_the_code_of_its_mode() -> None:
    """torchvision's has a graph for each mode, and exchanges them when it is told the mode."""
    extraction = pytest.importorskip("torchvision.models.feature_extraction")
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Conv2d(8, 4, 1))
    network, images = (
        extraction.create_feature_extractor(randomise(network), {"4": "features"}),
        torch.randn(2, 3, 9, 9),
    )
    for training in (True, False):
        network.train(training)
        code = network.code
        space = dnal.Space.of(network, images)
        assert network.training == training
        assert network.code == code
        small = dnal.compact(network, coin_flips(space, 0))
        assert (small.training, small.code) == (training, code)


def test_what_torch_exports_is_refused_with_the_remedy() -> None:
    network, images = literal()
    exported = torch.export.export(network, (images,)).module()
    with pytest.raises(dnal.UserError, match="pass the network from before it"):
        dnal.Space.of(exported, images)
