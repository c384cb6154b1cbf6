"""MLPs by gradient descent: exact facts of networks as tensors and of the loss of functions; searches of tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dnal
from cli_program import Program
from dnal.base.errors import UserError
from dnal.models.genomes.neurons import Mixed
from dnal.run.files import CANDIDATES, CONFIG, GENOME, MANIFEST, MODEL, SEARCH
from dnal.search import MLPSpace, search, train_embedding
from dnal.search.embedding.autoencoder import Autoencoder
from dnal.search.embedding.descent import descended, hardened, network_of
from dnal.search.embedding.mlps import MLPs, columns, drawn, of_columns, points
from dnal.search.embedding.trained import keep, kept, place_of

TINY = MLPSpace(width=3, depth=2, features=8, training=30, steps=40)
TEXT = "mlp:width=3,depth=2,features=8,training=30,steps=40"


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_hand(networks: MLPs, number: int, x: torch.Tensor) -> torch.Tensor:
    """What one network computes, neuron by neuron."""
    h = [x[:, place] for place in range(x.size(1))]
    for layer in range(networks.weights.size(1)):
        after = []
        for neuron in range(networks.weights.size(2)):
            a = sum(weight * value for weight, value in zip(networks.weights[number, layer, neuron], h, strict=True))
            a = a + networks.bias[number, layer, neuron]
            kinds = networks.kinds[number, layer, neuron]
            value = kinds[0] * torch.sigmoid(a) + kinds[1] * torch.tanh(a) + kinds[2] * torch.where(a > 0, a, 0.01 * a)
            after.append(networks.on[number, layer, neuron] * value)
        h = after
    return sum(weight * value for weight, value in zip(networks.out[number], h, strict=True)) + networks.shift[number]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_networks_as_tensors_compute_what_their_neurons_do(depth: int) -> None:
    networks, x = drawn(5, 4, depth, draw()), points(7, 4, draw(1))
    soft = of_columns(torch.randn(5, 4, columns(4, depth), generator=draw(2)), depth)
    for each in (networks, soft):
        for number in range(5):
            assert torch.allclose(each(x)[number], by_hand(each, number, x), atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_neurons_in_another_order_are_the_same_function_with_another_code(depth: int) -> None:
    networks, x = drawn(20, 5, depth, draw()), points(50, 5, draw(1))
    for layer in range(depth):
        other = networks.permuted(torch.tensor([3, 0, 4, 1, 2]), layer)
        assert torch.allclose(other(x), networks(x), atol=1e-5)
        assert not torch.equal(other.code(3), networks.code(3))


def test_what_is_drawn_has_a_neuron_in_each_layer_one_activation_each_and_outputs_about_one() -> None:
    networks = drawn(300, 4, 3, draw())
    assert bool((networks.on.sum(2) >= 1).all())
    assert set(networks.on.unique().tolist()) == {0.0, 1.0}
    assert bool((networks.kinds.sum(3) == 1).all() and (networks.kinds.amax(3) == 1).all())
    assert float(networks(points(100, 4, draw(1))).abs().quantile(0.99)) < 1.3
    zeros = (networks.weights[:, 1:] == 0).float().mean((1, 2, 3))
    assert 0.1 < float(zeros.mean()) < 0.3  # none, 20 % and 40 %
    assert float((networks.weights[:, 0] == 0).all(1).float().mean()) > 0.2  # inputs that a network does not read


def test_padding_is_told_from_weights_that_are_zero() -> None:
    shallow, deep = drawn(2, 3, 1, draw()), drawn(2, 3, 2, draw())
    assert shallow.code(2).shape == deep.code(2).shape == (2, 3, columns(3, 2), 2)
    assert bool((deep.code(2)[..., 1] == 1).all())
    assert float(shallow.code(2)[..., 1].sum()) == 2 * 3 * columns(3, 1)
    assert bool((shallow.code(2)[..., 0][shallow.code(2)[..., 1] == 0] == 0).all())


def test_the_loss_is_of_functions_and_only_the_best_decoder_learns() -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder(3, 3, 8)
    networks, x = drawn(1, 3, 2, draw()), points(40, 3, draw(1))
    errors = autoencoder.errors(networks, x)
    decoded = [autoencoder.decode(autoencoder.encode(networks), depth) for depth in (1, 2, 3)]
    for depth, network in enumerate(decoded):
        assert network.weights.size(1) == depth + 1
        expected = (by_hand(network, 0, x) - by_hand(networks, 0, x)).square().mean()
        assert torch.allclose(errors[depth, 0], expected, atol=1e-5)
    autoencoder.loss(networks, x).backward()
    moved = [
        any(p.grad is not None and bool((p.grad != 0).any()) for p in decoder.parameters())
        for decoder in autoencoder.decoders
    ]
    assert moved == [depth == int(errors.argmin()) for depth in range(3)]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_network_is_built_by_its_name_and_computes_the_same(depth: int) -> None:
    """Also where a layer has no neuron, and where columns and targets were scaled."""
    values = torch.randn(12, 4, columns(4, depth), generator=draw())
    values[:3, :, -1] = -9.0  # the last layer of these has no neuron
    x, scale = points(30, 2, draw(1)), torch.tensor([2.0, 0.5])
    for number in range(12):
        soft = of_columns(values[number : number + 1], depth)
        hard = hardened(soft, torch.tensor(0.5))
        name, network = network_of(hard, scale, 3.0)
        padded = torch.nn.functional.pad(x / scale, (0, 2))
        with torch.no_grad():
            assert torch.allclose(network(x)[:, 0], 3.0 * hard(padded)[0], atol=1e-5)
        again = dnal.models.create(name, classes=1, input_shape=(2,), kind="tables").eval()
        assert dnal.models.kind_of(name) == "tables"
        again.load_state_dict(network.state_dict())
        assert torch.equal(again(x), network(x))
        assert {type(module) for module in again.modules()} == {nn.Sequential, nn.Linear, Mixed}


def test_names_without_neurons_are_sentences_and_channels_of_mlps_may_leave() -> None:
    for name, said in (("neurons/h_0_0_0", "at least one neuron"), ("neurons/h_1_2", "h_SIGMOID_TANH_LEAKY")):
        with pytest.raises(UserError, match=said):
            dnal.models.create(name, classes=1, input_shape=(3,), kind="tables")
    network = dnal.models.create("neurons/h_3_4_5-h_6_1_2", classes=2, input_shape=(5,), kind="tables").eval()
    x = torch.randn(9, 5)
    space = dnal.Space.of(network, x[:2])
    architecture = dnal.Architecture.random(space, 0.5)
    assert space.num_variables >= 20
    with torch.no_grad():
        compact = dnal.compact(network, architecture)
        assert torch.allclose(compact(x), dnal.gated(network, architecture)(x), atol=1e-5)


@pytest.fixture(scope="module")
def embedding() -> Autoencoder:
    return train_embedding(TINY)


def test_training_lowers_the_loss_and_follows_from_its_seed(embedding: Autoencoder) -> None:
    again, other = train_embedding(TINY), train_embedding(TINY, seed=1)
    for name, value in embedding.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in embedding.state_dict().items())
    losses: list[float] = []
    small = MLPSpace(width=2, depth=1, features=8, training=160)
    train_embedding(small, told=lambda step, loss: losses.append(loss))
    assert len(losses) == 20
    assert losses[-1] < 0.8 * losses[0]


def test_a_descent_fits_and_its_choices_are_hard_in_the_end(embedding: Autoencoder) -> None:
    x = points(200, 2, draw(5))
    y = torch.tanh(1.5 * x[:, 0])
    space = MLPSpace(width=3, depth=2, features=8, training=30, steps=300)
    found = descended(embedding, x, y, 1, space, seed=0)
    padded = torch.nn.functional.pad(x, (0, 1))
    hard, soft = found.networks, found.soft
    assert set(hard.on.unique().tolist()) <= {0.0, 1.0}
    assert bool((hard.kinds.amax(3) == 1).all() and (hard.kinds.sum(3) == 1).all())
    assert found.loss == pytest.approx(float((hard(padded)[0] - y).square().mean()), abs=1e-7)
    assert found.loss < 0.2 * float(y.var())
    with torch.no_grad():
        assert float((soft(padded) - hard(padded)).abs().max()) < 0.05
    sparse = descended(embedding, x, y, 1, MLPSpace(**{**vars(space), "sparsity": 300.0}), seed=0).networks
    assert float(sparse.weights.abs().sum()) < float(hard.weights.abs().sum())


@pytest.fixture
def table(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of two columns, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    chance = np.random.default_rng(0)
    x = chance.uniform(-1, 1, (120, 2))
    rows = np.column_stack([x, np.sin(2 * x[:, 0]) + 0.3 * x[:, 1]])
    np.savetxt("rows.csv", rows, delimiter=",", header="one,two,target", comments="")
    return here / "rows.csv"


def test_an_embedding_is_kept_and_damage_is_a_sentence(table: Path, embedding: Autoencoder) -> None:
    with pytest.raises(UserError, match="needs an embedding, which is trained once: `dnal search --space mlp:width=3"):
        kept(TINY)
    document = keep(TINY, embedding)
    found, digest = kept(TINY)
    assert digest == document["sha256"]
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in embedding.state_dict().items())
    assert -10 < document["explained"] < 1
    data = bytearray(place_of(TINY).read_bytes())
    data[-1] ^= 1
    place_of(TINY).write_bytes(bytes(data))
    with pytest.raises(UserError, match="is not as it was written"):
        kept(TINY)


def test_a_search_leaves_a_run_that_goes_on_with_the_same_bytes(
    table: Path, here: Path, embedding: Autoencoder, dnal: Program
) -> None:
    keep(TINY, embedding)
    asked: dict[str, Any] = {"space": TINY, "evaluations": 3}
    whole = search("rows.csv", **asked, out=here / "whole")
    assert whole is not None
    assert whole.model.startswith("neurons/h_")
    assert len(whole.candidates) == 3
    ended: list[str] = []
    parts = {**asked, "out": here / "parts", "on_end": lambda number, one: ended.append(one.model)}
    assert search("rows.csv", **parts, stop=lambda: len(ended) >= 2) is None
    again = search("rows.csv", **parts)
    assert again is not None
    assert len(ended) == 3
    for name in (SEARCH, CANDIDATES, GENOME, CONFIG, "found.json", MODEL, MANIFEST):
        assert (here / "whole" / name).read_bytes() == (here / "parts" / name).read_bytes(), name
    assert json.loads(dnal("eval", "whole", "--json").out)["differs"] == []
    assert json.loads((here / "whole" / "result.json").read_text())["compact"]["r2"] == whole.figures["r2"]
    answer = dnal("search", "--space", TEXT, "--data", "rows.csv", "--evaluations", "3", "--out", "whole")  # it is told
    assert answer.status == 0, answer.err
    assert whole.model in answer.out
    page = (here / "whole" / "report.html").read_text()
    assert "hidden layer" in page
    assert "--sampler" not in page


def test_what_has_no_meaning_here_is_a_sentence(table: Path, here: Path, dnal: Program) -> None:
    for words, said in (
        (["--epochs", "5"], "has no --epochs"),
        (["--sampler", "random"], "has no --sampler"),
        (["--jobs", "2"], "has no --jobs"),
        ([], "needs an embedding"),
    ):
        answer = dnal("search", "--space", TEXT, "--data", "rows.csv", *words)
        assert answer.status == 2
        assert said in answer.err
    assert "no embedding to train" in dnal("search", "--train-embedding").err
    answer = dnal("search", "--space", TEXT, "--train-embedding", "--json")
    assert answer.status == 0, answer.err
    assert Path(json.loads(answer.out)["embedding"]).is_file()
    for data, said in (("wine", "one number to predict"), ("diabetes", "has 10 columns")):
        assert said in dnal("search", "--space", TEXT, "--data", data).err
