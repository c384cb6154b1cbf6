"""Generalisation measures against formulas written out, enumerated paths, explicit matrices and closed forms."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import weight_norm

import dnal
from dnal.analyses import BANK, generalisation
from dnal.analyses.measures.bank import against_samples
from dnal.analyses.measures.explicit import explicit, plan_of
from dnal.analyses.measures.norms import norm_measures
from dnal.analyses.measures.path import path_norm
from dnal.analyses.measures.sharpness import EPS, pac_bayes
from dnal.analyses.measures.spectral import convolution_norm
from dnal.base.errors import UserError
from independent import coin_flips


class Residual(nn.Module):
    """A stream that two batch norms write, of which one is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.own = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.before, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = x + self.own(self.inner(x))
        said: Tensor = self.head(self.before(x).relu().mean((2, 3)))
        return said


def twice() -> nn.Module:
    """A layer that runs twice, each time with a batch norm of its own: none can be folded."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.a, self.b = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            said: Tensor = self.b(self.layer(self.a(self.layer(x)).relu()))
            return said

    return Twice()


NETWORKS: dict[str, tuple[Any, tuple[int, ...], int, int]] = {
    "cifar/resnet20": (lambda: dnal.models.create("cifar/resnet20"), (3, 8, 8), 20, 19),
    "residual": (Residual, (3, 6, 6), 3, 2),
    "no affine": (lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2)), (5,), 2, 1),
    "norm first": (lambda: nn.Sequential(nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)), (5,), 1, 0),
    "twice": (twice, (4,), 1, 0),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 3, 2), nn.BatchNorm2d(3)), (3, 4, 4), 1, 0),
    "weight norm": (lambda: nn.Sequential(weight_norm(nn.Linear(5, 4)), nn.BatchNorm1d(4)), (5,), 1, 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_without_its_batch_norms_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    make, shape, weights, folds = NETWORKS[name]
    network, inputs = make(), torch.randn(3, *shape)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.data.uniform_(-2, 2)
                module.bias.data.normal_()
    before, own = copy.deepcopy(network.state_dict()), network.eval()(inputs)
    plan = plan_of(network, inputs)
    found = explicit(network, plan)
    assert (len(plan.weights), len(plan.folds)) == (weights, folds)
    assert torch.allclose(found.network(inputs), own, atol=1e-4 * float(own.detach().abs().max()))
    for path in plan.folds:
        assert bool((found.network.get_submodule(path).weight == 1).all())
    assert network.state_dict().keys() == before.keys()
    assert all(bool((value == before[key]).all()) for key, value in network.state_dict().items())
    assert torch.equal(network(inputs), own)


def test_a_scale_that_moves_into_the_batch_norm_moves_no_measure() -> None:
    """gamma * (W x) is a * gamma times (W / a) x: folded, they are one matrix."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(60, 6), torch.arange(60) % 3
    network = nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    other = copy.deepcopy(network)
    other[0].weight.data.mul_(4)
    other[1].weight.data.div_(4)
    ours, theirs = (generalisation(each, None, [(inputs, targets)]) for each in (network, other))
    assert ours.values == pytest.approx(theirs.values, rel=1e-5)


def test_norms_of_a_linear_network_by_hand() -> None:
    a, b = np.array([[1.0, 2.0], [0.0, 2.0], [1.0, 0.0]]), np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    a0, b0 = np.ones((3, 2)), np.zeros((2, 3))
    gamma = 0.5
    found = norm_measures([torch.tensor(a), torch.tensor(b)], [torch.tensor(a0), torch.tensor(b0)], gamma)
    spec = [float(np.linalg.svd(each)[1].max() ** 2) for each in (a, b)]
    fro = [float((each**2).sum()) for each in (a, b)]  # 10 and 14
    moved = [float(((a - a0) ** 2).sum()), float((b**2).sum())]
    moved_spec = [float(np.linalg.svd(each)[1].max() ** 2) for each in (a - a0, b)]
    assert (fro, moved) == ([10, 14], [4, 14])
    by_hand = {
        "l2": math.sqrt(24), "l2_dist": math.sqrt(18), "inverse_margin": 4.0, "param_norm": 24.0, "fro_dist": 18.0,
        "dist_spec_init": sum(moved_spec), "fro_over_spec": fro[0] / spec[0] + fro[1] / spec[1],
        "log_prod_of_spec": math.log(spec[0] * spec[1]),
        "log_prod_of_spec_over_margin": math.log(spec[0] * spec[1] / gamma**2),
        "log_sum_of_spec": math.log(2 * math.sqrt(spec[0] * spec[1])),
        "log_sum_of_spec_over_margin": math.log(2 * math.sqrt(spec[0] * spec[1] / gamma**2)),
        "log_prod_of_fro": math.log(140), "log_prod_of_fro_over_margin": math.log(140 / gamma**2),
        "log_sum_of_fro": math.log(2 * math.sqrt(140)),
        "log_sum_of_fro_over_margin": math.log(2 * math.sqrt(140 / gamma**2)),
        "log_spec_orig_main": math.log(spec[0] * spec[1] / gamma**2 * (fro[0] / spec[0] + fro[1] / spec[1])),
        "log_spec_init_main": math.log(spec[0] * spec[1] / gamma**2 * (moved[0] / spec[0] + moved[1] / spec[1])),
    }  # fmt: skip
    assert found == pytest.approx(by_hand)


