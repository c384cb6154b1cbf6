"""Supernets: candidates that go, edges that become one candidate or their shortcut, and what all of it costs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import dnal
from cli_program import Program
from dnal.models import create
from dnal.models.registry import own_models
from dnal.supernet import MBConv, MixedEdge, blocks
from dnal.supernet.step import steps
from independent import counted_macs, difference, parameter_count, randomise, run

NAMES = [name for name in own_models() if name.startswith("supernet/")]
FAST = ["supernet/tiny"]


def network_of(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    shape = own_models()[name].input_shape
    return randomise(create(name)).eval(), torch.randn(2, *shape)


def random_architecture(space: dnal.Space, seed: int) -> dnal.Architecture:
    generator = torch.Generator().manual_seed(seed)
    keep, branches = torch.rand(2, generator=generator).tolist()
    return dnal.Architecture.random(space, 0.2 + 0.8 * keep, seed, branches=branches)


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n not in FAST)])
def test_random_architectures_are_exact_and_cost_what_was_said(name: str) -> None:
    network, images = network_of(name)
    space = dnal.Space.of(network, images)
    edges = [module for module in network.modules() if isinstance(module, MixedEdge)]
    assert space.num_branches == sum(len(edge.candidates) for edge in edges)
    closed_edges = single = 0
    for seed in range(25 if name in FAST else 5):
        architecture = random_architecture(space, seed)
        small = dnal.compact(network, architecture)
        expected = run(dnal.gated(network, architecture), images)
        assert difference(expected, run(small, images)) <= 1e-4
        cost = space.cost_of(architecture.open)
        assert cost["params"] == parameter_count(small)
        assert cost["macs"] == counted_macs(small, images, 2)
        left = [module for module in small.modules() if isinstance(module, MixedEdge)]
        assert all(len(edge.candidates) > (not edge.shortcut) for edge in left)
        closed_edges += sum(isinstance(module, nn.Identity) for module in small.modules())
        single += len(edges) - len(left)
    assert single, "no edge became its candidate or its shortcut"
    assert closed_edges or name != "supernet/tiny"


def test_the_authors_supernet_has_as_many_parameters() -> None:
    with torch.device("meta"):
        network = create("supernet/proxyless", classes=1000)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 16.0  # arXiv 2103.02126, table of ImageNet
    assert sum(isinstance(module, MixedEdge) for module in network.modules()) == 21


def test_the_small_one_is_small() -> None:
    network, images = network_of("supernet/small")
    assert dnal.macs(network, images) <= 60e6
    assert sum(isinstance(module, MixedEdge) for module in network.modules()) == 8


def test_a_soft_cost_is_that_of_the_candidate_times_its_gate() -> None:
    edge = MixedEdge([MBConv(4, 4, 3, 2), MBConv(4, 4, 5, 3)])
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), edge, nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    images = torch.rand(1, 1, 6, 6)
    space = dnal.Space.of(network, images)
    gates = torch.ones(space.num_gates, dtype=torch.float64)
    whole = float(space.costs["macs"](gates))
    own = [dnal.macs(candidate, torch.rand(1, 4, 6, 6)) for candidate in edge.candidates]
    for branch, macs in zip(space.branches, own, strict=True):
        half = gates.clone()
        half[branch.variable] = 0.25
        assert float(space.costs["macs"](half)) == pytest.approx(whole - 0.75 * macs)


def test_an_edge_without_a_shortcut_keeps_a_candidate() -> None:
    network, images = network_of("supernet/tiny")
    space = dnal.Space.of(network, images)
    open_variables = torch.ones(space.num_gates, dtype=torch.bool)
    open_variables[space.choices[0]] = False
    with pytest.raises(dnal.UserError, match="no candidate left"):
        dnal.Architecture.of(space, open_variables)
    scores = torch.rand(space.num_gates)
    scores[space.num_variables :] = -1.0  # every channel is wanted more than any candidate
    for share in (0.5, 0.2, 0.1):
        limit = share * space.full_cost["macs"]
        chosen = dnal.select(space, scores, {"macs": limit})
        assert float(space.costs["macs"](chosen)) <= limit
        assert all(bool(chosen[choice].any()) for choice in space.choices)


class Squeeze(nn.Sequential):
    """An operation that nobody here has thought of."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(width, 3, 1), nn.SiLU(), nn.Conv2d(3, width, (1, 7), padding=(0, 3)))


