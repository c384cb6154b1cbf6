"""Architecture-aware scaling: path sums against enumeration, second moments against the rule, the card's examples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.techniques.scaling import initialise, paths, scale_of, scaled_lr
from dnal.train.phase import Context, Phase, run_phase

NONE, SKIP, LINEAR = 0, 1, 2


class Graph(nn.Module):
    """A directed graph of vertices, each the sum of its edges; an edge is nothing, a skip, or a linear layer and ReLU.

    Args:
        edges: of each vertex but the first, one code per earlier vertex.
    """

    def __init__(self, edges: Sequence[Sequence[int]], width: int = 8, *, around: bool = False) -> None:
        super().__init__()
        self.edges = edges
        self.first, self.last = (nn.Linear(width, width), nn.Linear(width, 4)) if around else (None, None)
        self.layers = nn.ModuleDict({
            f"{to}_{of}": nn.Linear(width, width)
            for to, row in enumerate(edges, start=1) for of, code in enumerate(row) if code == LINEAR
        })  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        values = [x if self.first is None else F.relu(self.first(x))]
        for to, row in enumerate(self.edges, start=1):
            terms = [
                values[of] if code == SKIP else F.relu(self.layers[f"{to}_{of}"](values[of]))
                for of, code in enumerate(row) if code != NONE
            ]  # fmt: skip
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            values.append(total)
        return values[-1] if self.last is None else self.last(values[-1])


def enumerated(edges: Sequence[Sequence[int]]) -> list[int]:
    """The length of every path from the first to the last vertex."""
    lengths: list[list[int]] = [[0]]
    for row in edges:
        lengths.append([length + (code == LINEAR) for of, code in enumerate(row) if code for length in lengths[of]])
    return lengths[-1]


CODES = (NONE, SKIP, LINEAR)
ALL = [
    ((LINEAR,), second, third)
    for second in itertools.product(CODES, repeat=2)
    for third in itertools.product(CODES, repeat=3)
    if any(second) and any(third)
]


def test_path_sums_are_those_of_enumeration() -> None:
    x, tried = torch.randn(2, 8), 0
    for edges in ALL:
        lengths = enumerated(edges)
        if not any(lengths):
            continue
        found = paths(Graph(edges), x)
        assert found.count == len(lengths)
        assert found.cubes == sum(length**3 for length in lengths)
        tried += 1
    assert tried > 150


def test_examples_of_the_published_code() -> None:
    """Lengths there are those of the graph's layers and 3; here 2 more layers stand around it, and the base has 2."""
    chain, x = Graph([(2,), (0, 2), (0, 0, 2)], around=True), torch.randn(2, 8)
    assert scaled_lr(chain, x, 1.0, depth=2) == pytest.approx(math.sqrt(8 / 125))
    found = paths(Graph([(2,), (1, 2), (1, 1, 2)], around=True), x)
    assert (found.count, found.cubes) == (4, 2**3 + 3**3 + 3**3 + 5**3)
    ours = [sum((length + 3) ** 3 for length in enumerated(edges)) for edges in ([(2,), (1, 2), (1, 1, 2)],)]
    assert ours == [371]


def test_a_plain_chain_has_one_path_and_a_rate_of_depth_to_minus_three_halves() -> None:
    for depth in (3, 6, 12):
        chain = nn.Sequential(*[layer for _ in range(depth) for layer in (nn.Linear(8, 8), nn.ReLU())])
        assert paths(chain, torch.randn(2, 8)).count == 1
        assert scaled_lr(chain, torch.randn(2, 8), 0.1) == pytest.approx(0.1 * (3 / depth) ** 1.5)


