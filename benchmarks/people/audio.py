"""Speech and audio, written small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from people.case import Case, Network, rows, waves


def m5() -> nn.Module:
    """M5 (arXiv 1610.00087) on raw waves."""
    return nn.Sequential(
        nn.Conv1d(1, 32, 80, stride=16), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(32, 32, 3), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(32, 64, 3), nn.BatchNorm1d(64), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


class Spectrogram(nn.Module):
    """The Fourier transform inside the network, then a CNN."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64), persistent=False)
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.stft(x, 64, 32, window=self.window, return_complex=True)
        return self.cnn((spectrum.abs() + 1e-3).log().unsqueeze(1))


class DeepSpeech(nn.Module):
    """Convolutions over a spectrogram, a bidirectional GRU, a letter per step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Hardtanh(0, 20),
            nn.Conv2d(8, 8, 3, stride=(2, 1), padding=1), nn.BatchNorm2d(8), nn.Hardtanh(0, 20),
        )  # fmt: skip
        self.rnn = nn.GRU(8 * 4, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.letters = nn.Linear(48, 29)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2).unsqueeze(1))
        y, _ = self.rnn(y.flatten(1, 2).transpose(1, 2))
        return self.letters(y).log_softmax(-1)


class ConformerBlock(nn.Module):
    """Conformer (arXiv 2005.08100): half feed-forward, attention, gated depthwise convolution, half feed-forward."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.SiLU(),
                nn.Dropout(0.1),
                nn.Linear(4 * width, width),
            )
            for _ in range(2)
        )
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, heads, batch_first=True)
        self.conv_norm, self.inner = nn.LayerNorm(width), nn.Conv1d(width, 2 * width, 1)
        self.deep = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.batch_norm, self.outer, self.last = nn.BatchNorm1d(width), nn.Conv1d(width, width, 1), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.first(x)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        y = F.glu(self.inner(self.conv_norm(x).transpose(1, 2)), dim=1)
        x = x + self.outer(F.silu(self.batch_norm(self.deep(y)))).transpose(1, 2)
        return self.last(x + 0.5 * self.second(x))


def conformer() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), ConformerBlock(), ConformerBlock(), nn.Linear(32, 29))


class DilatedBlock(nn.Module):
    def __init__(self, width: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(width, hidden, 1), nn.PReLU(), nn.GroupNorm(1, hidden),
            nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden), nn.PReLU(),
            nn.GroupNorm(1, hidden),
        )  # fmt: skip
        self.residual, self.skip = nn.Conv1d(hidden, width, 1), nn.Conv1d(hidden, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x)
        return x + self.residual(y), self.skip(y)


class ConvTasNet(nn.Module):
    """Conv-TasNet (arXiv 1809.07454): masks over a learnt transform, two speakers."""

    def __init__(self, filters: int = 32, width: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, filters, 16, stride=8, bias=False)
        self.decoder = nn.ConvTranspose1d(filters, 1, 16, stride=8, bias=False)
        self.inner = nn.Conv1d(filters, width, 1)
        self.blocks = nn.ModuleList(DilatedBlock(width, 32, 2**i) for i in range(3))
        self.masks = nn.Conv1d(width, 2 * filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x).relu()
        y, total = self.inner(code), 0
        for block in self.blocks:
            y, skip = block(y)
            total = total + skip
        masks = self.masks(total).sigmoid().view(x.size(0), 2, code.size(1), -1)
        parts = (masks * code.unsqueeze(1)).flatten(0, 1)
        return self.decoder(parts).view(x.size(0), 2, -1)


class WaveNet(nn.Module):
    """WaveNet (arXiv 1609.03499): causal dilated convolutions with tanh times sigmoid."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.gated = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(4))
        self.residual = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(4))
        self.skip = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(4))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.first(x), []
        for i, (gated, residual, skip) in enumerate(zip(self.gated, self.residual, self.skip, strict=True)):
            a, b = gated(F.pad(x, (2**i, 0))).chunk(2, 1)
            y = a.tanh() * b.sigmoid()
            skips.append(skip(y))
            x = x + residual(y)
        return self.last(torch.stack(skips).sum(0))


class WaveUNet(nn.Module):
    """Wave-U-Net (arXiv 1806.03185): down and up over a wave, features of equal length concatenated."""

    def __init__(self, widths: tuple[int, ...] = (16, 24, 32)) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, 15, padding=7) for a, b in zip((1, *widths[:-1]), widths, strict=True)
        )
        self.middle = nn.Conv1d(widths[-1], widths[-1], 15, padding=7)
        pairs = list(zip((widths[-1], *widths[:0:-1]), widths[::-1], strict=True))
        self.up = nn.ModuleList(nn.Conv1d(a + b, b, 5, padding=2) for a, b in pairs)
        self.last = nn.Conv1d(widths[0] + 1, 2, 1)

    def forward(self, wave: Tensor) -> Tensor:
        x, kept = wave, []
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.2)
            kept.append(x)
            x = x[:, :, ::2]
        x = F.leaky_relu(self.middle(x), 0.2)
        for layer in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=False)
            x = F.leaky_relu(layer(torch.cat((x, kept.pop()), 1)), 0.2)
        return self.last(torch.cat((x, wave), 1))


NETWORKS: dict[str, Network] = {
    "audio/m5": lambda: Case(m5(), waves(), (2000, 3000)),
    "audio/spectrogram_cnn": lambda: Case(Spectrogram(), waves(None), (1000, 1500)),
    "audio/deep_speech": lambda: Case(DeepSpeech(), rows(16), (20, 30)),
    "audio/conformer": lambda: Case(conformer(), rows(16), (20, 30)),
    "audio/conv_tasnet": lambda: Case(ConvTasNet(), waves(), (400, 480)),
    "audio/wavenet": lambda: Case(WaveNet(), waves(), (64, 96)),
    "audio/wave_u_net": lambda: Case(WaveUNet(), waves(), (64, 96)),
}
