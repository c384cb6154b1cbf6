"""Ranges, the answer of the layers to each example's hyperparameters, folding, and which loss moves what."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tuned_network import batch, network

from dnal.base.errors import UserError
from dnal.techniques import self_tuning
from dnal.techniques.stn import HYPERPARAMETERS, HyperConv, HyperLinear, Hyperparameter, SelfTuning
from dnal.techniques.stn.hyperparameters import cut_out, dropped, jittered, noisy
from dnal.techniques.stn.layers import Now


def test_values_stay_in_their_range_and_start_where_they_should() -> None:
    wide = torch.linspace(-30, 30, 601, dtype=torch.float64)
    for one in HYPERPARAMETERS.values():
        found = one.value(wide)
        assert float(found.min()) >= one.low
        assert float(found.max()) <= one.high
        assert bool((found.diff() >= 0).all())
        assert float(one.value(torch.tensor(one.free_start, dtype=torch.float64))) == pytest.approx(one.start, abs=1e-6)
    cutout = HYPERPARAMETERS["cutout"]
    assert set(cutout.value(wide).tolist()) == set(range(25)), "every whole number, the last one too"
    free = torch.tensor(0.7)
    assert float(Hyperparameter("p", 0.2, 0.6, 0.3).value(free)) == pytest.approx(0.2 + 0.4 / (1 + math.exp(-0.7)))
    assert float(Hyperparameter("s", 1.0, math.inf, 2.0).value(free)) == pytest.approx(1 + math.log1p(math.exp(0.7)))
    for start in (0.0, 1.0):  # at an end, from where it can move
        assert math.isfinite(Hyperparameter("p", 0.0, 1.0, start).free_start)
    with pytest.raises(UserError, match="starts between its ends"):
        Hyperparameter("p", 0.0, 0.5, 0.6)


def spread(layer: HyperLinear | HyperConv) -> None:
    """Weights of a size at which every part is seen."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_answers_as_the_formula_says(bias: bool) -> None:
    torch.manual_seed(0)
    plain, free, x = nn.Linear(5, 4, bias=bias), torch.randn(6, 3), torch.randn(6, 5)
    layer = HyperLinear(plain, Now(free))
    spread(layer)
    v, s = layer.gates.weight, layer.scale
    found = layer(x)
    for own, each, at in zip(found, x, free, strict=True):
        weight = s * plain.weight + torch.diag(v[:4] @ at) @ layer.response.weight
        expected = weight @ each
        if bias:
            expected = expected + s * plain.bias + (v[4:] @ at) * layer.response.bias
        assert torch.allclose(own, expected, atol=1e-5)
    long = torch.randn(6, 7, 5)
    assert torch.allclose(layer(long), torch.stack([layer(long[:, t]) for t in range(7)], 1), atol=1e-5)
    assert torch.allclose(layer(long.flatten(0, 1)), layer(long).flatten(0, 1), atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_answers_per_channel_and_example(groups: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups, padding_mode="circular")
    free, x = torch.randn(3, 2), torch.randn(3, 4, 8, 8)
    layer = HyperConv(plain, Now(free))
    spread(layer)
    found = layer(x)
    for own, each, at in zip(found, x, free, strict=True):
        one = layer.folded(at)
        assert torch.allclose(own, one(each[None])[0], atol=1e-4)
        gate = (layer.gates.weight[:6] @ at).view(6, 1, 1, 1)
        assert torch.allclose(one.weight, layer.scale * plain.weight + gate * layer.response.weight, atol=1e-5)


ALL = list(HYPERPARAMETERS)


def moved(tuning: SelfTuning) -> None:
    """Hyperparameters and weights somewhere else than at the start."""
    with torch.no_grad():
        tuning.free.normal_()
        for module in tuning.network.modules():
            if isinstance(module, HyperLinear | HyperConv):
                spread(module)


def test_folding_is_the_network_at_the_current_hyperparameters() -> None:
    given = network()
    before = copy.deepcopy(given.state_dict())
    tuning = SelfTuning(given, ALL)
    moved(tuning)
    plain, (x, _) = tuning.folded(), batch(10)
    assert [type(module) for module in plain.modules()] == [type(module) for module in given.modules()]
    assert {n: v.shape for n, v in plain.state_dict().items()} == {n: v.shape for n, v in before.items()}
    assert torch.allclose(plain.eval()(x), tuning(x), rtol=1e-4, atol=1e-4)
    assert plain[3].p == plain[7].p == pytest.approx(tuning.values()["dropout"])
    with torch.no_grad():
        tuning.free.add_(1.0)
    assert not torch.allclose(plain(x), tuning(x), rtol=1e-2, atol=1e-2), "it does answer"
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    assert not [m for m in plain.modules() if "Hyper" in type(m).__name__]


def test_a_new_network_computes_nearly_what_was_given() -> None:
    given, (x, _) = network().eval(), batch(10)
    tuning = SelfTuning(given, ["input-noise"])
    assert torch.allclose(tuning(x), given(x), atol=0.3)
    assert tuning.folded()[7].p == 0.5, "dropout that is not tuned stays as it is"


def test_the_training_loss_moves_no_hyperparameter_and_the_validation_loss_no_weight() -> None:
    tuning = SelfTuning(network(), ALL, entropy=0.0)
    tuning.network.train()
    tuning.training_loss(batch(10)).backward()
    assert tuning.free.grad is None
    assert tuning.rho.grad is None
    assert all(parameter.grad is not None for parameter in tuning.weights())
    running = tuning.network[1].running_mean.clone()
    for parameter in tuning.weights():
        parameter.grad = None
    tuning.validation_loss(batch(10)).backward()
    assert tuning.free.grad is not None
    assert bool(tuning.free.grad.all())
    assert tuning.rho.grad is not None
    assert bool(tuning.rho.grad.any())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in tuning.weights())
    assert torch.equal(tuning.network[1].running_mean, running), "in eval mode"
    assert tuning.network.training


