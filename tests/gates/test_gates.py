"""Gates at the readers: where they equal the paper's scale layer, where not, and their gradients."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import dnal
from dnal.gates.gated import hard_gates, sigmoid_gates
from independent import coin_flips, difference, randomise, run
from networks import EXAMPLES, between, conv, image

DELTA = 1.7


class Scale(nn.Module):
    """The paper's layer (arXiv 2103.02126): every channel times sigmoid(delta * s)."""

    def __init__(self, s: Tensor) -> None:
        super().__init__()
        self.s = nn.Parameter(s.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(DELTA * self.s).view(1, -1, 1, 1)


def chain(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    return randomise(
        nn.Sequential(
            conv(3, 8), nn.BatchNorm2d(8), activation(), nn.MaxPool2d(2),
            conv(8, 6), nn.BatchNorm2d(6), activation(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Linear(24, 5),
        )
    )  # fmt: skip


def with_scale_layers(network: nn.Sequential, gated: dnal.Gated, space: dnal.Space) -> nn.Sequential:
    """The chain with the paper's layer after each batch norm, holding the same s. Shares the chain's parameters."""
    first, second = (gated.s[space.sources[name][0]] for name in ("0.weight", "4.weight"))
    layers = list(network)
    return nn.Sequential(*layers[:2], Scale(first), *layers[2:6], Scale(second), *layers[6:])


def gated_with_random_s(network: nn.Module, space: dnal.Space) -> dnal.Gated:
    gated = dnal.Gated(network, space)
    gated.delta = DELTA
    with torch.no_grad():
        gated.s.copy_(torch.randn(space.num_variables, generator=torch.Generator().manual_seed(1)))
    return gated


def gradients(network: nn.Module, images: Tensor, wanted: list[Tensor]) -> tuple[Tensor, ...]:
    out = network(images)
    weight = torch.linspace(-1, 1, out.numel()).view_as(out)
    return (out, *torch.autograd.grad((out * weight).sum(), wanted))


@pytest.mark.parametrize("training", [False, True])
def test_gates_at_the_readers_equal_the_papers_scale_layer(training: bool) -> None:
    network, images = chain(), image()
    space = dnal.Space.of(network, images)
    gated = gated_with_random_s(network, space)
    paper = with_scale_layers(network, gated, space).train(training)
    gated.train(training)
    weights = list(network.parameters())

    ours, s, *of_weights = gradients(gated, images, [gated.s, *weights])
    theirs, first, second, *expected = gradients(paper, images, [paper[2].s, paper[7].s, *weights])
    assert difference([theirs.detach()], [ours.detach()]) <= 1e-5
    of_s = torch.empty_like(s)
    of_s[space.sources["0.weight"][0]] = first
    of_s[space.sources["4.weight"][0]] = second
    assert difference([of_s], [s]) <= 1e-5
    scale = max(float(g.abs().max()) for g in expected)
    for one, other in zip(expected, of_weights, strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * scale


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.SiLU, nn.Hardswish])
def test_they_do_not_behind_an_activation_that_does_not_scale(activation: type[nn.Module]) -> None:
    network, images = chain(activation), 20 * image()  # far enough to reach the bend of ReLU6
    space = dnal.Space.of(network, images)
    gated = gated_with_random_s(network, space).eval()
    paper = with_scale_layers(network, gated, space).eval()
    assert difference(run(paper, images), run(gated, images)) > 1e-2


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = (nn.Sequential(conv(n, 8), nn.BatchNorm2d(8)) for n in (3, 8))
        self.after_stem, self.after_branch = nn.Identity(), nn.Identity()
        self.last = conv(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.after_stem(self.stem(x)).relu()
        return self.last((x + self.after_branch(self.branch(x))).relu())


def test_they_do_not_in_a_residual_sum() -> None:
    """The paper scales each block's output by an s of its own; here the stream has one variable per channel."""
    torch.manual_seed(0)
    network, images = randomise(Residual()).eval(), image()
    space = dnal.Space.of(network, images)
    assert space.num_variables == 8
    gated = gated_with_random_s(network, space).eval()
    paper = copy.deepcopy(network)
    ids = space.sources["stem.0.weight"][0]
    paper.after_stem, paper.after_branch = Scale(gated.s[ids]), Scale(gated.s[ids])
    assert difference(run(paper, images), run(gated, images)) <= 1e-5  # equal as long as every block agrees
    with torch.no_grad():
        paper.after_branch.s.neg_()
    assert difference(run(paper, images), run(gated, images)) > 1e-2
    paper.after_stem = nn.Identity()  # and the paper's shortcut is not scaled at all
    assert difference(run(paper, images), run(gated, images)) > 1e-2


# Gradients and modes

SOFT = [
    "conv-bn chain", "residual sums tie", "depthwise", "depthwise with a multiplier", "wide groups lose positions",
    "narrow groups leave whole", "squeeze-excite", "concatenation keeps parts apart", "flatten into linear",
    "linear on three dimensions", "tied weights", "a module called twice", "channel shuffle", "transposed convolution",
    "a buffer as weight", "a matrix of one's own", "a zero buffer's channels may leave",
]  # fmt: skip


@pytest.mark.parametrize("name", SOFT)
def test_the_gradient_of_s_is_that_of_finite_differences(name: str) -> None:
    build, _, inputs = EXAMPLES[name]
    torch.manual_seed(0)
    network, example = randomise(build()).eval().double(), inputs().double()
    space = dnal.Space.of(network, example)
    gated = gated_with_random_s(network, space).double()

    def loss(s: Tensor) -> Tensor:
        out = functional_call(gated, {"s": s}, (example.clone(),))
        return (out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)).sum()

    s = gated.s.detach().clone()
    (found,) = torch.autograd.grad(loss(s.requires_grad_()), s)
    with torch.no_grad():
        step = 1e-6 * torch.eye(len(s), dtype=torch.float64)
        expected = torch.stack([(loss(s + one) - loss(s - one)) / 2e-6 for one in step])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    assert expected.any()


@pytest.mark.parametrize("delta", [0.1, 1.0, 10.0, 1e4])
def test_hard_gates_are_zero_or_one_with_the_sigmoids_gradient(delta: float) -> None:
    s = torch.cat((torch.linspace(-3, 3, 1001), torch.tensor([1e-8, -1e-8, 1e4, -1e4]))).requires_grad_()
    hard = hard_gates(s, delta)
    assert torch.equal(hard, (s > 0).float())
    weight = torch.randn(len(s))
    (found,) = torch.autograd.grad((hard * weight).sum(), s)
    (expected,) = torch.autograd.grad((sigmoid_gates(s, delta) * weight).sum(), s)
    assert torch.equal(found, expected)


def test_sigmoid_gates_are_the_papers() -> None:
    s = torch.tensor([-2.0, 0.0, 0.5])
    assert sigmoid_gates(s, 3.0).tolist() == pytest.approx([1 / (1 + 2.718281828**6), 0.5, 1 / (1 + 2.718281828**-1.5)])


@pytest.mark.parametrize("name", ["residual sums tie", "squeeze-excite", "narrow groups leave whole", "tied weights"])
def test_hard_gates_compute_the_architecture_they_stand_for(name: str) -> None:
    build, _, inputs = EXAMPLES[name]
    network, example = randomise(build()).eval(), inputs()
    space = dnal.Space.of(network, example)
    architecture = coin_flips(space, seed=1)
    gated = dnal.Gated(network, space).eval()
    gated.hard = True
    with torch.no_grad():
        gated.s.copy_(torch.where(architecture.open, 1.0, -1.0))
    assert difference(run(gated, example), run(dnal.gated(network, architecture), example)) == 0


def test_disabled_gates_are_the_network_itself() -> None:
    network, images = chain().eval(), image()
    gated = gated_with_random_s(network, dnal.Space.of(network, images)).eval()
    assert difference(run(network, images), run(gated, images)) > 1e-3
    gated.enabled = False
    assert difference(run(network, images), run(gated, images)) == 0


@pytest.mark.parametrize("name", ["tied weights", "a module called twice", "residual sums tie"])
def test_gates_leave_the_network_as_it_was(name: str) -> None:
    build, _, inputs = EXAMPLES[name]
    network, example = randomise(build()).eval(), inputs()
    space = dnal.Space.of(network, example)
    before, tensors = run(network, example), dict(network.named_parameters(remove_duplicate=False))
    gated = gated_with_random_s(network, space)
    first = run(gated, example)
    assert difference(first, run(gated, example)) == 0
    run(dnal.gated(network, dnal.Architecture.random(space, 0.5)), example)
    assert difference(before, run(network, example)) == 0
    after = dict(network.named_parameters(remove_duplicate=False))
    assert after.keys() == tensors.keys()
    assert all(after[n] is tensor for n, tensor in tensors.items())


def test_a_copy_is_independent() -> None:
    network, images = chain(), image()
    gated = gated_with_random_s(network, dnal.Space.of(network, images)).eval()
    before = run(gated, images)
    twin = copy.deepcopy(gated)
    assert difference(before, run(twin, images)) == 0
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    twin.delta, twin.hard, twin.enabled = 9.0, True, False
    assert difference(before, run(gated, images)) == 0
    assert gated.network is network


def test_gated_owns_s_and_the_network_and_no_more() -> None:
    network = chain()
    space = dnal.Space.of(network, image())
    gated = dnal.Gated(network, space, start=2.0)
    assert torch.equal(gated.s, torch.full((space.num_variables,), 2.0))
    names = {name for name, _ in gated.named_parameters()}
    assert names == {"s"} | {f"network.{name}" for name, _ in network.named_parameters()}
    assert set(gated.state_dict()) == {"s"} | {f"network.{name}" for name in network.state_dict()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gates_take_the_weights_precision(dtype: torch.dtype) -> None:
    network, images = between(8, nn.BatchNorm2d(8), nn.ReLU()).to(dtype), image().to(dtype)
    gated = dnal.Gated(network, dnal.Space.of(network, images))
    out = gated(images)
    assert out.dtype == dtype
    out.float().sum().backward()
    assert gated.s.grad.isfinite().all()


def test_gated_networks_share_the_parameters_and_the_mode() -> None:
    network, images = chain().train(), image()
    space = dnal.Space.of(network, images)
    architecture = dnal.Architecture.random(space, 0.5)
    gated = dnal.gated(network, architecture)
    assert gated.training
    assert network.training
    gated(images).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    reader, kept = network[4].weight.grad, architecture.kept["4.weight"][1]
    closed = torch.ones(8, dtype=torch.bool).index_fill(0, kept, False)
    assert not reader[:, closed].any()
    assert reader[:, kept].any()
    assert not dnal.gated(network.eval(), architecture).training


def test_a_network_without_variables_passes_through() -> None:
    network, images = conv(3, 4), image()
    space = dnal.Space.of(network, images)
    assert space.num_variables == 0
    assert difference(run(network, images), run(dnal.Gated(network, space), images)) == 0
    assert difference(run(network, images), run(dnal.gated(network, dnal.Architecture.full(space)), images)) == 0


def test_gates_of_another_network_are_refused() -> None:
    space = dnal.Space.of(chain(), image())
    for other, sentence in (
        (nn.Linear(3, 3), "the space belongs to another network: this one has no tensor '0.weight'"),
        (
            nn.Sequential(conv(3, 7), *chain()[1:]),
            r"'0.weight' has the shape \(7, 3, 3, 3\) here and \(8, 3, 3, 3\) there",
        ),
        (nn.Sequential(*chain(), nn.Linear(5, 5)), "'10.weight' is not in it"),
    ):
        with pytest.raises(dnal.UserError, match=sentence):
            dnal.Gated(other, space)
