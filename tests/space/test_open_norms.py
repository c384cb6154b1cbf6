"""Norms over the channels that are open: half-closed networks, with all their streams, against networks whose norms are
told which channels exist."""

import copy
import functools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from normed import STREAMED, Llama, Standard, ViT, images, tokens, told
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import dnal
from dnal.changes.masks import empty_variables
from dnal.run.shape import cut, read_shape, shape_of, written
from dnal.space.surgery.norms import WEIGHTED, NormCall, hard_weights, weighted
from independent import assert_exact, coin_flips, counted_macs, difference, parameter_count, randomise, run, zero_twin
from networks import Net

TOLERANCE = 1e-4


@functools.cache
def made(name: str) -> tuple[nn.Module, Tensor, dnal.Space]:
    torch.manual_seed(0)
    network, inputs = randomise(STREAMED[name][0]()).eval(), STREAMED[name][1]()
    return network, inputs, dnal.Space.of(network, inputs, norms="open")


@pytest.mark.parametrize("name", STREAMED)
def test_half_closed_networks_are_those_whose_norms_are_told(name: str) -> None:
    network, inputs, space = made(name)
    architecture = coin_flips(space, 1)
    assert any(norm.size > len(norm.stays) for norm in architecture.kept.norms)
    reference = run(told(network, space, architecture.open), inputs)
    small = dnal.compact(network, architecture)
    assert difference(reference, run(small, inputs)) <= TOLERANCE
    assert difference(reference, run(dnal.gated(network, architecture), inputs)) <= TOLERANCE
    assert difference(reference, run(zero_twin(network, space, architecture.open), inputs)) > 100 * TOLERANCE
    other = coin_flips(space, 3)
    assert difference(reference, run(told(network, space, other.open), inputs)) > 100 * TOLERANCE
    assert float(space.costs["params"](architecture.open)) == parameter_count(small)
    assert float(space.costs["macs"](architecture.open)) == dnal.macs(small, inputs)
    if name not in ("bert", "llama"):  # torch overlooks fused attention
        assert dnal.macs(small, inputs) == counted_macs(small, inputs, len(inputs))


@pytest.mark.parametrize("name", STREAMED)
def test_the_streams_are_variables(name: str) -> None:
    network, inputs, space = made(name)
    _, _, inside, streams = STREAMED[name]
    fixed = dnal.Space.of(network, inputs)
    assert not fixed.norms
    assert (fixed.num_variables, space.num_variables) == (inside, inside + streams)
    assert space.removable_share == 1.0
    names = [tensor for tensor, dims in space.sources.items() if "norm" in tensor and dims == (None,)]
    assert not names


@pytest.mark.parametrize("name", ["vit", "llama", "pooled"])
def test_the_gates_of_a_search_are_those_of_the_compact_network(name: str) -> None:
    network, inputs, space = made(name)
    architecture = coin_flips(space, 3)
    gated = dnal.Gated(copy.deepcopy(network), space)
    gated.hard = True
    with torch.no_grad():
        gated.s.copy_(torch.where(architecture.open, 1.0, -1.0))
    expected = run(dnal.compact(network, architecture), inputs)
    for training in (False, True):
        gated.train(training)
        with torch.enable_grad():
            assert difference(expected, [gated(inputs)]) <= TOLERANCE


def by_hand(x: Tensor, gate: Tensor, norm: nn.LayerNorm) -> Tensor:
    mean = sum(gate[i] * x[:, i] for i in range(len(gate))) / gate.sum()
    variance = sum(gate[i] * (x[:, i] - mean) ** 2 for i in range(len(gate))) / gate.sum()
    return (x - mean[:, None]) / (variance[:, None] + norm.eps).sqrt() * norm.weight + norm.bias


def test_soft_gates_weight_the_channels_and_the_gradient_goes_through_them() -> None:
    torch.manual_seed(0)
    network = randomise(nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2))).double()
    x = torch.randn(4, 3, dtype=torch.double)
    gated = dnal.Gated(network, dnal.Space.of(network, x, norms="open")).double()
    with torch.no_grad():
        gated.s.copy_(torch.randn(5))

    s = gated.s.detach().clone().requires_grad_()
    gate = torch.sigmoid(s)
    expected = (by_hand(network[0](x), gate, network[1]) * gate) @ network[2].weight.T + network[2].bias
    torch.testing.assert_close(gated(x), expected)
    direction = torch.randn_like(expected)
    (ours,) = torch.autograd.grad((gated(x) * direction).sum(), gated.s)
    (theirs,) = torch.autograd.grad((expected * direction).sum(), s)
    torch.testing.assert_close(ours, theirs)

    with torch.no_grad():  # gates that are all alike leave the norm as it is
        gated.s.fill_(0.3)
    alike = (network[1](network[0](x)) * torch.sigmoid(torch.tensor(0.3))) @ network[2].weight.T + network[2].bias
    torch.testing.assert_close(gated(x), alike)


