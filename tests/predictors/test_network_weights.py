"""Predictors that read weights: what they must not notice, what they must, and how networks of torch are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trained_chains import CHAINS, SIZES, convolved, linear

from dnal import UserError
from dnal.predictors import PREDICTORS, Chain, Layer, Predictor
from dnal.predictors.weights.chain import permuted, said
from dnal.predictors.weights.neural_graph.aggregation import aggregated
from dnal.predictors.weights.neural_graph.neurons import neurons_of
from dnal.predictors.weights.of_network import chain_of
from dnal.predictors.weights.of_weights import Known
from dnal.predictors.weights.sne.chunks import chunked, longest
from dnal.predictors.weights.statistics import each_layer, ends

SMALL = "width=8,edges=6,frequencies=3,epochs=3,lr=0.02"
GRAPHS = {
    "transformer": f"neural-graph:{SMALL}",
    "graph": f"neural-graph:network=graph,{SMALL}",
    "probes": f"neural-graph:network=graph,probes=5,{SMALL}",
}
RNG = np.random.default_rng(3)
OTHERS = [
    linear(RNG, (5,)), linear(RNG, (6, 4), kind="tanh"), convolved(RNG, (3,)), convolved(RNG, (4, 5)),
    convolved(RNG, (3, 2), flat=True),
]  # fmt: skip
"""Two depths of linear layers, of convolutions, and one whose linear layer reads maps."""
EVERY = [*CHAINS, *OTHERS]
VALUES = np.concatenate([SIZES, RNG.uniform(0.4, 2.5, len(OTHERS))])
Learnt = dict[str, Predictor]


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    sets = {f"sne {size}": f"sne:chunk={size},width=8,heads=2,epochs=1,lr=0.0001,invariance=0" for size in (4, 64)}
    return {name: PREDICTORS.read(text).fit(EVERY, VALUES) for name, text in {**GRAPHS, **sets}.items()}


def places(model: Any, networks: list[Chain]) -> np.ndarray[Any, Any]:
    """What a model says between 0 and 1, which the steps of a scale of ranks would hide or enlarge."""
    found: np.ndarray[Any, Any] = model._answer(model.members_[0], model._encode(networks))
    return found


def exact(model: Any, networks: list[Chain]) -> np.ndarray[Any, Any]:
    """The same in double precision, as logits: what differs is no rounding."""
    network = model._network()
    network.load_state_dict({name: torch.tensor(one) for name, one in model.members_[0].items()})
    batch = model._batch(model._encode(networks))
    double = [one.double() if isinstance(one, torch.Tensor) and one.is_floating_point() else one for one in batch]
    with torch.inference_mode():
        found: np.ndarray[Any, Any] = network.double().eval()(type(batch)(*double)).numpy()
    return found


def mixed_up(network: Chain) -> Chain:
    """The neurons of the first layer in another order, and not what reads them: another function."""
    first, *rest = network.layers
    return Chain(network.inputs, (replace(first, weight=first.weight[::-1], bias=first.bias[::-1]), *rest))


def test_a_permuted_network_is_the_same_function() -> None:
    for network in OTHERS:
        other, x = permuted(network, np.random.default_rng(0)), torch.randn(5, 1, 4, 4)
        assert torch.allclose(said(network, x)[-1], said(other, x)[-1], atol=1e-5)
        assert any((a.weight != b.weight).any() for a, b in zip(network.layers, other.layers, strict=True))


@pytest.mark.parametrize("name", GRAPHS)
def test_no_order_of_hidden_neurons_changes_what_a_neural_graph_says(learnt: Learnt, name: str) -> None:
    found = places(learnt[name], OTHERS)
    assert np.ptp(found) > 1e-3, "it says something"
    for seed in range(3):
        others = [permuted(network, np.random.default_rng(seed)) for network in OTHERS]
        assert places(learnt[name], others) == pytest.approx(found, abs=1e-5)
        assert exact(learnt[name], others) == pytest.approx(exact(learnt[name], OTHERS), abs=1e-11)


@pytest.mark.parametrize("name", GRAPHS)
def test_an_order_of_inputs_outputs_or_of_one_layer_alone_changes_what_a_neural_graph_says(
    learnt: Learnt, name: str
) -> None:
    first, second = OTHERS[0].layers
    inputs = Chain((1, 4, 4), (replace(first, weight=first.weight[:, ::-1]), second))
    outputs = Chain((1, 4, 4), (first, replace(second, weight=second.weight[::-1], bias=second.bias[::-1])))
    found = exact(learnt[name], [OTHERS[0], inputs, outputs, mixed_up(OTHERS[0])])
    assert abs(found[1:] - found[0]).min() > 1e-8


def test_no_order_of_hidden_neurons_changes_what_sets_say_whose_chunks_hold_a_neuron(learnt: Learnt) -> None:
    held = [network for network in OTHERS if longest(network) <= 64]
    assert len(held) == 5
    found = places(learnt["sne 64"], held)
    assert np.ptp(found) > 1e-4
    for seed in range(3):
        others = [permuted(network, np.random.default_rng(seed)) for network in held]
        assert places(learnt["sne 64"], others) == pytest.approx(found, abs=1e-5)


def test_smaller_chunks_notice_the_order_a_little_and_only_where_a_neuron_is_cut(learnt: Learnt) -> None:
    model = learnt["sne 4"]
    found = exact(model, EVERY)
    others = [permuted(network, np.random.default_rng(0)) for network in EVERY]
    apart = np.abs(exact(model, others) - found)
    cut = np.array([any(layer.weight[0].size + 1 > 4 for layer in network.layers[1:]) for network in EVERY])
    assert apart[~cut] == pytest.approx(0, abs=1e-11)
    assert (~cut).any()
    assert apart[cut].max() > 1e-6
    assert apart.mean() < 0.1 * found.std(), "as the documentation says"


@pytest.mark.parametrize("name", [*GRAPHS, "sne 4", "sne 64"])
def test_no_padding_changes_an_answer(learnt: Learnt, name: str) -> None:
    alone = np.concatenate([places(learnt[name], [network]) for network in OTHERS])
    assert places(learnt[name], OTHERS) == pytest.approx(alone, abs=1e-5)


def test_what_padding_holds_is_not_read(learnt: Learnt) -> None:
    model = learnt["sne 4"]
    encoded: Any = model._encode(OTHERS)
    found = model._answer(model.members_[0], encoded)
    for each in encoded:
        each.values[np.arange(4) >= each.lengths[:, None]] = 1e3
    assert (model._answer(model.members_[0], encoded) == found).all()


def test_the_penalty_is_half_the_squared_difference_of_logits_and_none_for_whole_neurons() -> None:
    for size, alike in ((4, False), (64, True)):
        model: Any = PREDICTORS.read(f"sne:chunk={size},width=8,heads=2,epochs=1,invariance=3").fit(OTHERS, VALUES[-5:])
        network, encoded = model._network(), model._encode(OTHERS)
        with torch.no_grad():
            logits = network(model._batch(encoded))
            found = model._penalty(network, encoded, logits, np.random.default_rng(0))
            rng = np.random.default_rng(0)
            others = [chunked(permuted(each.network, rng), size) for each in encoded]
            wanted = 3 * 0.5 * (logits - network(model._batch(others))).square().mean()
        assert float(found) == pytest.approx(0.0 if alike else float(wanted), rel=1e-5)
        assert alike or float(wanted) > 0


def test_the_graph_holds_every_weight_once_where_it_belongs() -> None:
    known = replace(Known.of(EVERY), weight=1.0, bias=1.0)
    for network in OTHERS:
        graph = neurons_of(network, known)
        starts = np.concatenate([[0], np.cumsum(network.channels)])
        assert len(graph.bias) == starts[-1]
        assert len(graph.source) == sum(a * b for a, b in zip(network.channels[:-1], network.channels[1:], strict=True))
        place = 1
        layer = network.layers[place - 1]
        o, i = len(layer.bias) - 1, network.channels[0] - 1
        (edge,) = np.flatnonzero((graph.target == starts[place] + o) & (graph.source == i))
        root = layer.weight[0].size ** 0.5
        kernel = np.zeros((known.height, known.width))
        if layer.convolves:
            kernel[:] = root * layer.weight[o, i]
        else:
            kernel[known.height // 2, known.width // 2] = root * layer.weight[o, i]
        assert graph.weight[edge, :9] == pytest.approx(kernel.ravel(), rel=1e-5)
        assert graph.bias[starts[place] + o] == pytest.approx(layer.bias[o])
    flat = neurons_of(OTHERS[4], known)  # its last layer reads maps of 16 positions
    layer, starts = OTHERS[4].layers[-1], np.cumsum(OTHERS[4].channels)
    (edge,) = np.flatnonzero((flat.target == starts[2]) & (flat.source == starts[2] - 1))
    assert flat.weight[edge] == pytest.approx(layer.weight[0, -16:] * layer.weight[0].size ** 0.5, rel=1e-5)


def test_messages_are_put_together_as_written_out() -> None:
    messages, target = torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 2, 2, 0, 2, 3, 2])
    found = aggregated(messages, target, 4)
    for node in range(4):
        own = messages[target == node]
        if len(own):
            parts = [own.mean(0), own.amin(0), own.amax(0), (own.var(0, unbiased=False) + 1e-5).sqrt()]
            assert torch.allclose(found[node], torch.cat(parts))
        else:
            assert found[node, :9].abs().max() == 0


def test_statistics_are_those_of_each_layer() -> None:
    network = linear(np.random.default_rng(0), (5, 4))
    row = each_layer([network])[0].reshape(3, 2, 7)
    for layer, found in zip(network.layers, row, strict=True):
        for numbers, own in zip((layer.weight, layer.bias), found, strict=True):
            assert own[0] == pytest.approx(numbers.mean(), abs=1e-6)
            assert own[1] == pytest.approx(numbers.var(), rel=1e-4)
            assert own[2:].tolist() == pytest.approx(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]).tolist(), rel=1e-5)
    assert (ends([network])[0] == each_layer([network])[0]).all(), "three layers are first, middle and last"
    deeper = linear(np.random.default_rng(0), (5, 4, 4))
    with pytest.raises(UserError, match="3 to 4 layers"):
        each_layer([network, deeper])
    model = PREDICTORS.read("statistics:layers=each").fit([network, permuted(network, RNG), OTHERS[1]], [1.0, 2.0, 3.0])
    with pytest.raises(UserError, match="4 layers, and those learnt from 3"):
        model.predict([deeper])


NETWORKS: dict[str, Any] = {
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Dropout(), nn.Linear(6, 3, bias=False)),
    "norms": nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=2, dilation=2),
        nn.BatchNorm2d(5), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3), nn.SiLU(),
        nn.Linear(3, 2),
    ),
    "maps": nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.MaxPool2d(3, 1, 1), nn.LeakyReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 2),
        nn.Sigmoid(), nn.Linear(2, 2),
    ),
    "computed": nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 4)), nn.ReLU(), nn.Linear(4, 2)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_torch_is_read_as_what_it_computes(name: str) -> None:
    network = NETWORKS[name]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = chain_of(network, torch.randn(2, 1, 8, 8))
    x = torch.randn(7, 1, 8, 8)
    with torch.no_grad():
        wanted = network.eval()(x)
    assert torch.allclose(said(found, x)[-1].flatten(1), wanted.flatten(1), atol=1e-4)
    assert all((value == before[key]).all() for key, value in network.state_dict().items())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class Doubled(nn.Module):
    """Says twice what its layer says: by a number that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x)
        return found * 2