def test_wider_kernels_have_smaller_rates() -> None:
    rates = [
        scaled_lr(nn.Sequential(nn.Conv2d(3, 8, side, padding=side // 2), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4)),
                  torch.randn(2, 3, 8, 8), 1.0)
        for side in (3, 5)
    ]  # fmt: skip
    assert rates[0] / rates[1] == pytest.approx(5 / 3)


def test_residual_blocks_double_the_paths() -> None:
    network = dnal.models.create("cifar/resnet20", classes=10, input_shape=(3, 32, 32)).eval()
    found = paths(network, torch.randn(2, 3, 32, 32))
    assert found.count == 2**9
    # Of 9 blocks of two layers those taken are any subset; stem and read-out are on every path.
    projected = [name for name in found.terms if "short" in name or "down" in name]
    if not projected:
        assert found.cubes == sum(math.comb(9, taken) * (2 + 2 * taken) ** 3 for taken in range(10))
    assert max(found.terms.values()) >= 2, "behind an addition a layer reads a sum"


def test_weights_behind_a_sum_are_smaller_so_that_activations_do_not_grow_with_the_terms() -> None:
    torch.manual_seed(0)
    graph, x = Graph([(2,) * to for to in range(1, 7)], width=256), torch.randn(256, 256)
    found = paths(graph, x)
    assert all(found.terms[f"layers.{name}"] == max(1, int(name[2:])) for name in graph.layers)

    def grown() -> float:
        with torch.no_grad():
            return float(graph(x).square().mean() / x.square().mean())

    initialise(graph, replace(found, last=""))
    for name, layer in graph.layers.items():
        assert float(layer.weight.detach().var()) == pytest.approx(2 / (256 * max(1, int(name[2:]))), rel=0.03)
    ruled = grown()
    initialise(graph, replace(found, last="", terms=dict.fromkeys(found.terms, 1)))
    # Six terms of the last vertex are left. What is not scaled away is that terms behind ReLU have a mean above zero.
    assert ruled < 6 * 5
    assert grown() > 5 * ruled


def test_the_read_out_is_of_mean_field_size() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 400), nn.ReLU(), nn.Linear(400, 200))
    initialise(network, paths(network, torch.randn(2, 16)))
    assert float(network[2].weight.detach().std()) == pytest.approx(1 / 400, rel=0.05)
    assert not network[0].bias.any()
    assert not network[2].bias.any()


def test_the_phase_trains_at_the_scaled_rate() -> None:
    network = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(5, 5), nn.ReLU())][:-1])
    x = torch.randn(16, 5)
    rates: list[float] = []

    class Diary(dnal.Technique):
        def after_step(self, step: object) -> None:
            rates.append(step.optimizer.param_groups[0]["lr"])  # type: ignore[attr-defined]

    context = Context(Fabric(accelerator="cpu", devices=1), [(x, x[:, :5].argmax(1))], F.cross_entropy)
    technique = dnal.techniques.TECHNIQUES.read("scaling")
    run_phase(
        Phase("base", 2, 0.1, techniques=(technique, Diary()), schedule=lambda progress, peak, rise: peak),
        network,
        context,
    )
    assert rates == pytest.approx([0.1 * math.sqrt(27 / 216)] * 2)
    assert scale_of(paths(network, x)) == pytest.approx(math.sqrt(27 / 216))


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(UserError, match="no convolution or linear layer"):
        paths(nn.ReLU(), torch.randn(2, 3))


def test_frozen_weights_stay_and_arguments_may_have_names() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(input=self.second(input=self.first(input=x).relu()).relu())

    network = Named()
    network.first.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = paths(network, torch.randn(2, 8))
    assert (found.count, found.cubes, found.last) == (1, 27, "head")
    initialise(network, found)
    same = {name for name, value in network.state_dict().items() if torch.equal(value, before[name])}
    assert same == {"first.weight", "first.bias"}


def test_transposed_convolutions_are_drawn_by_what_they_read() -> None:
    network = nn.Sequential(
        nn.ConvTranspose2d(32, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 64, 3, groups=2), nn.Conv2d(64, 1, 1)
    )
    initialise(network, paths(network, torch.randn(2, 32, 4, 4)))
    for layer, fan in ((network[0], 32 * 9), (network[2], 2 * 9)):
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan), rel=0.1)
