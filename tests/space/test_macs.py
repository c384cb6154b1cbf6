"""MACs of recurrent, bilinear and deformable ones, attention, operations of others.

The references are formulas by hand, and torch's counter on the same layer run step by step or as plain convolutions."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula
from torchvision.ops import DeformConv2d

import dnal
from independent import assert_exact, coin_flips, counted_macs, randomise

BATCH, STEPS = 3, 7


def sequences(width: int = 4) -> Tensor:
    return torch.randn(BATCH, STEPS, width)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind: type[nn.RNNBase], gates: int, bias: bool, bidirectional: bool, layers: int) -> None:
    network = kind(4, 6, num_layers=layers, bias=bias, bidirectional=bidirectional, batch_first=True)
    directions = 1 + bidirectional
    per_step = directions * gates * 6 * (4 + 6) + (layers - 1) * directions * gates * 6 * (directions * 6 + 6)
    assert dnal.macs(network, sequences()) == STEPS * per_step
    with torch.backends.mkldnn.flags(enabled=False):  # step by step, so that torch's counter sees the products
        assert counted_macs(network, sequences(), BATCH) == STEPS * per_step


def test_a_recurrent_layer_with_a_projection() -> None:
    network = nn.LSTM(4, 6, proj_size=2, batch_first=True)
    assert dnal.macs(network, sequences()) == STEPS * (24 * 4 + 24 * 2 + 2 * 6)


class Packed(nn.Module):
    def __init__(self, lengths: list[int]) -> None:
        super().__init__()
        self.lstm, self.lengths = nn.LSTM(4, 6, batch_first=True), lengths

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, self.lengths, batch_first=True)
        return self.lstm(packed)[1][0].transpose(0, 1)


def test_packed_sequences_count_the_steps_that_there_are() -> None:
    lengths = [7, 5, 3]
    assert dnal.macs(Packed(lengths), sequences()) == sum(lengths) * 24 * (4 + 6) / BATCH


class Recogniser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lstm = nn.Conv1d(4, 16, 5, padding=2), nn.LSTM(16, 32, num_layers=2, batch_first=True)
        self.hidden, self.out = nn.Linear(32, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lstm(self.conv(x).relu().transpose(1, 2))[0]
        return self.out(self.hidden(x[:, -1]).relu())


class OnTheGpu(nn.Module):
    """The operation that cuDNN's recurrent layers are, on a device that computes shapes alone."""

    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent = recurrent.to("meta")

    def forward(self, x: Tensor) -> Tensor:
        own = self.recurrent
        weights = list(own.parameters())
        depth, size = own.num_layers * (1 + own.bidirectional), own.hidden_size
        hidden, cell = x.new_empty(depth, len(x), own.proj_size or size), x.new_empty(depth, len(x), size)
        return torch.ops.aten._cudnn_rnn(
            x, weights, len(weights) // depth, None, hidden, cell, 2, size, own.proj_size, own.num_layers, True, 0.0,
            False, own.bidirectional, [], None,
        )[0]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "bidirectional": True}, {"proj_size": 2}],
)
def test_recurrent_layers_of_a_gpu_cost_what_those_of_a_cpu_do(options: dict[str, int]) -> None:
    network = nn.LSTM(4, 6, batch_first=True, **options)
    expected = dnal.macs(network, sequences())
    assert dnal.macs(OnTheGpu(network), sequences().to("meta")) == expected


def test_a_space_states_what_its_recurrent_layers_cost() -> None:
    """They and what stands around them vary, and all of it is in the cost of every architecture."""
    network, inputs = Recogniser(), torch.randn(2, 4, 50)
    space = dnal.Space.of(network, inputs)

    def cost(channels: int, hidden: int, last: int) -> int:
        recurrent = 50 * 4 * hidden * (channels + hidden) + 50 * 4 * hidden * (hidden + hidden)
        return 50 * 4 * channels * 5 + recurrent + hidden * last + last * 3

    assert space.full_cost["macs"] == cost(16, 32, 24)
    architecture = dnal.Architecture.random(space, 0.5)
    small = dnal.compact(network, architecture)
    assert space.cost_of(architecture.open)["macs"] == dnal.macs(small, inputs) == cost(8, 16, 12)
    assert not space.unknown
    assert not space.uncounted


