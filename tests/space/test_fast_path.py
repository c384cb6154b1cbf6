"""torch's fused attention in eval mode reads the tensors of a whole layer: what is left of one runs without it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import dnal
from independent import coin_flips, difference, randomise, zero_twin

LENGTHS = (9, 6, 4)


class Encoded(nn.Module):
    """Tokens through torch's encoder; what is padding is set to zero afterwards."""

    def __init__(self, norm_first: bool = False, nested: bool = True, layers: int = 2) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, norm_first=norm_first, dropout=0.0)
        self.embedding = nn.Embedding(20, 16)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=nested)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        padding = tokens == 0
        x = self.encoder(self.embedding(tokens), src_key_padding_mask=padding)
        return self.head(x).masked_fill(padding[..., None], 0)


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
        self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(16, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layer(self.embedding(tokens)))


class Decoded(nn.Module):
    def __init__(self, whole: bool) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(16, 4, 24, batch_first=True, dropout=0.0)
        self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(16, 4)
        self.decoder = nn.TransformerDecoder(layer, 2) if whole else layer

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.head(self.decoder(x, x.flip(1)))


class Attended(nn.Module):
    """An attention of torch's in a residual block of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(16, 4)
        self.norm, self.attention = nn.LayerNorm(16), nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        y = self.norm(x)
        return self.head(x + self.attention(y, y, y, need_weights=False)[0])


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "encoder with nested tensors": Encoded,
    "encoder without": lambda: Encoded(nested=False),
    "encoder, norm first": lambda: Encoded(norm_first=True, nested=False),
    "encoder layer": OneLayer,
    "decoder layer": lambda: Decoded(whole=False),
    "decoder": lambda: Decoded(whole=True),
    "attention": Attended,
}


def tokens() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(1, 20, (n,), generator=generator) for n in LENGTHS]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def found(name: str) -> tuple[nn.Module, dnal.Space]:
    torch.manual_seed(0)
    network = randomise(NETWORKS[name]()).eval()
    return network, dnal.Space.of(network, tokens(), depth=True)


def answers(network: nn.Module) -> Tensor:
    """As a user asks: eval mode, no gradients, the fast path on."""
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        return network.eval()(tokens())


def silenced(network: nn.Module, places: tuple[str, ...]) -> nn.Module:
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for name in places:
            twin.get_parameter(name).zero_()
    return twin


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_without_each_branch(name: str) -> None:
    network, space = found(name)
    assert space.num_branches == {"attention": 1, "encoder layer": 2, "decoder layer": 3, "decoder": 6}.get(name, 4)
    for branch in space.branches:
        is_open = torch.ones(space.num_gates, dtype=torch.bool)
        is_open[branch.variable] = False
        small = dnal.compact(network, dnal.Architecture.of(space, is_open))
        reference = silenced(network, branch.bypass.places)
        assert difference([answers(reference)], [answers(small)]) <= 1e-5
        assert difference([answers(network)], [answers(small)]) > 1e-3
        assert difference([reference(tokens())], [small(tokens())]) <= 1e-5  # with gradients, as in training


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_with_fewer_channels(name: str) -> None:
    network, space = found(name)
    for seed in range(3):
        architecture = coin_flips(space, seed) if not space.num_branches else None
        if architecture is None:  # the branches stay, the channels do not
            is_open = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(seed)) < 0.5
            is_open[space.num_variables :] = True
            for group in space.groups:
                is_open[group.variables[seed % group.width]] = True
            architecture = dnal.Architecture.of(space, is_open)
        small = dnal.compact(network, architecture)
        assert difference([answers(zero_twin(network, space, architecture.open))], [answers(small)]) <= 1e-5


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_an_encoder_whose_first_layer_alone_is_whole_is_given_no_nested_tensors() -> None:
    network, space = found("encoder with nested tensors")
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    branch = next(b for b in space.branches if b.name.startswith("encoder.layers.1.linear"))
    is_open[branch.variable] = False
    small = dnal.compact(network, dnal.Architecture.of(space, is_open))
    assert network.encoder.use_nested_tensor
    assert not small.encoder.use_nested_tensor
    assert small.encoder.layers[0].activation_relu_or_gelu  # which goes on taking the fast path
    assert difference([answers(silenced(network, branch.bypass.places))], [answers(small)]) <= 1e-5


class Asking(nn.Module):
    """Reads a setting, or a tensor, of a module that runs in a branch."""

    def __init__(self, asked: str) -> None:
        super().__init__()
        self.stem, self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 8)
        self.head, self.asked = nn.Linear(8, 2), asked

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Any = getattr(self.first, self.asked)
        scale = y.dtype.itemsize if isinstance(y, Tensor) else 1 + 0 * y
        return self.head(x + self.second(self.first(x)) * scale)


@pytest.mark.parametrize(("asked", "branches"), [("in_features", 1), ("weight", 0)])
def test_a_branch_whose_settings_are_read_may_go_and_one_whose_tensors_are_stays(asked: str, branches: int) -> None:
    torch.manual_seed(0)
    network, x = randomise(Asking(asked)).eval(), torch.randn(3, 4)
    space = dnal.Space.of(network, x, depth=True)
    assert space.num_branches == branches
    for branch in space.branches:
        is_open = torch.ones(space.num_gates, dtype=torch.bool)
        is_open[branch.variable] = False
        small = dnal.compact(network, dnal.Architecture.of(space, is_open))
        torch.testing.assert_close(small(x), network.head(network.stem(x)))


def test_learn_with_its_defaults_ends() -> None:
    class Pooled(Encoded):
        def forward(self, tokens: Tensor) -> Tensor:
            return super().forward(tokens).sum(1)

    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(1, 20, (int(n),), generator=generator) for n in torch.randint(3, 10, (32,))]

    def batch(some: list[Tensor]) -> tuple[Tensor, Tensor]:
        return nn.utils.rnn.pad_sequence(some, batch_first=True), torch.stack([row[0] % 4 for row in some])

    loader = DataLoader(rows, 8, collate_fn=batch)
    torch.manual_seed(0)
    learned = dnal.learn(Pooled(norm_first=True, nested=False), loader, loader, budget="macs<=50%", epochs=(1, 1, 1))
    assert learned.constraints[0]["holds"]
    with torch.no_grad():
        assert learned.network(tokens()).isfinite().all()
