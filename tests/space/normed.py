"""Small networks whose streams run through norms, and the reference of what open norms compute: a network whose norms
are told which channels exist. Nothing here asks the package how it weights or removes."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from independent import zero_twin


class RMS(nn.Module):
    """As LLaMA writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + 1e-6))


class ChannelsFirst(nn.Module):
    """A layer norm over the channels of images, as ConvNeXt writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Standard(nn.Module):
    """A norm by torch.var, of channels last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=1)
        return (x - mean) / (variance + 1e-5).sqrt() * self.weight


class GRN(nn.Module):
    """Global response normalisation of ConvNeXt V2, channels last: (N, H, W, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        return self.weight * (x * norms / (norms.mean(-1, keepdim=True) + 1e-6)) + self.bias + x


CHANNELS = {
    nn.LayerNorm: -1, nn.RMSNorm: -1, RMS: -1, Standard: -1, GRN: -1, ChannelsFirst: 1, nn.GroupNorm: 1,
}  # fmt: skip
"""The dimension of the channels of each kind of norm."""


class Told(nn.Module):
    """A norm that sees nothing but the channels of which it is told that they exist."""

    def __init__(self, norm: nn.Module, exist: Tensor) -> None:
        super().__init__()
        self.norm, self.exist, self.dim = copy.deepcopy(norm), exist, CHANNELS[type(norm)]
        with torch.no_grad():
            for name, parameter in norm.named_parameters():
                setattr(self.norm, name, nn.Parameter(parameter[exist]))
        for name in ("normalized_shape", "num_channels"):
            if hasattr(norm, name):
                setattr(self.norm, name, (len(exist),) if name == "normalized_shape" else len(exist))
        if isinstance(norm, nn.GroupNorm):
            self.norm.num_groups = len((exist // (norm.num_channels // norm.num_groups)).unique())

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm(x.index_select(self.dim, self.exist))
        return torch.zeros_like(x).index_copy(self.dim, self.exist, seen)


def told(network: nn.Module, space: dnal.Space, is_open: Tensor) -> nn.Module:
    """The original with zeros in the place of closed slices, and norms that are told which channels exist."""
    twin = zero_twin(network, space, is_open)
    for path, module in network.named_modules():
        if type(module) in CHANNELS:
            ids = space.sources[f"{path}.weight"][0]
            if ids is not None:
                exist = ((ids < 0) | is_open[ids.clamp(min=0)]).nonzero().squeeze(1)
                twin.set_submodule(path, Told(module, exist))
    return twin.eval()


def swin_attention(x: Tensor, n: nn.Module, heads: int) -> Tensor:
    """Attention that computes the width of a head, its scale too, from that of the stream, as torchvision's Swin."""
    batch, length, width = x.shape
    qkv = n.qkv(x).reshape(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]
    scores = (q * (width // heads) ** -0.5) @ k.transpose(-2, -1)
    return n.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """A transformer block, norms first."""

    def __init__(self, width: int, heads: int, norm: Callable[[int], nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = norm(width), norm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + swin_attention(self.norm1(x), self, self.heads)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """Patches, a class token, positions."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.LayerNorm, width: int = 12) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 5, width))
        self.blocks = nn.ModuleList(Block(width, 3, norm) for _ in range(2))
        self.norm, self.head = norm(width), nn.Linear(width, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class BERT(nn.Module):
    """Norms last, torch's own attention, and one table for embedding and output."""

    def __init__(self, width: int = 12, words: int = 11) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Embedding(8, width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 3, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(width, 20), nn.Linear(20, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.out = nn.Linear(width, words)
        self.out.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.words(x) + self.positions.weight[: x.size(1)])
        x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
        return self.out(self.norm2(x + self.fc2(F.gelu(self.fc1(x)))))


class ConvNeXtV2(nn.Module):
    """Depthwise convolutions, hand-written layer norms, global response normalisation, a downsampling layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 2, 2), ChannelsFirst(8)
        self.depthwise, self.inner, self.grn = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.LayerNorm(8), GRN(24)
        self.fc1, self.fc2 = nn.Linear(8, 24), nn.Linear(24, 8)
        self.before, self.down = ChannelsFirst(8), nn.Conv2d(8, 12, 2, 2)
        self.last, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        y = self.inner(self.depthwise(x).permute(0, 2, 3, 1))
        x = x + self.fc2(self.grn(F.gelu(self.fc1(y)))).permute(0, 3, 1, 2)
        return self.head(self.last(self.down(self.before(x)).mean((2, 3))))


class Swin(nn.Module):
    """Windows, and a merging layer whose norm runs over the channels of four places."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.block = nn.Conv2d(3, 8, 2, 2), Block(8, 2)
        self.merged, self.reduction = nn.LayerNorm(32), nn.Linear(32, 12, bias=False)
        self.next, self.norm, self.head = Block(12, 3), nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        batch, height, wide, width = x.shape
        windows = x.reshape(batch, height // 2, 2, wide // 2, 2, width).transpose(2, 3).reshape(-1, 4, width)
        x = self.block(windows).reshape(batch, height // 2, wide // 2, 2, 2, width).transpose(2, 3)
        x = x.reshape(batch, height, wide, width)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        x = self.next(self.reduction(self.merged(x)).flatten(1, 2))
        return self.head(self.norm(x).mean(1))


class Llama(nn.Module):
    """Hand-written RMS norms, grouped queries, a gated MLP, one table for embedding and output."""

    def __init__(self, width: int = 16, words: int = 11) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.norm1, self.norm2, self.norm = RMS(width), RMS(width), RMS(width)
        self.q, self.k, self.v = (nn.Linear(width, n, bias=False) for n in (16, 8, 8))
        self.o = nn.Linear(16, width, bias=False)
        self.gate, self.up, self.down = (
            nn.Linear(a, b, bias=False) for a, b in ((width, 20), (width, 20), (20, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x)
        y = self.norm1(x)
        q, k, v = (layer(y).unflatten(-1, (-1, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2))
        y = self.norm2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return F.linear(self.norm(x), self.words.weight)


class Mixer(nn.Module):
    """An MLP over places and one over channels, with norms of torch that are no layer norms."""

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.norm1, self.norm2, self.norm = nn.RMSNorm(width, eps=1e-5), Standard(width), nn.LayerNorm(width)
        self.places1, self.places2 = nn.Linear(4, 9), nn.Linear(9, 4)
        self.fc1, self.fc2, self.head = nn.Linear(width, 15), nn.Linear(15, width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.places2(F.gelu(self.places1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return self.head(self.norm(x).mean(1))


class Pooled(nn.Module):
    """Group norms: of one group, and of several, which leave whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(1, 8)
        self.up, self.few = nn.Conv2d(8, 20, 1), nn.GroupNorm(2, 20)
        self.across, self.many = nn.Conv2d(20, 16, 1), nn.GroupNorm(8, 16)
        self.down, self.last, self.head = nn.Conv2d(16, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.one(F.avg_pool2d(x, 3, 1, 1))
        y = self.many(self.across(F.gelu(self.few(self.up(y)))))
        return self.head(self.last(x + self.down(y)))


def images(side: int = 8) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def tokens() -> Tensor:
    return torch.randint(0, 11, (2, 6), generator=torch.Generator().manual_seed(1))


STREAMED: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], int, int]] = {
    # the network, its inputs, its variables with fixed norms, and the channels of its streams
    "vit": (ViT, images, 2 * (3 + 24), 12),  # two blocks of 3 heads and 24 hidden channels; the stream
    "bert": (BERT, tokens, 3 + 20, 12),
    "convnextv2": (ConvNeXtV2, images, 0, 8 + 24 + 12),  # the hidden channels too run through a mean
    "swin": (Swin, images, 2 + 16 + 3 + 24, 8 + 12),
    "llama": (Llama, tokens, 2 + 20, 16),  # two heads of keys and values, each with its two of queries
    "mixer": (Mixer, images, 9 + 15, 10 - 1),  # one stays besides the last: one channel has no standard deviation
    "pooled": (Pooled, images, 2 + 8, 8),  # groups
}