def test_bilinear_layers() -> None:
    network, left, right = nn.Bilinear(4, 5, 6), torch.randn(2, 4), torch.randn(2, 5)
    with FlopCounterMode(display=False) as counter:
        torch.einsum("ni,oij,nj->no", left, network.weight, right)
    assert dnal.macs(network, (left, right)) == counter.get_total_flops() / 2 / 2 == 6 * 4 * 5 + 6 * 5


def test_deformable_convolutions_cost_what_plain_ones_do() -> None:
    network = DeformConv2d(4, 6, 3, stride=2, padding=1, groups=2)
    images, offsets = torch.randn(2, 4, 8, 8), torch.zeros(2, 18, 4, 4)
    plain = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    assert dnal.macs(network, (images, offsets)) == counted_macs(plain, images, 2)


class Vectors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.weights, self.offset = (nn.Parameter(torch.randn(n)) for n in (8, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x @ self.first, torch.addmv(self.offset, x, self.weights)), 1)


def test_a_matrix_times_a_vector_costs_what_a_linear_layer_of_one_output_does() -> None:
    inputs = torch.randn(5, 8)
    assert dnal.macs(Vectors(), inputs) == 2 * counted_macs(nn.Linear(8, 1), inputs, 5)


class Attention(nn.Module):
    """Heads of width 4: ``heads`` of queries, ``shared`` of keys and values; fused, or its products written out."""

    def __init__(self, heads: int, shared: int, fused: bool) -> None:
        super().__init__()
        self.heads, self.shared, self.fused = heads, shared, fused
        self.query, self.key, self.value = (nn.Linear(8, 4 * n) for n in (heads, shared, shared))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (-1, 4)).transpose(1, 2) for f in (self.query, self.key, self.value))
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=self.heads != self.shared)
        k, v = (t.repeat_interleave(self.heads // self.shared, 1) for t in (k, v))
        return (q @ k.transpose(-1, -2)).softmax(-1) @ v


@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (4, 2), (4, 1)])
def test_fused_attention_costs_its_products(heads: int, shared: int) -> None:
    fused, written = (Attention(heads, shared, fused) for fused in (True, False))
    inputs = torch.randn(2, 5, 8)
    expected = 5 * 8 * 4 * (heads + 2 * shared) + 2 * heads * 5 * 5 * 4
    assert dnal.macs(fused, inputs) == dnal.macs(written, inputs) == expected
    assert counted_macs(written, inputs, 2) == expected


def heads_first(x: Tensor, width: int) -> Tensor:
    return x.unflatten(-1, (-1, width)).transpose(1, 2)


def flattened(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "one head, fused": lambda q, k, v: flattened(
        F.scaled_dot_product_attention(*(x.unflatten(-1, (1, -1)).transpose(1, 2) for x in (q, k, v)))
    ),
    "one head, written": lambda q, k, v: (q @ k.transpose(-1, -2)).softmax(-1) @ v,
    "heads, fused": lambda q, k, v: flattened(F.scaled_dot_product_attention(*(heads_first(x, 4) for x in (q, k, v)))),
    "heads, written": lambda q, k, v: flattened(
        (heads_first(q, 4) @ heads_first(k, 4).transpose(-1, -2)).softmax(-1) @ heads_first(v, 4)
    ),
    "heads as a batch, fused": lambda q, k, v: flattened(
        F.scaled_dot_product_attention(*(heads_first(x, 4).flatten(0, 1)[:, None] for x in (q, k, v))).unflatten(
            0, (2, -1)
        )[:, :, 0]
    ),
    "channels attend": lambda q, k, v: ((q.transpose(-1, -2) @ k).softmax(-1) @ v.transpose(-1, -2)).transpose(-1, -2),
    "queries of half the positions": lambda q, k, v: flattened(
        F.scaled_dot_product_attention(*(x.unflatten(-1, (1, -1)).transpose(1, 2) for x in (q[:, ::2], k, v)))
    ),
    "einsum": lambda q, k, v: torch.einsum("nlm,nmc->nlc", torch.einsum("nlc,nmc->nlm", q, k), v),
}