def test_the_validation_loss_flows_by_the_answers_alone() -> None:
    """Without an answer (V = 0) there is no gradient, though dropout and noise are tuned."""
    tuning = SelfTuning(network(), ALL, entropy=0.0)
    with torch.no_grad():
        for module in tuning.network.modules():
            if isinstance(module, HyperLinear | HyperConv):
                module.gates.weight.zero_()
    first, second = (tuning.validation_loss(batch(10)) for _ in range(2))
    assert torch.equal(first, second), "no regularisation is drawn"
    first.backward()
    assert tuning.free.grad is not None
    assert not tuning.free.grad.any()


def test_the_entropy_is_the_formula_and_widens_the_perturbation() -> None:
    tuning = SelfTuning(network(), ["dropout", "jitter"], scale=0.5, entropy=1.0)
    assert tuning.scales() == {"dropout": pytest.approx(0.5), "jitter": pytest.approx(0.5)}
    expected = torch.distributions.Normal(torch.zeros(2), 0.5).entropy().sum()
    assert float(tuning.entropy().detach()) == pytest.approx(float(expected), rel=1e-5)
    (widens,) = torch.autograd.grad(tuning.entropy(), tuning.rho)
    for module in tuning.network.modules():
        if isinstance(module, HyperLinear | HyperConv):
            nn.init.zeros_(module.gates.weight)
    tuning.validation_loss(batch(10)).backward()
    assert tuning.rho.grad is not None
    assert torch.allclose(tuning.rho.grad, -widens), "where nothing answers, it is all that is left"
    assert bool((widens > 0).all())


def test_each_example_has_hyperparameters_of_its_own() -> None:
    x = torch.ones(2000, 40)
    shares = torch.linspace(0, 0.9, 2000)
    torch.manual_seed(0)
    found = dropped(x, shares)
    zero = (found == 0).double().mean(1)
    assert float((zero - shares).abs().mean()) < 0.07
    assert torch.equal(found[found > 0], (x / (1 - shares[:, None]))[found > 0]), "each divided by its own 1 - p"
    assert not dropped(x, torch.zeros(2000)).eq(0).any()
    noise = noisy(torch.zeros(2000, 400), shares).std(1)
    assert torch.allclose(noise, shares, atol=0.15)
    images = torch.rand(300, 3, 8, 8)
    assert torch.equal(jittered(images, torch.zeros(300)), images) or torch.allclose(
        jittered(images, torch.zeros(300)), images, atol=1e-6
    )
    assert float((jittered(images, torch.full((300,), 0.5)) - images).abs().mean()) > 0.02
    sides = torch.arange(300) % 5
    holes = (cut_out(images + 1, sides.float()) == 0).all(1)
    assert bool((holes.sum((1, 2)) <= sides**2).all())
    assert not holes[sides == 0].any()
    assert float((holes.sum((1, 2)) == sides**2).double().mean()) > 0.4
    with pytest.raises(UserError, match="cutout is of images"):
        cut_out(torch.ones(3, 4), torch.ones(3))