CALLS: dict[str, tuple[str, int, Callable[[Tensor, Tensor, Tensor], Any]]] = {
    "layer_norm": ("layer_norm", -1, lambda x, w, b: F.layer_norm(x, (x.size(-1),), w, b, 1e-3)),
    "layer_norm plain": ("layer_norm", -1, lambda x, w, b: F.layer_norm(x, x.shape[-1:])),
    "layer_norm of two": ("layer_norm", -2, lambda x, w, b: torch.layer_norm(x, x.shape[-2:])),
    "rms_norm": ("rms_norm", -1, lambda x, w, b: F.rms_norm(x, (x.size(-1),), w)),
    "rms_norm eps": ("rms_norm", -1, lambda x, w, b: F.rms_norm(x, (x.size(-1),), eps=0.1)),
    "group_norm": ("group_norm", -3, lambda x, w, b: F.group_norm(x, 1, w, b)),
    "group_norm plain": ("group_norm", -3, lambda x, w, b: torch.group_norm(x, 1, eps=0.1)),
    "mean": ("mean", -3, lambda x, w, b: x.mean()),
    "mean of one": ("mean", -3, lambda x, w, b: x.mean(1)),
    "mean of two": ("mean", -3, lambda x, w, b: torch.mean(x, dim=(1, 3), keepdim=True)),
    "mean by axis": ("mean", -1, lambda x, w, b: torch.mean(input=x, axis=-1)),
    "mean in double": ("mean", -2, lambda x, w, b: x.mean((0, 2), True, dtype=torch.double)),
    "var": ("var", -3, lambda x, w, b: x.var(1)),
    "var biased": ("var", -1, lambda x, w, b: x.var(-1, False, True)),
    "var of all": ("var", -1, lambda x, w, b: x.var(unbiased=True)),
    "var corrected": ("var", -2, lambda x, w, b: torch.var(x, dim=(1, 2), correction=2)),
    "std": ("std", -3, lambda x, w, b: torch.std(x, 1, unbiased=False, keepdim=True)),
    "var_mean": ("var_mean", -1, lambda x, w, b: torch.var_mean(x, -1, correction=0)),
    "std_mean": ("std_mean", -1, lambda x, w, b: torch.std_mean(x, (-1, 1), keepdim=True)),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_function_over_some_channels_is_that_of_these_channels(name: str) -> None:
    function, dim, compute = CALLS[name]
    torch.manual_seed(0)
    x, open_channels = torch.randn(2, 6, 4, 5), torch.tensor([0, 2, 3])
    size = x.size(dim)
    weight, bias = torch.randn(size), torch.randn(size)
    network = Net(lambda n, x: compute(x, weight, bias))
    weights = hard_weights([(NormCall("", function, 0, dim), size, open_channels)], torch.device("cpu"))
    with weighted(network, weights):
        found = network(x)
    expected = compute(x.index_select(dim, open_channels), weight[open_channels], bias[open_channels])
    for one, other in zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]:
        if one.dim() == x.dim() and one.size(dim) == size:  # closed channels are whatever they are: nothing reads them
            one = one.index_select(dim, open_channels)
        torch.testing.assert_close(one, other)
    assert {function for function, _, _ in CALLS.values()} == set(WEIGHTED)


def test_the_file_of_an_architecture_has_the_norms(tmp_path: Path) -> None:
    network, inputs, space = made("vit")
    saved = coin_flips(space, 1)
    saved.save(tmp_path / "architecture.json")
    loaded = dnal.Architecture.load(tmp_path / "architecture.json")
    assert loaded == saved
    expected = run(dnal.gated(network, saved), inputs)
    assert difference(expected, run(dnal.gated(network, loaded), inputs)) == 0
    assert difference(expected, run(dnal.compact(network, loaded), inputs)) <= TOLERANCE  # checks itself


