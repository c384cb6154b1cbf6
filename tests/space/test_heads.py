"""Heads leave as a whole, however a network's code counts them and whatever all of them share."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.video.swin_transformer import SwinTransformer3d

import dnal
from independent import assert_exact, coin_flips, difference, randomise, run, zero_twin

HEADS, WIDTH, STREAM = 4, 8, 32


class Attention(nn.Module):
    """Self-attention of a stream that stays, through a layer norm; what differs is how ``mix`` finds its heads."""

    def __init__(self, heads: int = HEADS) -> None:
        super().__init__()
        self.heads, self.scale = heads, WIDTH**-0.5
        self.norm = nn.LayerNorm(STREAM)
        self.qkv = nn.Linear(STREAM, 3 * heads * WIDTH)
        self.out = nn.Linear(heads * WIDTH, STREAM)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.mix(x, *self.qkv(self.norm(x)).chunk(3, -1)))

    def mix(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self.apart(t) for t in (q, k, v))
        scores = self.hidden(x, q @ k.transpose(-2, -1) * self.scale)
        return self.together(scores.softmax(-1) @ v)

    def apart(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def hidden(self, x: Tensor, scores: Tensor) -> Tensor:
        return scores

    def together(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


class FromProjection(Attention):
    """The width of a head is computed from the projection."""

    def apart(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, x.size(-1) // self.heads).transpose(1, 2)


class LiteralCount(Attention):
    """The number of heads stands in the code."""

    def apart(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], 4, x.size(-1) // 4).transpose(1, 2)


class Configured(Attention):
    """The number of heads belongs to a configuration that all layers share."""

    class Config:
        heads = HEADS

    config = Config()

    def apart(self, x: Tensor) -> Tensor:
        count = self.config.heads
        return x.view(*x.shape[:2], count, x.size(-1) // count).transpose(1, 2)


class SameNumber(FromProjection):
    """As many heads as each has channels: two numbers of the module are equal."""

    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.width = WIDTH

    def together(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).reshape(x.size(0), x.size(2), -1, self.width).flatten(2)


class Rotary(Attention):
    """Queries and keys are rotated by angles from a table of one head, and normalised with the weights of one head."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", 10.0 ** -torch.arange(WIDTH // 2))
        self.q_norm, self.k_norm = nn.RMSNorm(WIDTH), nn.LayerNorm(WIDTH)

    def mix(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        angles = torch.arange(x.size(1))[:, None] * self.frequencies
        angles = torch.cat((angles, angles), -1)
        q, k, v = (self.apart(t) for t in (q, k, v))
        q, k = (self._rotated(t, angles) for t in (self.q_norm(q), self.k_norm(k)))
        return self.together(F.scaled_dot_product_attention(q, k, v))

    def _rotated(self, x: Tensor, angles: Tensor) -> Tensor:
        one, two = x.chunk(2, -1)
        return x * angles.cos() + torch.cat((-two, one), -1) * angles.sin()


class OneKey(Attention):
    """All heads share one head of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(STREAM, (HEADS + 2) * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).split([HEADS * WIDTH, WIDTH, WIDTH], -1)
        scores = self.apart(q) @ k.unsqueeze(1).transpose(-2, -1) * self.scale
        return x + self.out(self.together(scores.softmax(-1) @ v.unsqueeze(1)))


class Grouped(Attention):
    """Two heads of the queries share one of the keys and values, in torch's fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(STREAM, 2 * HEADS * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).split([HEADS * WIDTH, HEADS * WIDTH // 2, HEADS * WIDTH // 2], -1)
        q, k, v = (t.view(*t.shape[:2], -1, WIDTH).transpose(1, 2) for t in (q, k, v))
        return x + self.out(self.together(F.scaled_dot_product_attention(q, k, v, enable_gqa=True)))


class Masked(Attention):
    """A mask of one entry for all heads is repeated for each."""

    def hidden(self, x: Tensor, scores: Tensor) -> Tensor:
        mask = (x[:, :, 0] > 1)[:, None, None].expand(-1, self.heads, x.size(1), -1)
        return scores.masked_fill(mask, -1e4)


class MaskedByRepeat(Attention):
    def hidden(self, x: Tensor, scores: Tensor) -> Tensor:
        mask = (x[:, :, 0] > 1)[:, None, None].repeat(1, 4, 1, 1)
        return scores + torch.zeros_like(mask, dtype=x.dtype).masked_fill(mask, -1e4)


class MaskedInBatch(Attention):
    """The heads of all examples in one dimension, as many BERTs had them."""

    def apart(self, x: Tensor) -> Tensor:
        return super().apart(x).reshape(len(x) * self.heads, x.size(1), -1)

    def hidden(self, x: Tensor, scores: Tensor) -> Tensor:
        return scores.masked_fill((x[:, :, 0] > 1)[:, None].repeat_interleave(self.heads, dim=0), -1e4)

    def together(self, x: Tensor) -> Tensor:
        return super().together(x.view(-1, self.heads, *x.shape[1:]))


class MaskedLiterally(MaskedInBatch):
    """Nothing remembers the number."""

    def hidden(self, x: Tensor, scores: Tensor) -> Tensor:
        mask = (x[:, :, 0] > 1).view(len(x), 1, 1, -1).expand(-1, 4, -1, -1)
        return scores.masked_fill(mask.reshape(-1, 1, x.size(1)), -1e4)


class Cosine(Attention):
    """Queries and keys of length one, with the length repeated along the width: Swin V2."""

    def mix(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self.apart(t) for t in (q, k, v))
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return self.together((10 * scores).softmax(-1) @ v)


BUILDS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "computed from the projection": (FromProjection, HEADS),
    "a literal": (LiteralCount, HEADS),
    "a shared configuration": (Configured, HEADS),
    "two equal numbers": (SameNumber, WIDTH),
    "rotary table and shared norms": (Rotary, HEADS),
    "one key for all": (OneKey, HEADS),
    "grouped queries, fused": (Grouped, HEADS // 2),
    "expanded mask": (Masked, HEADS),
    "repeated mask": (MaskedByRepeat, HEADS),
    "mask repeated in the batch": (MaskedInBatch, HEADS),
    "literally expanded mask": (MaskedLiterally, HEADS),
    "queries and keys of length one": (Cosine, HEADS),
}


def around(attention: nn.Module) -> nn.Module:
    return randomise(nn.Sequential(attention, nn.Linear(STREAM, 6)))


def exact_elsewhere(network: nn.Module, space: dnal.Space, inputs: list[Tensor]) -> None:
    """Against zeroed slices in both modes, at every size and batch; a deep copy too."""
    for seed in range(2):
        architecture = coin_flips(space, seed)
        small = assert_exact(network, inputs[0], space, architecture)
        for training in (False, True):
            twin = zero_twin(network, space, architecture.open).train(training)
            for other in inputs:
                reference = run(twin, other)
                assert difference(reference, run(small.train(training), other)) <= 1e-4
                assert difference(reference, run(copy.deepcopy(small), other)) <= 1e-4


@pytest.mark.parametrize("name", BUILDS)
def test_heads_leave_exactly(name: str) -> None:
    build, heads = BUILDS[name]
    torch.manual_seed(0)
    network = around(build()).eval()
    space = dnal.Space.of(network, torch.randn(2, 7, STREAM))
    assert [group.width for group in space.groups] == [heads]
    exact_elsewhere(network, space, [torch.randn(2, 7, STREAM), torch.randn(3, 11, STREAM)])


def test_heads_of_einops_leave_exactly() -> None:
    einops = pytest.importorskip("einops")
    layers = pytest.importorskip("einops.layers.torch")

    class Rearranged(Attention):
        def apart(self, x: Tensor) -> Tensor:
            return einops.rearrange(x, "b n (h d) -> b h n d", h=self.heads)

        def together(self, x: Tensor) -> Tensor:
            return einops.rearrange(x, "b h n d -> b n (h d)")

    class Layered(Rearranged):
        def __init__(self) -> None:
            super().__init__()
            self.split = layers.Rearrange("b n (h d) -> b h n d", h=HEADS)

        def apart(self, x: Tensor) -> Tensor:
            return self.split(x)

    for build in (Rearranged, Layered):
        network = around(build()).eval()
        space = dnal.Space.of(network, torch.randn(2, 7, STREAM))
        assert [group.width for group in space.groups] == [HEADS], build
        assert space.helped == []  # what remembers the number has another one
        exact_elsewhere(network, space, [torch.randn(2, 7, STREAM), torch.randn(3, 11, STREAM)])


def test_a_way_that_fails_for_one_layer_leaves_the_others() -> None:
    """A layer whose heads no correction can count, beside those of every kind that can be."""

    class Hopeless(Attention):
        def apart(self, x: Tensor) -> Tensor:
            if x.size(-1) != HEADS * WIDTH:
                raise RuntimeError("not so many")
            return super().apart(x)

    network = randomise(nn.Sequential(FromProjection(), Hopeless(), LiteralCount(), Masked(), nn.Linear(STREAM, 6)))
    network = network.eval()
    space = dnal.Space.of(network, torch.randn(2, 7, STREAM))
    assert [group.name for group in space.groups] == ["0.qkv.weight", "2.qkv.weight", "3.qkv.weight"]
    assert "its removal changes the output (numeric probe)" in str(space.explain("1.qkv.weight"))
    exact_elsewhere(network, space, [torch.randn(2, 7, STREAM), torch.randn(3, 11, STREAM)])


def test_a_padding_mask_of_torchs_encoder_leaves_its_heads_free() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(STREAM, HEADS, 24, dropout=0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
            self.last = nn.Linear(STREAM, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.encoder(x, src_key_padding_mask=x[:, :, 0] > 1))

    network = randomise(Encoder()).eval()
    space = dnal.Space.of(network, torch.randn(2, 7, STREAM))
    assert sorted(group.width for group in space.groups) == [HEADS, 24]
    exact_elsewhere(network, space, [torch.randn(2, 7, STREAM), torch.randn(3, 11, STREAM)])


def test_what_is_repeated_along_the_batch_follows_nothing() -> None:
    """A class token for each example, and a map repeated for each channel by a number."""

    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.randn(1, 1, 6))
            self.first, self.second, self.last = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(torch.cat((self.token.expand(len(x), -1, -1), x), 1)).relu()
            ramp = torch.arange(y.size(1)).view(1, -1, 1).expand(len(x), -1, 12)
            return self.last(self.second(y + ramp).relu())

    network = randomise(Token()).eval()
    space = dnal.Space.of(network, torch.randn(2, 5, 6))
    assert [group.width for group in space.groups] == [12, 12]
    exact_elsewhere(network, space, [torch.randn(2, 5, 6), torch.randn(3, 8, 6)])


BASE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "max_position_embeddings": 64, "use_cache": False,
}  # fmt: skip


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("family", "heads", "keys"), [("Llama", 8, 8), ("Llama", 8, 2), ("Qwen3", 4, 2)])
def test_heads_of_language_models_leave_exactly(family: str, heads: int, keys: int, attention: str) -> None:
    transformers = pytest.importorskip("transformers")
    own = {"head_dim": 8} if family == "Qwen3" else {}
    config = getattr(transformers, f"{family}Config")(
        num_attention_heads=heads, num_key_value_heads=keys, attn_implementation=attention, **BASE, **own
    )
    torch.manual_seed(0)
    network = randomise(getattr(transformers, f"{family}ForCausalLM")(config)).eval()

    def tokens(batch: int, length: int) -> dict[str, Tensor]:
        ids = torch.randint(0, 64, (batch, length))
        return {"input_ids": ids, "attention_mask": (torch.arange(length) > 0).long().repeat(batch, 1)}

    inputs = tokens(2, 10)
    space = dnal.Space.of(network, inputs)
    found = [group for group in space.groups if any(name.endswith("k_proj.weight") for name, _ in group.places)]
    assert [group.width for group in found] == [keys, keys]
    assert sorted(group.width for group in space.groups) == sorted([keys, 48] * 2)
    for seed in range(2):
        architecture = coin_flips(space, seed)
        small = assert_exact(network, inputs, space, architecture)
        twin = zero_twin(network, space, architecture.open)
        for training in (False, True):
            for other in (inputs, tokens(3, 14)):
                assert difference(run(twin.train(training), other), run(small.train(training), other)) <= 1e-4