def test_an_operation_of_the_users_own_is_one_more_candidate() -> None:
    network, images = network_of("supernet/tiny")
    edge = next(module for module in network.modules() if isinstance(module, MixedEdge) and module.shortcut)
    edge.candidates.append(Squeeze(12))
    space = dnal.Space.of(network, images)
    added = next(branch for branch in space.branches if branch.name.endswith("candidates.4"))
    assert set(added.bypass.places) == {f"{added.name}.2.weight", f"{added.name}.2.bias"}
    for seed in range(5):
        architecture = random_architecture(space, seed)
        small = dnal.compact(network, architecture)
        assert difference(run(dnal.gated(network, architecture), images), run(small, images)) <= 1e-4
        assert bool(architecture.open[added.variable]) == any(isinstance(m, Squeeze) for m in small.modules())


@pytest.mark.parametrize("method", ["dnal", pytest.param("paper:penalty=0.03", marks=pytest.mark.slow)])
def test_both_forms_learn_which_candidates_stay(method: str, tmp_path: Path) -> None:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=300), 48)
    torch.manual_seed(0)
    network = create("supernet/tiny", classes=10, input_shape=(1, 8, 8))
    budget = "macs<=20%" if method == "dnal" else None
    learned = dnal.learn(network, data.train, data.val, budget=budget, method=method, epochs=(2, 4, 2))
    assert learned.figures.compact.macs < (1 if budget is None else 0.2001) * learned.figures.base.macs
    if budget is not None:
        assert not bool(learned.architecture.open[learned.space.num_variables :].all())
    learned.architecture.save(tmp_path / "architecture.json")
    again = dnal.compact(network, dnal.Architecture.load(tmp_path / "architecture.json"))
    again.load_state_dict(learned.network.state_dict())
    images = torch.rand(3, 1, 8, 8)
    assert difference(run(again.eval(), images), run(learned.network, images)) == 0


def test_recomputing_gives_the_same_gradients_for_less_memory() -> None:
    torch.manual_seed(0)
    first = [MBConv(4, 4, k, 3) for k in (3, 5, 7)]
    images = torch.rand(4, 4, 8, 8, requires_grad=True)
    gradients, kept, statistics = [], [], []
    for recompute in (False, True):
        edge = MixedEdge(copy.deepcopy(first), shortcut=True, recompute=recompute).train()
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: s.append(t.nbytes) or t, lambda t: t):
            out = edge(images)
        kept.append(sum(saved))
        edge.zero_grad()
        gradients.append(torch.autograd.grad(out.square().sum(), [images, *edge.parameters()]))
        statistics.append(list(edge.buffers()))
    for plain, again in zip(*gradients, strict=True):
        assert torch.allclose(plain, again, rtol=1e-4, atol=1e-5)
    assert kept[1] < 0.5 * kept[0]
    for plain, again in zip(*statistics, strict=True):  # every batch counts once
        assert torch.allclose(plain, again, rtol=1e-4)


def test_what_was_learnt_is_a_line_per_block() -> None:
    network, images = network_of("supernet/tiny")
    space = dnal.Space.of(network, images)
    open_variables = torch.ones(space.num_gates, dtype=torch.bool)
    for branch in space.branches:
        open_variables[branch.variable] = branch.name in ("edges.0.candidates.1", "edges.2.candidates.2")
    inner = next(group for group in space.groups if ("edges.0.candidates.1.0.weight", 0) in group.places)
    open_variables[inner.variables[:5]] = False
    text = blocks(network, dnal.Architecture.of(space, open_variables))
    assert text == [
        f"block 1: mbconv k3 e3 -> {inner.width - 5} of {inner.width} channels",
        "block 2: shortcut",
        "block 3: mbconv k5 e2 -> 24 of 24 channels",
    ]


def test_a_step_is_held_against_that_of_one_candidate() -> None:
    network = create("supernet/tiny")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = steps(network, torch.rand(1, 1, 8, 8), batch=4)
    one, whole, again = (found[name].kept_bytes for name in ("one candidate", "supernet", "recomputed"))
    assert one < whole
    assert again < whole
    twice = steps(network, torch.rand(1, 1, 8, 8), batch=8)["supernet"].kept_bytes
    assert 1.8 * whole < twice <= 2 * whole
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_dnal_space_shows_it(dnal: Program) -> None:
    answer = dnal("space", "--model", "supernet/tiny")
    assert answer.status == 0
    assert "a training step of 8 images" in answer.out
    assert all(name in answer.out for name in ("one candidate", "recomputed"))
    assert "training step" not in dnal("space", "--model", "vgg_small").out