def test_pac_bayes_by_hand() -> None:
    w, start, m, sigma, magnitude = np.array([1.0, -2.0, 0.5]), np.array([0.5, 0.0, 0.5]), 50, 0.2, 0.4
    found = pac_bayes([torch.from_numpy(w)], [torch.from_numpy(start)], m, sigma, magnitude)
    moved = (w - start) ** 2

    def magnitude_of(reference: float) -> float:
        terms = np.log((EPS**2 + (magnitude**2 + 1) * reference / 3) / (EPS**2 + magnitude**2 * moved))
        return float(terms.sum()) / 4 + math.log(m / magnitude) + 10

    assert found == pytest.approx(
        {
            "pacbayes_init": float(moved.sum()) / (4 * 0.04) + math.log(250) + 10,
            "pacbayes_orig": float((w**2).sum()) / (4 * 0.04) + math.log(250) + 10,
            "pacbayes_flatness": 25.0, "pacbayes_mag_flatness": 6.25,
            "pacbayes_mag_init": magnitude_of(float(moved.sum())),
            "pacbayes_mag_orig": magnitude_of(float((w**2).sum())),
        }
    )  # fmt: skip


def test_the_path_norm_is_the_sum_over_enumerated_paths() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    first, second = network.requires_grad_(False)[0], network[2]
    total = sum(
        float(first.weight[hidden, entry] * second.weight[out, hidden]) ** 2
        for entry, hidden, out in itertools.product(range(3), range(4), range(2))
    )
    total += sum(float(first.bias[hidden] * second.weight[out, hidden]) ** 2 for hidden in range(4) for out in range(2))
    total += sum(float(bias) ** 2 for bias in second.bias)
    assert path_norm(network, torch.randn(7, 3)) == pytest.approx(total)


def test_rescaled_relu_layers_keep_the_path_norm_and_not_the_others() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)
    )
    other = copy.deepcopy(network)
    by = torch.tensor([0.25, 2.0, 4.0, 8.0])
    other[0].weight.data *= by.view(-1, 1, 1, 1)
    other[0].bias.data *= by
    other[3].weight.data /= by.view(1, -1, 1, 1)
    inputs = torch.randn(20, 1, 8, 8)
    targets = network(inputs).argmax(1)
    assert torch.allclose(network(inputs), other(inputs), atol=1e-5)
    ours, theirs = (generalisation(each, network, [(inputs, targets)]) for each in (network, other))
    for name in ("path_norm", "path_norm_over_margin", "params", "inverse_margin"):
        assert ours.values[name] == pytest.approx(theirs.values[name], rel=1e-4)
    assert abs(ours.values["param_norm"] - theirs.values["param_norm"]) > 0.1
    # Noise in units of each weight follows them, except for what weights near 0 get.
    assert ours.sigma_magnitude == pytest.approx(theirs.sigma_magnitude, rel=0.1)