@pytest.mark.parametrize("video", [False, True])
def test_a_mask_whose_size_is_a_width_by_chance_is_no_state(video: bool) -> None:
    kind, shape = (SwinTransformer3d, (2, 3, 2, 16, 16)) if video else (SwinTransformer, (2, 3, 16, 16))
    sizes = {
        "patch_size": [1, 2, 2] if video else [2, 2],
        "window_size": [2, 4, 4] if video else [4, 4],
    }
    found = {}
    for classes in (5, 8):  # the mask of the shifted windows is filled over 8 x 8 patches
        torch.manual_seed(0)
        network = randomise(kind(embed_dim=16, depths=[2], num_heads=[4], num_classes=classes, **sizes)).eval()
        inputs = torch.randn(shape)
        space = dnal.Space.of(network, inputs)
        assert not space.unknown
        assert_exact(network, inputs, space, coin_flips(space, 0))
        found[classes] = [group.width for group in space.groups]
    assert found[8] == found[5]
    assert found[8].count(4) == 2  # the heads of both blocks


@pytest.mark.parametrize("part", ["a row", "channels", "all"])
def test_a_number_written_into_channels_leaves_them_free(part: str) -> None:
    class Filled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            if part == "a row":
                x[:, :, 2] = 0.5
            elif part == "channels":
                x[:, :6] = 0.5
            else:
                x = x + torch.empty_like(x).fill_(0.5)
            return self.last(x)

    torch.manual_seed(0)
    network, inputs = randomise(Filled()).eval(), torch.randn(2, 3, 9, 9)
    space = dnal.Space.of(network, inputs)
    assert not space.unknown
    assert [group.width for group in space.groups] == ([6, 6] if part == "channels" else [12])
    assert_exact(network, inputs, space, coin_flips(space, 0))