def test_the_perturbation_is_drawn_for_each_example() -> None:
    seen: list[Tensor] = []
    tuning = SelfTuning(network(), ["dropout"], scale=2.0)
    tuning.training_loss(batch(4))  # at first it looks whether the examples are told apart
    tuning.network[5].register_forward_pre_hook(lambda module, _: seen.append(module.now.free.detach().clone()))
    tuning.network.train()
    tuning.training_loss(batch(400))
    tuning.validation_loss(batch(400))
    for free in seen:
        assert free.shape == (400, 1)
        assert len(free.unique()) == 400
        assert float(free.std()) == pytest.approx(2.0, rel=0.2)
        assert float(free.mean() - tuning.free.detach()) == pytest.approx(0.0, abs=0.4)
    assert not torch.equal(seen[0], seen[1])


def test_it_learns_how_the_best_weights_answer_to_input_noise() -> None:
    """Noise of variance v on the inputs is ridge regression: w(v) = (X'X / n + v I)^-1 X'y / n."""
    torch.manual_seed(0)
    x = torch.randn(2048, 3) * torch.tensor([1.0, 0.7, 0.5])
    y = x @ torch.tensor([[1.0], [-1.0], [0.5]])
    noise = Hyperparameter("noise", 0.0, 1.5, 0.6, noisy)
    tuning = SelfTuning(nn.Linear(3, 1, bias=False), [noise], scale=0.3, loss=F.mse_loss)
    optimizer = torch.optim.Adam(tuning.weights(), 0.02)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 400)
        optimizer.zero_grad()
        tuning.training_loss((x, y)).backward()
        optimizer.step()
    for shift in (-0.3, 0.0, 0.3):
        with torch.no_grad():
            tuning.free.fill_(noise.free_start + shift)
            found = tuning.folded().weight[0].detach()
            v = tuning.values()["noise"] ** 2
            best = torch.linalg.solve(x.T @ x / 2048 + v * torch.eye(3), x.T @ y / 2048).flatten()
        assert float((found - best).norm() / best.norm()) < 0.1


