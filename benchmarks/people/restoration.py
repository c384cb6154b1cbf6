"""Super-resolution, denoising and restoration, written small after their papers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from people.case import Case, Network, images


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(True), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.body(x)


class Edsr(nn.Module):
    """EDSR (arXiv 1707.02921): residual blocks without norms, a long skip, pixel shuffle."""

    def __init__(self, width: int = 32, blocks: int = 4, scale: int = 2) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.45, 0.44, 0.4]).view(1, 3, 1, 1))
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1))
        self.tail = nn.Sequential(
            nn.Conv2d(width, width * scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x - self.mean)
        return self.tail(x + self.body(x)) + self.mean


class ChannelAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width // 4, 1), nn.ReLU(), nn.Conv2d(width // 4, width, 1),
            nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y * self.squeeze(y)


class DenseBlock(nn.Module):
    """A residual dense block of ESRGAN (arXiv 1809.00219)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(width + i * growth, growth, 3, padding=1) for i in range(3))
        self.last = nn.Conv2d(width + 3 * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(F.leaky_relu(layer(torch.cat(found, 1)), 0.2))
        return x + 0.2 * self.last(torch.cat(found, 1))


class Esrgan(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first, self.body = (
            nn.Conv2d(3, width, 3, padding=1),
            nn.Sequential(*(DenseBlock(width, 12) for _ in range(3))),
        )
        self.up, self.last = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = F.interpolate(x + self.body(x), scale_factor=2, mode="nearest")
        return self.last(F.leaky_relu(self.up(x), 0.2))


class WindowBlock(nn.Module):
    """Attention in windows, every other block shifted, as in SwinIR (arXiv 2108.10257)."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm1, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        k = self.window
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2))
        y = y.view(n, h // k, k, w // k, k, c).transpose(2, 3).reshape(-1, k * k, c)
        q, key, v = self.qkv(y).reshape(y.size(0), k * k, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, key, v).transpose(1, 2).flatten(2)
        y = self.proj(y).view(n, h // k, w // k, k, k, -1).transpose(2, 3).reshape(n, h, w, -1)
        x = x + torch.roll(y, (self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))


class SwinIr(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(WindowBlock(width, 4, 4, 2 * (i % 2)) for i in range(3))
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.tail = nn.Sequential(nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        y = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            y = block(y)
        return self.tail(x + self.conv(y.permute(0, 3, 1, 2)))


class DnCnn(nn.Module):
    """DnCNN (arXiv 1608.03981): the noise is learnt and subtracted."""

    def __init__(self, width: int = 32, depth: int = 5) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.body(x)


class SimpleGate(nn.Module):
    """A block of NAFNet (arXiv 2204.04676): a gate that multiplies halves, and a norm over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.inner, self.deep = (
            nn.Conv2d(width, 2 * width, 1),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width),
        )
        self.attention, self.out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.scale = nn.Parameter(torch.full((1, width, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.deep(self.inner(self.norm(x))).chunk(2, dim=1)
        y = a * b
        y = y * self.attention(y.mean((2, 3), keepdim=True))
        return x + self.out(y) * self.scale


class NafNet(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.encoder, self.middle, self.decoder = SimpleGate(width), SimpleGate(2 * width), SimpleGate(width)
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.up = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1, bias=False), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        skip = self.encoder(self.first(x))
        y = self.up(self.middle(self.down(skip)))
        return x + self.last(self.decoder(y + skip))


def rcan() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), *(ChannelAttention(32) for _ in range(3)), nn.Conv2d(32, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )  # fmt: skip


def espcn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.Tanh(), nn.Conv2d(32, 16, 3, padding=1), nn.Tanh(),
        nn.Conv2d(16, 9, 3, padding=1), nn.PixelShuffle(3),
    )  # fmt: skip


NETWORKS: dict[str, Network] = {
    "restoration/edsr": lambda: Case(Edsr(), images(), (24, 32)),
    "restoration/rcan": lambda: Case(rcan(), images(), (24, 32)),
    "restoration/espcn": lambda: Case(espcn(), images(1), (24, 32)),
    "restoration/esrgan": lambda: Case(Esrgan(), images(), (24, 32)),
    "restoration/swinir": lambda: Case(SwinIr(), images(), (16, 24)),
    "restoration/dncnn": lambda: Case(DnCnn(), images(1), (24, 32)),
    "restoration/nafnet": lambda: Case(NafNet(), images(), (16, 24)),
}