WRONG: dict[str, Callable[[list[Any]], Any]] = {
    "no list": lambda n: 3,
    "too short": lambda n: [n[0][:5]],
    "another function": lambda n: [["", "cos", *n[0][2:]]],
    "no function": lambda n: [["", ["mean"], *n[0][2:]]],
    "a path of numbers": lambda n: [[3, *n[0][1:]]],
    "a huge size": lambda n: [[*n[0][:4], 2**61, [0]]],
    "a size of text": lambda n: [[*n[0][:4], "8", [0]]],
    "indices beyond the size": lambda n: [[*n[0][:4], 2, [0, 7]]],
    "no index": lambda n: [[*n[0][:5], []]],
    "unsorted": lambda n: [[*n[0][:5], [1, 0]]],
    "a dimension from the front": lambda n: [[*n[0][:3], 1, *n[0][4:]]],
    "a negative turn": lambda n: [[*n[0][:2], -1, *n[0][3:]]],
    "the same twice": lambda n: [n[0], n[0]],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_hostile_list_of_norms_is_refused_in_one_sentence(name: str) -> None:
    document = coin_flips(made("vit")[2], 1).document()
    document["norms"] = WRONG[name](json.loads(json.dumps(document["norms"])))
    with pytest.raises(dnal.UserError) as caught:
        dnal.Architecture.of_document(document)
    assert str(caught.value).count("\n") == 0


def test_norms_of_a_module_that_is_not_there_are_refused() -> None:
    network, _, space = made("vit")
    document = coin_flips(space, 1).document()
    document["norms"][0][0] = "nowhere"
    architecture = dnal.Architecture.of_document(document)
    with pytest.raises(dnal.UserError, match="no module 'nowhere'"):
        dnal.gated(network, architecture)(images())


def test_a_smaller_network_becomes_smaller_again_and_is_copied_and_trained() -> None:
    network, inputs, space = made("vit")
    small = dnal.compact(network, coin_flips(space, 1, keep=0.7))
    again = dnal.Space.of(small, inputs, norms="open")
    assert again.removable_share == 1.0
    architecture = coin_flips(again, 2)
    smaller = dnal.compact(small, architecture)
    assert difference(run(told(small, again, architecture.open), inputs), run(smaller, inputs)) <= TOLERANCE
    twin = copy.deepcopy(smaller).train()
    F.cross_entropy(twin(inputs), torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())


@pytest.mark.slow
def test_a_network_that_is_told_the_width_of_its_stream_is_exported_and_pickled() -> None:
    """Swin's attention computes the width of a head from that of the stream, which has fewer channels now."""
    network, inputs, space = made("swin")
    small = dnal.compact(network, coin_flips(space, 1))
    assert any(
        change.target.function == "shape" for change in coin_flips(space, 1).kept.sizes if len(change.target) == 4
    )
    expected = small(inputs)
    for other in (
        pickle.loads(pickle.dumps(small)),
        torch.jit.trace(small, inputs),
        torch.export.export(small, (inputs,)).module(),
    ):
        torch.testing.assert_close(other(inputs), expected)
    free = torch.export.export(small, (inputs,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    torch.testing.assert_close(free(inputs[:1].repeat(3, 1, 1, 1)), small(inputs[:1].repeat(3, 1, 1, 1)))


def test_a_shape_in_text_holds_the_answers(tmp_path: Path) -> None:
    network, inputs, space = made("swin")
    architecture = coin_flips(space, 1)
    shape = shape_of(architecture)
    (tmp_path / "shape.txt").write_text(written(shape))
    again = read_shape(tmp_path / "shape.txt")
    assert again.numbers == shape.numbers
    outlined = cut(again, network)
    assert [p.shape for p in outlined.parameters()] == [
        p.shape for p in dnal.compact(network, architecture).parameters()
    ]
    assert outlined(inputs).shape == (len(inputs), 5)


def test_activation_checkpointing_takes_the_same_means_again() -> None:
    class Checkpointed(ViT):
        def forward(self, x: Tensor) -> Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2)
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
            return self.head(self.norm(x).mean(1))

    class Plain(Checkpointed):
        def forward(self, x: Tensor) -> Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2)
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x).mean(1))

    torch.manual_seed(0)
    plain = randomise(Plain())
    space = dnal.Space.of(plain, images(), norms="open")
    other = Checkpointed()
    other.load_state_dict(plain.state_dict())
    found = []
    for network in (plain, other):
        gated = dnal.Gated(network, space)
        with torch.no_grad():
            gated.s.copy_(torch.linspace(-1, 1, space.num_gates))
        gated(images()).square().sum().backward()
        found.append([gated.s.grad, *(p.grad for p in network.parameters() if p.grad is not None)])
    assert difference(*found) <= 1e-5