@pytest.mark.parametrize(
    ("network", "x", "words"),
    [
        (Residual(), torch.randn(2, 4), "'add' joins several"),
        (Doubled(), torch.randn(2, 4), "'mul' is no linear layer"),
        (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2)), torch.randn(2, 2, 5, 5), "grouped"),
        (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), torch.randn(2, 4), "layer_norm"),
        (nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.3), nn.Linear(4, 2)), torch.randn(2, 4), "answers otherwise"),
        (nn.Sequential(nn.ReLU()), torch.randn(2, 4), "no matrix"),
        (nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 2, 4, 4), "another shape"),
        (nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 5, 4), "inputs"),
    ],
)
def test_a_network_that_is_no_chain_is_a_sentence(network: nn.Module, x: torch.Tensor, words: str) -> None:
    with pytest.raises(UserError, match=words):
        chain_of(network, x)


def test_layers_that_are_none_are_a_sentence() -> None:
    good = Layer(np.ones((3, 4)), np.zeros(3))
    wrong = [
        ((), "1 to 64 layers"),
        ((good, Layer(np.ones((2, 4)), np.zeros(2))), "reads 4 channels"),
        ((Layer(np.ones((3, 4)), np.zeros(4)),), "go with"),
        ((Layer(np.full((3, 4), np.nan), np.zeros(3)),), "finite"),
        ((Layer(np.array([["a"]]), np.zeros(1)),), "numbers"),
        ((Layer(np.ones((3, 5000)), np.zeros(3)),), "5,003 neurons"),
    ]
    for layers, words in wrong:
        with pytest.raises(UserError, match=words):
            Chain((4,), layers)  # type: ignore[arg-type]


def test_networks_that_a_model_cannot_know_are_a_sentence(learnt: Learnt) -> None:
    wide = Chain((20,), (Layer(np.ones((3, 20)), np.zeros(3)),))
    more = Chain((4,), (Layer(np.ones((4, 4)), np.zeros(4)),))
    large = Chain((1, 5, 5), (Layer(np.ones((3, 1, 5, 5)), np.zeros(3)),))
    for network, words in ((wide, "20 inputs"), (more, "4 outputs"), (large, "25 positions")):
        with pytest.raises(UserError, match=words):
            learnt["graph"].predict([network])
    with pytest.raises(UserError, match="probes=0"):
        learnt["probes"].predict([Chain((4,), (Layer(np.ones((3, 4)), np.zeros(3)),))])
    with pytest.raises(UserError, match="multiple of heads"):
        PREDICTORS.read("neural-graph:width=10,heads=4").fit(CHAINS, SIZES)
