"""DAGNN and the networks it is held against: against dense matrices, and that it becomes smaller."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.analyses.smoothness import smoothness_of
from dnal.base.errors import UserError
from dnal.models.graphs.appnp import APPNP, SGC
from dnal.models.graphs.dagnn import DAGNN
from dnal.models.graphs.gcn import GCN
from dnal.models.graphs.propagation import Propagation
from dnal.models.graphs.sparse_inputs import SparseInputs
from dnal.studies.nodes import Nodes, Rule, trained
from independent import coin_flips, difference, parameter_count, randomise, run, zero_twin
from killer import Killed, Killer
from learned import check_same

NODES, FEATURES, CLASSES = 11, 6, 3


def graph(graphs: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    features = torch.randn(graphs, NODES, FEATURES) * (torch.rand(graphs, NODES, FEATURES) < 0.4)
    edges = torch.randint(NODES, (graphs, 2, 25))
    edges[:, 1, 0] = edges[:, 0, 0]  # one from a node to itself
    return features, edges


def dense(edges: Tensor) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 of a single graph, edge by edge."""
    joined = torch.eye(NODES)
    for source, target in edges.T.tolist():
        joined[target, source] += source != target
    root = joined.sum(1).rsqrt().diag()
    return root @ joined @ root


def test_propagation_is_that_of_dense_powers() -> None:
    features, edges = graph()
    propagate = Propagation.of(edges, NODES, features)
    x = features.flatten(0, 1)
    for power in range(1, 6):
        x = propagate(x)
        expected = [torch.linalg.matrix_power(dense(e), power) @ f for f, e in zip(features, edges, strict=True)]
        assert torch.allclose(x, torch.cat(expected), atol=1e-5)


def test_the_network_is_that_of_the_paper() -> None:
    features, edges = graph()
    torch.manual_seed(1)
    network = DAGNN(features=FEATURES, classes=CLASSES, hops=4, hidden=5).eval()
    expected = []
    for f, e in zip(features, edges, strict=True):
        z = network.second(torch.relu(network.first(f)))
        total = torch.zeros_like(z)
        for power in range(5):  # K excludes hop 0
            h = torch.linalg.matrix_power(dense(e), power) @ z
            total = total + torch.sigmoid(h @ network.gate.weight[0] + network.gate.bias)[:, None] * h
        expected.append(total.T)
    with torch.no_grad():
        assert torch.allclose(network(features, edges), torch.stack(expected), atol=1e-5)
        found = network.neighbourhoods(features, edges)
        assert found.shape == (2, NODES, 5, CLASSES)
        assert network.gates(found).shape == (2, NODES, 5, 1)


def test_it_has_as_many_parameters_more_than_its_mlp_as_classes_and_one() -> None:
    for hops in (1, 10, 40):
        network = DAGNN(features=FEATURES, classes=CLASSES, hops=hops, hidden=5)
        own = (FEATURES * 5 + 5) + (5 * CLASSES + CLASSES)
        assert parameter_count(network) == own + CLASSES + 1


@pytest.mark.parametrize("build", [DAGNN, GCN, APPNP, SGC])
def test_sparse_features_give_the_same(build: Any) -> None:
    features, edges = graph()
    network = build(features=FEATURES, classes=CLASSES).eval()
    for inputs in (features, features.to_sparse()):
        network.zero_grad()
        found = network(inputs, edges)
        found.square().sum().backward()
        gradients = [p.grad.clone() for p in network.parameters()]
        if inputs is features:
            expected, expected_gradients = found, gradients
    assert torch.allclose(found, expected, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(gradients, expected_gradients, strict=True))


def test_dropout_of_sparse_features_keeps_their_mean() -> None:
    layer = SparseInputs(4, 2, dropout=0.8).train()
    x = torch.tensor([[0.0, 2.0, 0.0, 1.0]]).expand(20_000, 4)
    found = layer(x.to_sparse()).detach()
    assert torch.allclose(found.mean(0), layer.eval()(x[:1])[0].detach(), atol=0.05)
    terms = {(a, b) for a in (0.0, 10.0) for b in (0.0, 5.0)}  # 2 / .2 and 1 / .2
    expected = torch.stack([layer.weight[:, 1] * a + layer.weight[:, 3] * b + layer.bias for a, b in terms]).detach()
    assert float(torch.cdist(found, expected).amin(1).max()) < 1e-4