@pytest.mark.slow
def test_compiled_gates_are_the_same() -> None:
    network, inputs, space = made("llama")
    gated = dnal.Gated(copy.deepcopy(network), space)
    with torch.no_grad():
        gated.s.copy_(torch.linspace(-2, 2, space.num_gates))
    expected = gated(inputs)
    compiled = torch.compile(gated, backend="eager")
    torch.testing.assert_close(compiled(inputs), expected)


def test_norms_stay_precise_under_autocast() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3))
    x = torch.randn(5, 6)
    gated = dnal.Gated(network, dnal.Space.of(network, x, norms="open"))
    with torch.autocast("cpu", torch.bfloat16):
        seen: list[Tensor] = []
        handle = network[1].register_forward_hook(lambda m, a, out: seen.append(out))
        gated(x)
        handle.remove()
        network(x)
        assert seen[0].dtype == network[1](network[0](x)).dtype
    half = copy.deepcopy(network).bfloat16()
    gated = dnal.Gated(half, dnal.Space.of(network, x, norms="open"))
    assert gated(x.bfloat16()).dtype == torch.bfloat16


def test_a_call_over_other_channels_is_refused() -> None:
    def compute(n: Net, x: Tensor) -> Tensor:
        y = n.first(x)
        return n.last(y - (x if n.other else y).mean(-1, keepdim=True))

    network = Net(compute, first=nn.Linear(3, 8), last=nn.Linear(8, 2))
    network.other = False
    x = torch.randn(4, 3)
    gated = dnal.Gated(network, dnal.Space.of(network, x, norms="open"))
    gated(x)
    network.other = True
    with pytest.raises(dnal.UserError, match="a mean in '' runs over other channels"):
        gated(x)


def test_streams_are_chosen_by_name() -> None:
    network, inputs, space = made("vit")
    without = dnal.Space.of(network, inputs, norms="open", exclude="patches")
    assert space.num_variables - without.num_variables == 12
    assert not without.norms
    by_norm = dnal.Space.of(network, inputs, norms="open", exclude="blocks.0.norm1")
    assert by_norm.num_variables == without.num_variables
    only = dnal.Space.of(network, inputs, norms="open", include=["*.fc1"])
    assert only.num_variables == 2 * 24


def test_no_other_norms_are_known() -> None:
    with pytest.raises(dnal.UserError, match="fixed or open"):
        dnal.Space.of(nn.Linear(3, 4), torch.zeros(1, 3), norms="closed")  # type: ignore[arg-type]


def test_masked_channels_of_a_norm_are_not_empty() -> None:
    network = Llama()
    space = dnal.Space.of(network, tokens(), norms="open")
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in network.named_parameters() if p.dim() > 1}
    for name in ("words.weight", "q.weight", "k.weight", "v.weight", "gate.weight", "up.weight"):
        masks[name][:, :3] = False
    normed = torch.cat([rule.channels for rule in space.norms]).unique()
    assert not empty_variables(space, masks)[normed].any()


def test_fixed_norms_are_exact_as_ever() -> None:
    network, inputs, _ = made("mixer")
    space = dnal.Space.of(network, inputs, norms="fixed")
    assert_exact(network, inputs, space, coin_flips(space, 1))


def test_a_sum_is_divided_by_the_channels_that_the_code_asks_for() -> None:
    """Zeros add nothing to it, so that it stays what it is: of all channels."""

    class Divided(Standard):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.sum(-1, keepdim=True) / x.size(-1)) * self.weight

    network = randomise(nn.Sequential(nn.Linear(3, 8), Divided(8), nn.Linear(8, 2)))
    x = torch.randn(4, 3)
    space = dnal.Space.of(network, x, norms="open")
    assert (space.num_variables, space.helped) == (8, ["1"])
    assert_exact(network, x, space, coin_flips(space, 1))