def test_the_whole_training_is_repeatable_and_leaves_an_ordinary_network() -> None:
    train, val = [batch(16)], [batch(12)]
    given = network()
    before = torch.get_rng_state()
    one, again, other, fixed = (
        self_tuning(given, ALL, train, val, 12, warmup=4, rate=0.05, **more)
        for more in ({}, {}, {"seed": 1}, {"tunes_scale": False})
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert one.schedule == again.schedule != other.schedule
    assert [row["step"] for row in one.schedule] == [6, 8, 10, 12]
    assert one.values == {name: one.schedule[-1][name] for name in ALL}
    assert one.schedule[0]["dropout"] != one.schedule[-1]["dropout"]
    assert fixed.schedule[-1]["dropout_scale"] == pytest.approx(0.5)
    assert one.schedule[-1]["dropout_scale"] != pytest.approx(0.5, abs=1e-4)
    assert [type(module) for module in one.network.modules()] == [type(module) for module in network().modules()]
    assert torch.allclose(one.network(batch(10)[0]), one.tuning(batch(10)[0]), atol=1e-4)


def test_what_cannot_be_tuned_is_refused() -> None:
    with pytest.raises(UserError, match="learning rate, cannot be tuned so"):
        SelfTuning(network(), ["lr"])
    with pytest.raises(UserError, match="whose probability could be tuned"):
        SelfTuning(nn.Linear(3, 2), ["dropout"])
    with pytest.raises(UserError, match="can answer to hyperparameters"):
        SelfTuning(nn.ReLU(), ["input-noise"])
    for wrong in ([], ["dropout", "dropout"]):
        with pytest.raises(UserError, match="each once"):
            SelfTuning(network(), wrong)
    with pytest.raises(UserError, match="above 0"):
        SelfTuning(network(), ["dropout"], scale=0.0)
    with pytest.raises(UserError, match="one step or more"):
        self_tuning(network(), ["dropout"], [batch(10)], [batch(10)], 0)
    x, y = batch(10)
    with pytest.raises(UserError, match="take a smaller rate"):
        self_tuning(network(), ["dropout"], [(x * math.nan, y)], [batch(10)], 2)


def test_layers_that_share_their_weights_stay() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.drop, self.hidden = nn.Embedding(7, 5), nn.Dropout(), nn.Linear(5, 5)
            self.decoder = nn.Linear(5, 7)
            self.decoder.weight = self.embedding.weight

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.decoder(self.drop(self.hidden(self.embedding(x)).relu())).movedim(2, 1)
            return answer

    tuning = SelfTuning(Tied(), [replace(HYPERPARAMETERS["dropout"], start=0.3)])
    assert type(tuning.network.decoder) is nn.Linear
    assert isinstance(tuning.network.hidden, HyperLinear)
    plain = tuning.folded()
    assert plain.decoder.weight is plain.embedding.weight
    words = torch.randint(7, (4, 6))
    tuning.training_loss((words, words)).backward()
    assert torch.allclose(plain.eval()(words), tuning(words), atol=1e-5)


class Transformer(nn.Module):
    """Of texts (N, L, 8), whose order of dimensions inside may be the other one."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=batch_first)
        self.head, self.batch_first = nn.Linear(8, 3), batch_first

    def forward(self, x: Tensor) -> Tensor:
        padding = torch.zeros(x.shape[:2], dtype=torch.bool)
        found = self.encoder(x if self.batch_first else x.transpose(0, 1), src_key_padding_mask=padding)
        logits: Tensor = self.head(found.mean(1 if self.batch_first else 0))
        return logits


def test_the_layers_of_a_transformer_answer_in_eval_mode_too() -> None:
    torch.manual_seed(0)
    tuning, x, y = SelfTuning(Transformer(batch_first=True), ["dropout"]), torch.randn(6, 5, 8), torch.arange(6) % 3
    tuning.training_loss((x, y)).backward()
    assert isinstance(tuning.network.encoder.layers[0].linear1, HyperLinear)
    moved(tuning)
    loss = tuning.validation_loss((x, y))
    found = tuning(x)
    assert loss.isfinite()
    assert torch.allclose(found, tuning.folded().eval()(x), rtol=1e-3, atol=1e-3), "torch's fused layer is left out"


def test_what_is_sequence_first_stays_with_a_warning() -> None:
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="2 layers of a transformer without batch_first=True stay as they are"):
        tuning = SelfTuning(Transformer(batch_first=False), ["input-noise"])
    kinds = {type(module) for module in tuning.network.encoder.modules()}
    assert nn.Linear in kinds
    assert HyperLinear not in kinds
    for length in (6, 7, 12):  # 6 places would pass for the 6 examples
        assert tuning.training_loss((torch.randn(6, length, 8), torch.arange(6) % 3)).isfinite()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SelfTuning(Transformer(batch_first=True), ["input-noise"])


@pytest.mark.parametrize("rows", [1, 5, 9])
def test_rows_that_are_not_of_the_examples_are_refused(rows: int) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own, self.head, self.drop = nn.Linear(4, 4), nn.Linear(4, 3), nn.Dropout()

        def forward(self, x: Tensor) -> Tensor:
            constant = torch.ones(rows, 4)
            added = self.own(constant) if self.layer else self.drop(constant)
            answer: Tensor = self.head(x) + added.mean()
            return answer

    for layer in (True, False):
        tuning = SelfTuning(Constant(), ["dropout"])
        tuning.network.layer = layer
        with pytest.raises(UserError, match=f"reads {rows} rows in a batch of 6 examples"):
            tuning.training_loss((torch.randn(6, 4), torch.arange(6) % 3))


def test_weights_that_are_read_say_what_they_are_and_do_not_compute() -> None:
    plain = nn.Conv2d(3, 4, 3).double()
    layer = HyperConv(plain, Now(torch.zeros(2)))
    weight, bias = layer.weight, layer.bias
    assert (weight.dtype, weight.device, weight.shape, weight.dim()) == (
        torch.float64,
        plain.weight.device,
        (4, 3, 3, 3),
        4,
    )
    assert bias is not None
    assert bias.size(0) == 4
    assert HyperLinear(nn.Linear(3, 2, bias=False), Now(torch.zeros(2))).bias is None
    x = torch.randn(2, 3, 8, 8).double()
    for wrong in (lambda: F.conv2d(x, weight), lambda: weight * 2, lambda: x.sum() + bias, lambda: weight.data):
        with pytest.raises(UserError, match="let it call the layer instead"):
            wrong()


def test_whole_numbers_are_not_made_noisy() -> None:
    words = nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(20, 3))
    data = torch.randint(7, (6, 4)), torch.arange(6) % 3
    for name in ("input-noise", "jitter"):
        with pytest.raises(UserError, match=f"'{name}' is of floating-point inputs, not of a tensor .* of int64"):
            SelfTuning(words, [name]).training_loss(data)


def test_hyperparameters_that_are_no_list_of_names_are_refused() -> None:
    for wrong in ("dropout", HYPERPARAMETERS["dropout"], None):
        with pytest.raises(UserError, match="the hyperparameters are a list"):
            SelfTuning(network(), wrong)  # type: ignore[arg-type]
    for inside in (3, ["dropout"]):
        with pytest.raises(UserError, match="is a name or a Hyperparameter"):
            SelfTuning(network(), [inside])  # type: ignore[list-item]
    for name in ("lr", "dropuot"):
        with pytest.raises(UserError) as raised:
            SelfTuning(network(), [name])
        assert "cutout. Those of an optimizer" in str(raised.value)