def test_appnp_and_sgc_are_those_of_their_papers() -> None:
    features, edges = graph(1)
    around = dense(edges[0])
    appnp = APPNP(features=FEATURES, classes=CLASSES, hops=3, restart=0.2, hidden=5).eval()
    sgc = SGC(features=FEATURES, classes=CLASSES, hops=3).eval()
    with torch.no_grad():
        z = appnp.second(torch.relu(appnp.first(features[0])))
        x = z
        for _ in range(3):
            x = 0.8 * around @ x + 0.2 * z
        assert torch.allclose(appnp(features, edges)[0].T, x, atol=1e-5)
        expected = torch.linalg.matrix_power(around, 3) @ features[0] @ sgc.linear.weight.T + sgc.linear.bias
        assert torch.allclose(sgc(features, edges)[0].T, expected, atol=1e-5)


def test_the_spreading_is_that_of_torch_geometric() -> None:
    geometric = pytest.importorskip("torch_geometric.nn", reason="needs the extra: pip install 'dnal[graphs]'")
    features, edges = graph(1)
    edges = edges[:, :, edges[0, 0] != edges[0, 1]]  # theirs keeps the weight of a node's edge to itself
    appnp = APPNP(features=FEATURES, classes=CLASSES, hops=3, restart=0.2, hidden=5).eval()
    sgc, theirs = SGC(features=FEATURES, classes=CLASSES), geometric.SGConv(FEATURES, CLASSES, K=2)
    with torch.no_grad():
        z = appnp.second(torch.relu(appnp.first(features[0])))
        assert torch.allclose(appnp(features, edges)[0].T, geometric.APPNP(3, 0.2)(z, edges[0]), atol=1e-5)
        theirs.lin.weight.copy_(sgc.linear.weight)
        theirs.lin.bias.copy_(sgc.linear.bias)
        assert torch.allclose(sgc(features, edges)[0].T, theirs(features[0], edges[0]), atol=1e-5)


def test_its_hidden_width_leaves_exactly() -> None:
    features, edges = graph()
    network = randomise(DAGNN(features=FEATURES, classes=CLASSES, hops=3, hidden=8)).eval()
    inputs = {"features": features, "edges": edges}
    space = dnal.Space.of(network, inputs)
    assert (space.num_variables, space.unknown) == (8, {})
    architecture = coin_flips(space, 1)
    small = dnal.compact(network, architecture)
    expected = run(zero_twin(network, space, architecture.open), inputs)
    assert difference(expected, run(small, inputs)) < 1e-5
    assert difference(expected, run(dnal.gated(network, architecture), inputs)) < 1e-5
    assert small.first.out_features == small.second.in_features == int(architecture.open.sum())
    assert torch.allclose(small(features.to_sparse(), edges), small(features, edges), atol=1e-5)