class Attending(nn.Module):
    def __init__(self, product: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.norm, self.product = nn.Linear(5, 12), nn.LayerNorm(12), product
        self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        return self.out(self.product(self.q(x), self.k(x), self.v(x)))


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_the_space_says_is_what_is_left_costs(name: str) -> None:
    torch.manual_seed(0)
    network = Attending(PRODUCTS[name]).eval()
    inputs = torch.randn(2, 8, 5)
    space = dnal.Space.of(network, inputs)
    assert space.num_variables, "nothing may vary here"
    for seed in range(4):
        architecture = coin_flips(space, seed, keep=(seed + 2) / 8)  # of one channel einsum makes no product
        small = dnal.compact(network, architecture)
        told = float(space.costs["macs"](architecture.open))
        assert told == pytest.approx(dnal.macs(small, inputs), abs=1e-6)
        assert told == counted_macs(small, inputs, 2)


def segformer() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 5], decoder_hidden_size=32,
        num_labels=5,
    )  # fmt: skip
    return transformers.SegformerForSemanticSegmentation(config)


def hiera() -> nn.Module:
    timm = pytest.importorskip("timm")
    return timm.create_model("hiera_tiny_224", img_size=64, embed_dim=16, num_classes=4, stages=(1, 1, 2, 1))


@pytest.mark.slow
@pytest.mark.parametrize("build", [segformer, hiera])
def test_so_it_is_in_networks_whose_first_stage_has_one_head(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network, images = randomise(build()).eval(), torch.randn(1, 3, 64, 64)
    space = dnal.Space.of(network, images)
    for seed in range(3):
        assert_exact(network, images, space, coin_flips(space, seed))


@torch.library.custom_op("dnal_tests::product", mutates_args=())
def product(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.T


@torch.library.custom_op("dnal_tests::told_product", mutates_args=())
def told_product(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.T


@register_flop_formula(torch.ops.dnal_tests.told_product)  # type: ignore[untyped-decorator]
def flops_of_told_product(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    return 2 * x[0] * weight[0] * weight[1]


class Foreign(nn.Module):
    """A product that runs as an operation of the user's."""

    def __init__(self, operation: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.own, self.after = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.operation(self.before(x), self.own.weight))


def test_what_is_not_counted_is_said_once() -> None:
    network, inputs = Foreign(lambda x, w: product(x, w)), torch.randn(2, 6)
    for find in (dnal.macs, dnal.Space.of):
        with pytest.warns(UserWarning, match=r"MACs of dnal_tests.product.default are not counted.*register_flop") as w:
            found = find(network, inputs)
        assert len(w) == 1
    assert found.uncounted == {"dnal_tests.product.default": [""]}
    assert found.full_cost["macs"] == 6 * 8 + 8 * 3


def test_a_formula_that_torch_was_told_counts() -> None:
    network, inputs = Foreign(lambda x, w: told_product(x, w)), torch.randn(2, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dnal.macs(network, inputs) == dnal.Space.of(network, inputs).full_cost["macs"] == 6 * 8 + 64 + 8 * 3


class Moved(nn.Module):
    """Parameters that unknown operations compute with or put in place: nothing is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.normed = (
            nn.Parameter(torch.randn(2, 8)),
            nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
        )
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[torch.tensor([0, 1])] = self.table
        x[1:3] = self.table
        return self.spectral(self.normed(x))


def test_weights_that_are_computed_or_written_are_not_called_uncounted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dnal.macs(Moved(), torch.randn(4, 8)) == 2 * 8 * 8