@pytest.mark.parametrize(
    ("channels", "size", "stride", "dilation", "groups"),
    [((3, 5), (6, 6), 1, 1, 1), ((4, 2), (8, 6), 2, 1, 1), ((4, 6), (5, 7), 1, 2, 2), ((6, 6), (6, 9), 3, 1, 6),
     ((2, 3), (4, 4), (2, 1), 1, 1), ((2, 2), (2, 2), 1, 1, 1)],
)  # fmt: skip
def test_the_norm_by_fourier_is_that_of_the_explicit_matrix(
    channels: tuple[int, int], size: tuple[int, int], stride: Any, dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    inputs, outputs = channels
    kernel = torch.randn(outputs, inputs // groups, 3, 3, dtype=torch.float64)
    entries = inputs * math.prod(size)
    maps = torch.eye(entries, dtype=torch.float64).view(entries, inputs, *size)
    reach = 2 * dilation
    around = maps[:, :, torch.arange(size[0] + reach) % size[0]][:, :, :, torch.arange(size[1] + reach) % size[1]]
    matrix = F.conv2d(around, kernel, stride=stride, dilation=dilation, groups=groups).flatten(1)
    steps = (stride, stride) if isinstance(stride, int) else stride
    found = convolution_norm(kernel, size, stride=steps, dilation=(dilation,) * 2, groups=groups)
    assert found == pytest.approx(float(torch.linalg.matrix_norm(matrix, ord=2)), rel=1e-9)


def test_exact_spectral_norms_are_those_of_the_maps_that_the_network_sees() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    data = [(torch.randn(20, 2, 8, 8), torch.arange(20) % 3)]
    found = generalisation(network, None, data, exact_spectral=True).values["log_prod_of_spec"]
    spec = [convolution_norm(network[0].weight.detach(), (8, 8), stride=2),
            float(torch.linalg.matrix_norm(network[3].weight.double(), ord=2))]  # fmt: skip
    assert 2 * found + math.log(20) == pytest.approx(2 * math.log(spec[0] * spec[1]))
    assert found != generalisation(network, None, data).values["log_prod_of_spec"]


def test_the_noise_is_a_standard_deviation() -> None:
    """Two classes by the sign of (w - v) x: with noise of s on both, a share Phi(-(w - v) / (s sqrt(2))) is wrong."""
    network = nn.Linear(1, 2, bias=False)
    network.weight.data[:] = torch.tensor([[0.3], [-0.3]])
    data = [(torch.ones(1, 1), torch.zeros(1, dtype=torch.long)) for _ in range(1600)]
    found = generalisation(network, None, data)
    sigma = 0.6 / (math.sqrt(2) * -stats.norm.ppf(0.1))
    assert found.accuracy == 1
    assert found.sigma == pytest.approx(sigma, rel=0.12)  # 0.33; the reference code would say 0.58
    assert found.sigma_magnitude == pytest.approx(sigma / 0.3, rel=0.12)
    assert found.values["pacbayes_flatness"] == against_samples("", found.sigma**-2, 1600)


def test_a_network_that_says_nothing_bears_all_noise() -> None:
    network = nn.Linear(2, 2)
    for parameter in network.parameters():
        parameter.data.zero_()
    found = generalisation(network, network, [(torch.zeros(12, 2), torch.zeros(12, dtype=torch.long))])
    assert (found.margin, found.sigma) == (0.0, 2.0)
    assert any("No noise up to 2" in remark for remark in found.remarks)
    assert found.values["inverse_margin"] == math.inf
    assert found.values["fro_dist"] == found.values["l2_dist"] == found.values["path_norm"] == 0


def test_everything_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    network = Residual().train()
    initial = Residual()
    before = copy.deepcopy((network.state_dict(), initial.state_dict()))
    data = [(torch.randn(16, 3, 6, 6), torch.arange(16) % 3)]
    drawn = torch.random.get_rng_state()
    found = generalisation(network, initial, data)
    assert list(found.values) == [one.name for one in BANK]
    assert all(math.isfinite(value) for value in found.values.values())
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert network.training
    for own, kept in zip((network, initial), before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in own.state_dict().items())
    assert generalisation(network, initial, data) == found
    assert any("'before'" in remark for remark in found.remarks)


def test_what_cannot_be_measured_is_a_sentence() -> None:
    inputs, targets = torch.randn(8, 4), torch.arange(8) % 2
    gelu = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))
    found = generalisation(gelu, None, [(inputs, targets)])
    assert not {"path_norm", "l2_dist", "pacbayes_init"} & found.values.keys()
    assert "There is no path norm of this network: no path runs through its GELU '1'." in found.remarks
    with pytest.raises(UserError, match="no matrix"):
        generalisation(nn.ReLU(), None, [(inputs, targets)])
    with pytest.raises(UserError, match="no batch"):
        generalisation(gelu, None, [])
    with pytest.raises(UserError, match="same shape"):
        generalisation(gelu, nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)), [(inputs, targets)])


def test_no_remark_names_what_torch_makes_of_a_module() -> None:
    """A layer norm over the channels that are open is several operations, none of which a user wrote."""
    torch.manual_seed(0)
    plain, inputs = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(6, 6)
    small = dnal.compact(plain, coin_flips(dnal.Space.of(plain, inputs, norms="open"), 1))
    for network in (plain, small):
        remarks = generalisation(network, None, [(inputs, torch.arange(6) % 3)]).remarks
        assert "There is no path norm of this network: no path runs through its LayerNorm '1'." in remarks


def test_sequences_and_tied_weights_are_read_too() -> None:
    """An attention layer's joint matrix counts once, and so does a table that is the last layer too."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 8)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.head = nn.Linear(8, 10, bias=False)
            self.head.weight = self.table.weight

        def forward(self, tokens: Tensor) -> Tensor:
            said: Tensor = self.head(self.layer(self.table(tokens)).mean(1))
            return said

    torch.manual_seed(0)
    network = Words()
    tokens = torch.randint(10, (12, 5))
    plan = plan_of(network, tokens)
    names = {"layer.self_attn.in_proj_weight", "layer.self_attn.out_proj.weight", "layer.linear1.weight"}
    assert names < set(plan.weights)
    assert len(plan.weights) == 5
    assert generalisation(network, None, [(tokens, torch.arange(12) % 10)]).values["param_norm"] > 0