def test_its_file_computes_the_formula_on_other_graphs_and_with_edges_that_fill_up(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    features, edges = graph(1)
    network = randomise(DAGNN(features=FEATURES, classes=CLASSES, hops=4, hidden=8)).eval()
    space = dnal.Space.of(network, {"features": features, "edges": edges})
    small = dnal.compact(network, coin_flips(space, 1)).eval()
    written = dnal.export.to_onnx(small, {"features": features, "edges": edges}, tmp_path / "small.onnx")
    assert written.difference < 1e-5
    session = runtime.InferenceSession(written.path, providers=["CPUExecutionProvider"])
    torch.manual_seed(3)
    features, edges = torch.randn(3, NODES, FEATURES), torch.randint(NODES, (3, 2, 25))
    edges[:, :, 18:] = 4  # from a node to itself
    (got,) = session.run(None, {"features": features.numpy(), "edges": edges.numpy()})
    for number, (f, e) in enumerate(zip(features, edges[:, :, :18], strict=True)):
        h, total = small.second(torch.relu(small.first(f))), 0
        for _ in range(5):
            total = total + torch.sigmoid(small.gate(h)) * h
            h = dense(e) @ h
        assert torch.allclose(torch.from_numpy(got[number]).T, total, atol=1e-5)


def learned(**options: Any) -> dnal.Learned:
    torch.manual_seed(0)
    loaders = dnal.data.loaders(dnal.data.load("blocks"), 1)
    network = DAGNN(features=16, classes=4, hops=4, dropout=0.2)
    return dnal.learn(
        network, *loaders, budget="params<=40%", epochs=(20, 6, 10), optimizer="adamw", lr=0.01, **options
    )  # fmt: skip


def test_a_job_that_is_killed_gives_the_same_small_network(tmp_path: Path) -> None:
    whole = learned()
    assert whole.figures.compact.params <= 0.4 * whole.figures.base.params
    assert whole.figures.compact.metric > 0.5  # four classes
    with pytest.raises(Killed):
        learned(checkpoints=tmp_path, listener=Killer(23))
    check_same(learned(checkpoints=tmp_path), whole)


class Scripted(nn.Module):
    """Whose validation loss in each epoch is given."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("epoch", torch.zeros(()))
        self.losses = losses

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        if self.training:
            self.epoch += 1
            return torch.zeros(1, 2, 2) + self.weight * 0
        right = math.exp(-self.losses[int(self.epoch) - 1])
        return torch.tensor([[[right, right], [1 - right, 1 - right]]]).log()


def test_the_weights_of_the_lowest_validation_loss_are_kept_and_it_ends_early_after_half() -> None:
    nodes = Nodes(
        {"features": torch.zeros(1, 2, 1), "edges": torch.zeros(1, 2, 1).long()}, *[torch.zeros(1, 2).long()] * 3, 2
    )
    losses = [0.9, 0.2, 0.8, 0.8, 0.8, 0.79, 0.78, 0.7, 0.9, 0.1]
    network = Scripted(losses)
    assert trained(network, nodes, Rule(epochs=10, patience=3)) == 9  # .9 is above the mean of .79, .78 and .7
    assert int(network.epoch) == 2
    network = Scripted([0.9, 0.2, 0.8, 0.8, 0.8, 0.79, 0.78, 0.7, 0.6, 0.5])
    assert trained(network, nodes, Rule(epochs=10, patience=3)) == 10


def test_smoothness_is_that_of_all_pairs() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 3)
    unit = [row / row.norm() for row in x]
    expected = [sum(float((a - b).norm()) / 2 for b in unit) / 6 for a in unit]
    assert torch.allclose(smoothness_of(x), torch.tensor(expected).double(), atol=1e-6)
    assert float(smoothness_of(x[:1].expand(5, 3)).max()) < 1e-9
    assert smoothness_of(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).tolist() == [1.0, 1.0]


def test_many_hops_make_nodes_alike() -> None:
    """The smoothness falls to that of the limit, in which all rows have one direction."""
    features, edges = graph(1)
    edges = torch.cat(
        [edges, edges.flip(1), torch.stack([torch.arange(NODES), torch.arange(1, NODES + 1) % NODES])[None]], 2
    )
    propagate = Propagation.of(torch.cat([edges, edges.flip(1)], 2), NODES, features)
    x, found = features[0].abs(), []
    for _ in range(60):
        found.append(float(smoothness_of(x).mean()))
        x = propagate(x)
    assert found[0] > found[5] > found[20]
    assert found[-1] < 1e-3


def test_planetoid_without_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dnal.data.graphs import planetoid

    monkeypatch.setattr(planetoid.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'dnal\[graphs\]'; or put cora.npz into"):
        dnal.data.load("cora", root=tmp_path)
    with pytest.raises(UserError, match="fetched only on request"):
        dnal.data.load("cora", root=tmp_path, download=False)
    features, edges = graph(1)
    thirds = np.arange(NODES) % 3
    np.savez(
        tmp_path / "cora.npz", x=features[0].numpy(), edge_index=edges[0].numpy(), y=thirds,
        train=np.arange(NODES) < 4, val=np.arange(NODES) == 5, test=np.arange(NODES) > 6,
    )  # fmt: skip
    found = dnal.data.load("cora", root=tmp_path)
    assert (found.name, found.input_shape) == ("cora", (NODES, FEATURES, 25))


def test_planetoid_as_torch_geometric_gives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = pytest.importorskip("torch_geometric.datasets", reason="needs the extra: pip install 'dnal[graphs]'")
    from torch_geometric.data import Data

    features, edges = graph(1)
    rows = torch.arange(NODES)
    masks = {"train_mask": rows < 4, "val_mask": rows == 5, "test_mask": rows > 6}
    folders: list[str] = []

    def download(folder: str, name: str) -> list[Any]:
        folders.append(folder)
        return [Data(x=features[0], edge_index=edges[0], y=rows % 3, **masks)]

    monkeypatch.setattr(sets, "Planetoid", download)  # there may be no network
    first = dnal.data.load("cora", root=tmp_path)
    again = dnal.data.load("cora", root=tmp_path, download=False)
    assert len(folders) == 1
    assert not Path(folders[0]).exists()
    assert [file.name for file in tmp_path.iterdir()] == ["cora.npz"]
    for found in (first, again):
        batch = found.test.batch(torch.arange(1), 0)
        assert torch.allclose(batch["features"][0], features[0])
        assert batch["labels"][0, 7:].tolist() == (rows % 3)[7:].tolist()
