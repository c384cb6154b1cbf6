"""Tiny networks, one idea each, with the number of variables worked out by hand."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 8


class Net(nn.Module):
    """Submodules, parameters and buffers by name, and a forward function of (network, inputs...)."""

    def __init__(self, compute: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self._compute = compute
        for name, member in members.items():
            if isinstance(member, Tensor) and not isinstance(member, nn.Parameter):
                self.register_buffer(name, member)
            else:
                setattr(self, name, member)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._compute(self, *args, **kwargs)


def conv(into: int, out: int, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(into, out, kernel, padding=kernel // 2, **options)


def image(channels: int = 3, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, SIDE, SIDE)


def between(width: int, *middle: nn.Module, out: int | None = None) -> nn.Sequential:
    """conv(3, width), whatever stands in the middle, conv(out or width, 4)."""
    return nn.Sequential(conv(3, width), *middle, conv(out or width, 4))


def function(width: int, compute: Callable[[Net, Tensor], Tensor], out: int | None = None, **members: Any) -> Net:
    """The same with a function in the middle."""
    return Net(lambda n, x: n.last(compute(n, n.first(x))), first=conv(3, width), last=conv(out or width, 4), **members)


def residual() -> nn.Module:
    def compute(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x).relu()
        x = (x + n.up(n.down(x).relu())).relu()
        again = n.again(x)
        again += x
        return n.last(again)

    return Net(compute, stem=conv(3, 8), down=conv(8, 5), up=conv(5, 8), again=conv(8, 8), last=conv(8, 4))


def recurrent(n: Net, x: Tensor) -> Tensor:
    state = n.start(x.mean(1))
    for i in range(x.size(1)):
        state = n.cell(x[:, i], state)
    return n.last(state)


def squeeze_excite() -> nn.Module:
    def scale(n: Net, x: Tensor) -> Tensor:
        return x * n.up(n.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()

    return function(8, scale, down=conv(8, 3, 1), up=conv(3, 8, 1))


def shuffle(n: Net, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return x.view(batch, -1, height, width).relu()


def tied() -> nn.Module:
    one, two = conv(8, 8), conv(8, 8)
    two.weight = one.weight
    return between(8, one, nn.ReLU(), two, nn.ReLU())


def twice() -> nn.Module:
    shared = nn.Sequential(conv(8, 8), nn.BatchNorm2d(8), nn.ReLU())
    return between(8, nn.ReLU(), shared, shared)


def gated_halves(n: Net, x: Tensor) -> Tensor:
    value, gate = x.chunk(2, 1)
    return value * gate.sigmoid()


def computed_halves(n: Net, x: Tensor) -> Tensor:
    middle = x.size(1) // 2
    return x[:, :middle].relu() + n.other(x[:, middle:].sigmoid())


def padded_shortcut(n: Net, x: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 2, 2)).relu() + n.wide(x)


def zero_buffer(n: Net, x: Tensor) -> Tensor:
    return torch.cat((x.relu(), n.zeros.expand(x.size(0), -1, *x.shape[2:])), 1)


def normalised(n: Net, x: Tensor) -> Tensor:
    return F.normalize(n.before(x).relu(), dim=1)


def scanned(n: Net, x: Tensor) -> Tensor:
    """A selective scan: a state for each channel, which starts with zeros, and decays as fast as the input says."""
    state = torch.zeros(x.size(0), n.width, 3)
    u, steps, outputs = n.first(x), F.softplus(n.steps(x)), []
    for i in range(x.size(1)):
        state = torch.exp(-steps[:, i, :, None] * n.rates.exp()) * state + u[:, i, :, None] * n.into(x[:, i])[:, None]
        outputs.append((state * n.out_of(x[:, i])[:, None]).sum(-1))
    return n.last(torch.stack(outputs, 1) * u.sigmoid())


def scan() -> Net:
    layers = {"first": nn.Linear(5, 8), "steps": nn.Linear(5, 8), "into": nn.Linear(5, 3), "out_of": nn.Linear(5, 3)}
    network = Net(scanned, rates=nn.Parameter(torch.randn(8, 3)), last=nn.Linear(8, 4), **layers)
    network.width = 8
    return network


def convolutional_lstm(n: Net, x: Tensor) -> Tensor:
    h = c = torch.zeros(x.size(0), n.hidden, *x.shape[3:])
    for step in range(x.size(1)):
        i, f, o, g = n.gates(torch.cat((x[:, step], h), 1)).split(n.hidden, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return n.last(h)


def convolutional_lstm_of(hidden: int) -> Net:
    network = Net(convolutional_lstm, gates=conv(3 + hidden, 4 * hidden), last=conv(hidden, 4))
    network.hidden = hidden
    return network


def cumulated(n: Net, x: Tensor) -> Tensor:
    return x.cummax(1).values


def setitem(make: Callable[..., Tensor]) -> Callable[[Net, Tensor], Tensor]:
    def compute(n: Net, x: Tensor) -> Tensor:
        canvas = make(x.size(0), 10, *x.shape[2:])
        canvas[:, :8] = x
        return canvas

    return compute


def last_dim_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 4))


def tokens(n: Net, x: Tensor) -> Tensor:
    return n.mlp(n.norm(n.first(x).flatten(2).transpose(1, 2)))


class Attention(nn.Module):
    """Heads of one fused projection, with the sizes written in one of the usual ways."""

    def __init__(self, fused: bool, heads: int = 4, width: int = 16) -> None:
        super().__init__()
        self.fused, self.heads, self.width, self.scale = fused, heads, width // heads, (width // heads) ** -0.5
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, channels = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(batch, length, channels))  # the width of a stream that stays


def attending(inner: nn.Module) -> nn.Module:
    """A layer norm keeps the stream whole on both sides of the attention."""
    return nn.Sequential(nn.Linear(5, 16), nn.LayerNorm(16), inner, nn.LayerNorm(16), nn.Linear(16, 3))


class Multihead(nn.Module):
    def __init__(self, batch_first: bool = True, weights: bool = False) -> None:
        super().__init__()
        self.inner, self.weights = nn.MultiheadAttention(16, 4, batch_first=batch_first), weights

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=self.weights)[0]


def single_head(n: Net, x: Tensor) -> Tensor:
    q, k, v = n.q(x), n.k(x), n.v(x)
    return n.last((q @ k.transpose(1, 2)).softmax(-1) @ v)


def selective(n: Net, x: Tensor) -> Tensor:
    paths = torch.stack((n.a(x), n.b(x)), 1)
    weights = n.up(n.down(paths.sum(1).mean((2, 3), keepdim=True)).relu())
    weights = weights.view(x.size(0), 2, 6, 1, 1).softmax(1)
    return n.last((paths * weights).sum(1))


def neighbours(n: Net, x: Tensor) -> Tensor:
    """Two layers of a graph network: each node adds up what others send."""
    source, target = torch.tensor([0, 1, 2, 3, 3, 7]), torch.tensor([1, 0, 3, 2, 5, 6])
    for layer in (n.first, n.second):
        x = layer(x).relu().flatten(0, 1)
        x = (x + torch.zeros_like(x).index_add(0, target, x.index_select(0, source))).unflatten(0, (-1, 8))
    result: Tensor = n.last(x)
    return result


def sums_into(n: Net, x: Tensor) -> Tensor:
    result: Tensor = n.last(n.first(x).index_add(0, torch.arange(len(x)) // 2, n.second(x).relu()))
    return result


def summed_channels(n: Net, x: Tensor) -> Tensor:
    where = torch.tensor([0, 1, 2, 3, 3, 0])
    result: Tensor = n.last(torch.zeros(len(x), 4).index_add(1, where, n.first(x).relu()))
    return result


def unet() -> nn.Module:
    def block(into: int, out: int) -> nn.Module:
        return nn.Sequential(conv(into, out), nn.BatchNorm2d(out), nn.ReLU())

    def compute(n: Net, x: Tensor) -> dict[str, Tensor]:
        one = n.one(x)
        two = n.two(F.max_pool2d(one, 2))
        three = n.three(F.max_pool2d(two, 2))
        two = n.back(torch.cat((n.up(three), two), 1))
        return {"out": n.last(torch.cat((F.interpolate(two, scale_factor=2.0, mode="bilinear"), one), 1))}

    return Net(
        compute,
        one=block(3, 4),
        two=block(4, 6),
        three=block(6, 8),
        up=nn.ConvTranspose2d(8, 5, 2, 2),
        back=block(11, 7),
        last=conv(11, 2),
    )


Build = Callable[[], nn.Module]
EXAMPLES: dict[str, tuple[Build, int, Callable[[], Any]]] = {
    # name: (network, variables, example inputs)
    "conv-bn chain": (
        lambda: between(8, nn.BatchNorm2d(8), nn.ReLU(), conv(8, 6), nn.BatchNorm2d(6), out=6),
        14,
        image,
    ),
    "conv with bias, no norm": (lambda: between(8, nn.Sigmoid()), 8, image),
    "residual sums tie": (residual, 8 + 5, image),
    "in-place activations": (
        lambda: between(8, nn.ReLU(True), conv(8, 8), nn.Hardswish(True), nn.ReLU6(True)),
        16,
        image,
    ),
    "an input changed in place": (lambda: nn.Sequential(nn.ReLU(True), between(8)), 8, image),
    "concatenation keeps parts apart": (
        lambda: Net(
            lambda n, x: n.last(torch.cat((n.a(x), n.b(x)), 1).relu()), a=conv(3, 5), b=conv(3, 7), last=conv(12, 4)
        ),
        5 + 7,
        image,
    ),
    "depthwise": (lambda: between(8, nn.ReLU(), conv(8, 8, groups=8), nn.BatchNorm2d(8), conv(8, 6), out=6), 14, image),
    "depthwise with a multiplier": (lambda: between(8, nn.ReLU(), conv(8, 16, groups=8), nn.ReLU(), out=16), 8, image),
    "wide groups lose positions": (
        lambda: between(16, conv(16, 8, groups=2), nn.ReLU(), out=8),
        16 // 2 + 8 // 2,
        image,
    ),
    "transposed and depthwise": (
        lambda: between(8, nn.ConvTranspose2d(8, 8, 2, 2, groups=8), nn.BatchNorm2d(8), nn.ReLU()),
        8,
        image,
    ),
    "transposed in narrow groups": (
        lambda: between(16, nn.ConvTranspose2d(16, 24, 2, 2, groups=8), nn.ReLU(), out=24),
        8,
        image,
    ),
    "transposed in wide groups": (lambda: between(16, nn.ConvTranspose2d(16, 8, 2, 2, groups=2), out=8), 0, image),
    "padded in a circle": (
        lambda: nn.Sequential(conv(3, 8, padding_mode="circular"), nn.ReLU(), nn.CircularPad2d(2), conv(8, 4)),
        8,
        image,
    ),
    "randomised leaky ReLU": (lambda: between(8, nn.RReLU()), 8, image),
    "narrow groups leave whole": (lambda: between(16, conv(16, 32, groups=8), nn.ReLU(), out=32), 8, image),
    "squeeze-excite": (squeeze_excite, 8 + 3, image),
    "flatten into linear": (
        lambda: nn.Sequential(conv(3, 6), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(6 * 4, 5)),
        6,
        image,
    ),
    "linear on three dimensions": (last_dim_mlp, 7, lambda: torch.randn(2, 9, 5)),
    "linear without bias": (
        lambda: nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 4, bias=False)),
        7,
        lambda: torch.randn(2, 5),
    ),
    "padded channels stay": (lambda: function(8, padded_shortcut, out=12, wide=conv(8, 12)), 8, image),
    "a zero buffer's channels may leave": (
        lambda: function(6, zero_buffer, out=10, zeros=torch.zeros(1, 4, 1, 1)),
        6 + 4,
        image,
    ),
    "channel shuffle": (lambda: function(8, shuffle), 4, image),
    "a recurrent cell": (
        lambda: Net(recurrent, start=nn.Linear(5, 6), cell=nn.GRUCell(5, 6), last=nn.Linear(6, 4)),
        6,
        lambda: torch.randn(2, 3, 5),
    ),
    "before a recurrent layer": (
        lambda: Net(
            lambda n, x: n.last(n.layer(n.first(x))[0][:, -1]),
            first=nn.Linear(5, 8),
            layer=nn.GRU(8, 6, batch_first=True),
            last=nn.Linear(6, 4),
        ),
        8 + 6,
        lambda: torch.randn(2, 3, 5),
    ),
    "chunk ties the pieces": (lambda: function(8, gated_halves, out=4), 4, image),
    "a module called twice": (twice, 8, image),
    "tied weights": (tied, 8, image),
    "transposed convolution": (
        lambda: between(8, nn.ReLU(), nn.ConvTranspose2d(8, 6, 2, 2), nn.BatchNorm2d(6), out=6),
        8 + 6,
        image,
    ),
    "transposed convolution with groups": (lambda: between(8, nn.ConvTranspose2d(8, 8, 2, 2, groups=4)), 4, image),
    "PReLU": (lambda: between(8, nn.PReLU(8)), 8, image),
    "dropout": (lambda: between(8, nn.Dropout2d(0.5), nn.ReLU(), nn.Dropout(0.5)), 8, image),
    "pooling and resizing": (
        lambda: between(8, nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(3)),
        8,
        image,
    ),
    "one dimension": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.MaxPool1d(2), nn.Conv1d(8, 4, 3)),
        8,
        lambda: torch.randn(2, 3, 20),
    ),
    "three dimensions": (
        lambda: nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 4, 3)),
        8,
        lambda: torch.randn(2, 3, 6, 6, 6),
    ),
    "batch norm without affine": (lambda: between(8, nn.BatchNorm2d(8, affine=False), nn.ReLU()), 8, image),
    "a learned scale per channel": (
        lambda: function(8, lambda n, x: x.relu() * n.scale, scale=nn.Parameter(torch.randn(8, 1, 1))),
        8,
        image,
    ),
    "a learned map over positions": (
        lambda: function(8, lambda n, x: x.relu() + n.map, map=nn.Parameter(torch.randn(1, 8, SIDE, SIDE))),
        8,
        image,
    ),
    "a constant over positions": (
        lambda: function(8, lambda n, x: x.relu() * torch.linspace(0, 1, SIDE).view(SIDE, 1)),
        8,
        image,
    ),
    "a constant of full size": (
        lambda: function(8, lambda n, x: x + torch.linspace(0, 1, 8 * SIDE**2).view(8, SIDE, SIDE)),
        0,
        image,
    ),
    "mixing positions, channels as rows": (
        lambda: Net(
            lambda n, x: n.last(n.mix(n.first(x).flatten(2)).relu().view(x.size(0), -1, 4, 4)),
            first=conv(3, 8),
            mix=nn.Linear(SIDE**2, 16),
            last=conv(8, 4),
        ),
        8,
        image,
    ),
    "a matrix of one's own": (
        lambda: Net(
            lambda n, x: n.first(x).relu().flatten(2).transpose(1, 2) @ n.matrix,
            first=conv(3, 8),
            matrix=nn.Parameter(torch.randn(8, 5)),
        ),
        8,
        image,
    ),
    "LayerNorm stays, the width behind it does not": (
        lambda: Net(
            tokens, first=conv(3, 8), norm=nn.LayerNorm(8), mlp=nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
        ),
        6,
        image,
    ),
    "softmax over channels": (lambda: function(8, lambda n, x: x * x.mean((2, 3), keepdim=True).softmax(1)), 0, image),
    "the mean over channels": (lambda: function(8, lambda n, x: x - x.mean(1, keepdim=True)), 0, image),
    "size hard-coded in a view": (
        lambda: Net(
            lambda n, x: n.last(n.first(x).view(-1, 8 * SIDE**2)), first=conv(3, 8), last=nn.Linear(8 * SIDE**2, 4)
        ),
        8,
        image,
    ),
    "size hard-coded in slices": (
        lambda: function(8, lambda n, x: x[:, :3].relu() + n.other(x[:, 3:]), out=3, other=conv(5, 3)),
        3 + 5,  # the cut moves with the channels before it
        image,
    ),
    "size computed from other channels": (lambda: function(16, computed_halves, out=8, other=conv(8, 8)), 0, image),
    "code that asks for the width": (lambda: function(16, lambda n, x: x * 2 if x.size(1) > 5 else x), 0, image),
    "a scale by the width": (lambda: function(16, lambda n, x: x / x.size(1)), 0, image),
    "a single channel is squeezed away": (
        lambda: Net(
            lambda n, x: n.last(F.adaptive_avg_pool2d(n.first(x), 1).squeeze()), first=conv(3, 8), last=nn.Linear(8, 4)
        ),
        7,
        image,
    ),
    "Fourier transform": (lambda: function(8, lambda n, x: torch.fft.fft(x, dim=1).real), 0, image),
    "summed over channels": (lambda: Net(lambda n, x: n.first(x).relu().sum(1), first=conv(3, 8)), 8, image),
    "averaged over channels": (lambda: Net(lambda n, x: n.first(x).relu().mean(1), first=conv(3, 8)), 0, image),
    "the largest channel behind a ReLU": (
        lambda: Net(lambda n, x: n.last(n.first(x).relu().amax(1, keepdim=True)), first=conv(3, 8), last=conv(1, 4)),
        8,
        image,
    ),
    "the largest channel of any sign": (
        lambda: Net(lambda n, x: n.last(n.first(x).amax(1, keepdim=True)), first=conv(3, 8), last=conv(1, 4)),
        0,
        image,
    ),
    "divided by its norm": (lambda: function(8, normalised, before=conv(8, 8)), 8 + 8, image),
    "cumulated along positions": (
        lambda: Net(lambda n, x: n.last(n.first(x).cumsum(1)), first=nn.Linear(5, 8), last=nn.Linear(8, 4)),
        8,
        lambda: torch.randn(2, 7, 5),
    ),
    "the largest of each channel's positions": (
        lambda: Net(lambda n, x: n.last(n.first(x).topk(3, 1).values), first=nn.Linear(5, 8), last=nn.Linear(8, 4)),
        8,
        lambda: torch.randn(2, 7, 5),
    ),
    "the largest channels": (
        lambda: Net(lambda n, x: n.last(n.first(x).topk(3).values), first=nn.Linear(5, 8), last=nn.Linear(3, 4)),
        0,
        lambda: torch.randn(2, 7, 5),
    ),
    "a selective scan": (scan, 8 + 3, lambda: torch.randn(2, 6, 5)),
    "a convolutional LSTM": (lambda: convolutional_lstm_of(6), 6, lambda: torch.randn(2, 4, 3, SIDE, SIDE)),
    "cumulated over channels": (lambda: function(8, cumulated), 0, image),
    "written into a canvas of zeros": (lambda: function(8, setitem(torch.zeros), out=10), 8 + 2, image),
    "written into a canvas": (lambda: function(8, setitem(torch.ones), out=10), 0, image),
    "out of sight in numpy": (lambda: function(8, lambda n, x: torch.from_numpy(x.detach().numpy())), 0, image),
    "positive input": (lambda: Net(lambda n, x: n.body(x.log()), body=between(8, nn.ReLU())), 8, lambda: image().exp()),
    "a buffer as weight": (
        lambda: Net(
            lambda n, x: n.last(F.conv2d(n.first(x).relu(), n.kernel)),
            first=conv(3, 8),
            kernel=torch.randn(6, 8, 3, 3),
            last=conv(6, 4),
        ),
        8 + 6,
        image,
    ),
    "random numbers in the forward pass": (
        lambda: function(8, lambda n, x: x.relu() + 0 * torch.rand(())),
        8,
        image,
    ),
    "dict in, dict out": (
        lambda: Net(lambda n, image, scale: {"y": n.body(image) * scale, "n": None}, body=between(8, nn.ReLU())),
        8,
        lambda: {"image": image(), "scale": 2.0},
    ),
    "tuple in, tuple out": (
        lambda: Net(lambda n, x, y: (n.body(x), [n.body(y), "text"]), body=between(8, nn.ReLU())),
        8,
        lambda: (image(), image()),
    ),
    "features are an output too": (
        lambda: Net(lambda n, x: (n.first(x), n.last(n.first(x))), first=conv(3, 8), last=conv(8, 4)),
        0,
        image,
    ),
    "channels last": (
        lambda: nn.Sequential(between(8, nn.BatchNorm2d(8), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(
            memory_format=torch.channels_last
        ),
        8,
        lambda: image().to(memory_format=torch.channels_last),
    ),
    "channels last into a classifier": (
        lambda: nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).to(
            memory_format=torch.channels_last
        ),
        8,
        lambda: image().to(memory_format=torch.channels_last),
    ),
    "double precision": (lambda: between(8, nn.BatchNorm2d(8), nn.ReLU()).double(), 8, lambda: image().double()),
    "half precision": (lambda: between(8, nn.BatchNorm2d(8), nn.ReLU()).half(), 8, lambda: image().half()),
    "bfloat16": (lambda: between(8, nn.BatchNorm2d(8), nn.ReLU()).bfloat16(), 8, lambda: image().bfloat16()),
    "GroupNorm loses whole groups": (lambda: between(16, nn.GroupNorm(4, 16), nn.ReLU()), 4, image),
    "GroupNorm without weights": (
        lambda: between(16, nn.GroupNorm(4, 16, affine=False), nn.ReLU()),
        4,
        image,
    ),
    "GroupNorm of one group": (lambda: between(16, nn.GroupNorm(1, 16), nn.ReLU()), 0, image),
    "InstanceNorm": (lambda: between(8, nn.InstanceNorm2d(8, affine=True), nn.ReLU()), 8, image),
    "GLU halves leave together": (lambda: between(16, nn.GLU(1), out=8), 8, image),
    "padding by reflection": (
        lambda: between(8, nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"), out=6),
        8 + 6,
        image,
    ),
    "pixel shuffle": (lambda: between(8, nn.ReLU(), conv(8, 24), nn.PixelShuffle(2), out=6), 8 + 6, image),
    "split by hard-coded sizes": (
        lambda: function(
            8,
            lambda n, x: torch.cat([f(p) for f, p in zip((n.a, n.b), x.split([3, 5], 1), strict=True)], 1),
            out=9,
            a=conv(3, 4),
            b=conv(5, 5),
        ),
        3 + 5 + 4 + 5,
        image,
    ),
    "selective kernels": (
        lambda: Net(selective, a=conv(3, 6), b=conv(3, 6), down=conv(6, 5, 1), up=conv(5, 12, 1), last=conv(6, 4)),
        6 + 5,  # both paths and both weights of a channel leave together; and the bottleneck
        image,
    ),
    "attention loses heads": (lambda: attending(Attention(fused=False)), 4, lambda: torch.randn(2, 7, 5)),
    "fused attention loses heads": (lambda: attending(Attention(fused=True)), 4, lambda: torch.randn(2, 7, 5)),
    "nn.MultiheadAttention loses heads": (lambda: attending(Multihead()), 4, lambda: torch.randn(2, 7, 5)),
    "nn.MultiheadAttention, batch second, with weights": (
        lambda: attending(Multihead(False, True)),
        4,
        lambda: torch.randn(7, 2, 5),
    ),
    "nn.MultiheadAttention on a stream that narrows": (
        lambda: nn.Sequential(nn.Linear(5, 16), Multihead(), nn.Linear(16, 3)),
        16 + 4 + 16,  # the stream in, the heads, the stream out
        lambda: torch.randn(2, 7, 5),
    ),
    "nn.TransformerEncoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 24, batch_first=True), 2),
        2 * (4 + 24),  # heads and hidden widths; the stream runs through layer norms
        lambda: torch.randn(2, 7, 16),
    ),
    "a single head's queries and keys, and its values": (
        lambda: Net(single_head, q=nn.Linear(5, 6), k=nn.Linear(5, 6), v=nn.Linear(5, 7), last=nn.Linear(7, 3)),
        6 + 7,
        lambda: torch.randn(2, 4, 5),
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)),
        8 + 6,  # the rows stay: any word may come
        lambda: torch.tensor([[1, 2, 3], [4, 5, 6]]),
    ),
    "sums over neighbours": (
        lambda: Net(neighbours, first=nn.Linear(5, 6), second=nn.Linear(6, 7), last=nn.Linear(7, 3)),
        6 + 7,
        lambda: torch.randn(2, 8, 5),
    ),
    "sums into what is there": (
        lambda: Net(sums_into, first=nn.Linear(5, 6), second=nn.Linear(5, 6), last=nn.Linear(6, 3)),
        6,
        lambda: torch.randn(8, 5),
    ),
    "sums over the channels": (
        lambda: Net(summed_channels, first=nn.Linear(5, 6), last=nn.Linear(4, 3)),
        0,
        lambda: torch.randn(2, 5),
    ),
    "U-Net": (unet, 4 + 6 + 8 + 5 + 7, image),
    "no parameters": (nn.ReLU, 0, image),
}
