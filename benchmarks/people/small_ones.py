"""What people write themselves: several inputs, several outputs, transformers of torch, generators, points, tables."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from people.case import Case, Inputs, Network, generator, images, rows, tokens, whole


class Siamese(nn.Module):
    """Two images through one network, and how far apart they are."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Linear(128, 24),
        )  # fmt: skip
        self.head = nn.Linear(24, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head((self.branch(a) - self.branch(b)).abs())


def two_images(n: int, s: int) -> Inputs:
    own = generator(n, s)
    return torch.randn(n, 1, s, s, generator=own), torch.randn(n, 1, s, s, generator=own)


class OfDict(nn.Module):
    """An image, a table row and a text in one dict."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.table, self.text = nn.Linear(5, 12), nn.EmbeddingBag(120, 12)
        self.head = nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 4))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = self.image(batch["image"]), self.table(batch["table"]).relu(), self.text(batch["text"])
        return {"logits": self.head(torch.cat(parts, 1))}


def one_dict(n: int, s: int) -> Inputs:
    own = generator(n, s)
    image, table = torch.randn(n, 3, s, s, generator=own), torch.randn(n, 5, generator=own)
    return ({"image": image, "table": table, "text": whole(n, 7, 120)},)


class MultiTask(nn.Module):
    """One body, two heads, outputs of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
        self.dense, self.classes = nn.Conv2d(32, 1, 1), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x)
        return self.dense(y), self.classes(y.mean((2, 3)))


class UNet(nn.Module):
    """U-Net (arXiv 1505.04597) with transposed convolutions and concatenated skips."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48)) -> None:
        super().__init__()

        def double(a: int, b: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(True), nn.Conv2d(b, b, 3, padding=1),
                nn.BatchNorm2d(b), nn.ReLU(True),
            )  # fmt: skip

        a, b, c = widths
        self.one, self.two, self.three = double(3, a), double(a, b), double(b, c)
        self.up2, self.up1 = nn.ConvTranspose2d(c, b, 2, 2), nn.ConvTranspose2d(b, a, 2, 2)
        self.back2, self.back1, self.head = double(2 * b, b), double(2 * a, a), nn.Conv2d(a, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(F.max_pool2d(one, 2))
        y = self.up2(self.three(F.max_pool2d(two, 2)))
        y = self.back2(torch.cat((two, y), 1))
        return self.head(self.back1(torch.cat((one, self.up1(y)), 1)))


class EncoderClassifier(nn.Module):
    """torch's own encoder over tokens with learnt positions."""

    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(120, 32), nn.Parameter(0.02 * torch.randn(1, 64, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.encoder(self.embedding(x) + self.positions[:, : x.size(1)])
        return self.head(y.mean(1))


class Translator(nn.Module):
    """torch's own transformer with a causal mask for the target."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(120, 32), nn.Embedding(120, 32)
        self.transformer = nn.Transformer(32, 4, 1, 1, 64, batch_first=True)
        self.head = nn.Linear(32, 120)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.size(1))
        return self.head(self.transformer(self.source(source), self.target(target), tgt_mask=mask))


def two_texts(n: int, s: int) -> Inputs:
    return whole(n, s, 120), whole(n, s // 2, 120)


class NanoGpt(nn.Module):
    """A causal language model with one projection for queries, keys and values and a tied head."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.tokens, self.positions = nn.Embedding(120, width), nn.Embedding(64, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width), "qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width),
                    "norm2": nn.LayerNorm(width), "inner": nn.Linear(width, 4 * width),
                    "outer": nn.Linear(4 * width, width),
                }
            )
            for _ in range(2)
        )  # fmt: skip
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 120, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.shape
        y = self.tokens(x) + self.positions(torch.arange(t))
        for block in self.blocks:
            q, k, v = block["qkv"](block["norm1"](y)).split(self.width, dim=2)
            q, k, v = (p.view(n, t, self.heads, self.width // self.heads).transpose(1, 2) for p in (q, k, v))
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            y = y + block["out"](a.transpose(1, 2).contiguous().view(n, t, self.width))
            y = y + block["outer"](F.gelu(block["inner"](block["norm2"](y))))
        return self.head(self.norm(y))


class EinopsVit(nn.Module):
    """A ViT as it is written with einops: rearrange everywhere, heads as an attribute."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        from einops.layers.torch import Rearrange

        self.patches = nn.Sequential(Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4), nn.Linear(48, width))
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 17, width))
        self.norm, self.qkv, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width, bias=False),
            nn.Linear(width, width),
        )
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.heads, self.scale, self.head = heads, (width // heads) ** -0.5, nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        from einops import rearrange, repeat

        y = self.patches(x)
        y = torch.cat((repeat(self.token, "1 1 d -> b 1 d", b=x.size(0)), y), 1) + self.positions
        q, k, v = (rearrange(p, "b n (h d) -> b h n d", h=self.heads) for p in self.qkv(self.norm(y)).chunk(3, -1))
        weights = ((q @ k.transpose(-1, -2)) * self.scale).softmax(-1)
        y = y + self.out(rearrange(weights @ v, "b h n d -> b n (h d)"))
        return self.head((y + self.mlp(y))[:, 0])


class Vae(nn.Module):
    """A variational autoencoder; without noise in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU())
        self.mean, self.spread = nn.Linear(64, 8), nn.Linear(64, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 256), nn.Unflatten(1, (1, 16, 16)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.encoder(x)
        mean, spread = self.mean(y), self.spread(y)
        code = mean + torch.randn_like(mean) * (0.5 * spread).exp() if self.training else mean
        return self.decoder(code), mean, spread


def generator_network() -> nn.Module:
    """The generator of a DCGAN."""
    return nn.Sequential(
        nn.Linear(16, 48 * 16), nn.Unflatten(1, (48, 4, 4)), nn.BatchNorm2d(48), nn.ReLU(),
        nn.ConvTranspose2d(48, 24, 4, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.ConvTranspose2d(24, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Module:
    """With spectral norm, as most have it."""
    norm = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(
        norm(nn.Conv2d(3, 16, 4, 2, 1)), nn.LeakyReLU(0.2), norm(nn.Conv2d(16, 32, 4, 2, 1)), nn.LeakyReLU(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), norm(nn.Linear(32, 1)),
    )  # fmt: skip


class Radiance(nn.Module):
    """NeRF (arXiv 2003.08934): sines of a position through an MLP that sees its input twice."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.register_buffer("octaves", 2.0 ** torch.arange(4))
        self.first = nn.ModuleList([nn.Linear(24, width), nn.Linear(width, width)])
        self.second = nn.ModuleList([nn.Linear(width + 24, width), nn.Linear(width, width)])
        self.density, self.colour = nn.Linear(width, 1), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        angles = (x.unsqueeze(-1) * self.octaves).flatten(-2)
        code = torch.cat((angles.sin(), angles.cos()), -1)
        y = code
        for layer in self.first:
            y = layer(y).relu()
        y = torch.cat((y, code), -1)
        for layer in self.second:
            y = layer(y).relu()
        return self.density(y), self.colour(y).sigmoid()


class PointNet(nn.Module):
    """PointNet (arXiv 1612.00593): the same MLP for every point, the maximum over points, a learnt rotation."""

    def __init__(self) -> None:
        super().__init__()
        self.rotation = nn.Sequential(nn.Conv1d(3, 24, 1), nn.ReLU())
        self.angles = nn.Linear(24, 9)
        self.body = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 48, 1))
        self.head = nn.Sequential(nn.Linear(48, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 10))

    def forward(self, x: Tensor) -> Tensor:
        points = x.transpose(1, 2)
        turned = self.angles(self.rotation(points).amax(2)).view(-1, 3, 3) + torch.eye(3)
        return self.head(self.body(turned @ points).amax(2))


class Recommender(nn.Module):
    """DLRM (arXiv 1906.00091): embeddings and numbers, all pairs multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(50, 16) for _ in range(3))
        self.bottom = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 16))
        self.top = nn.Sequential(nn.Linear(16 + 6, 32), nn.ReLU(), nn.Linear(32, 1))
        self.register_buffer("pairs", torch.tril_indices(4, 4, -1))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        dense = self.bottom(numbers)
        rows = torch.stack([dense, *(table(categories[:, i]) for i, table in enumerate(self.tables))], 1)
        products = rows @ rows.transpose(1, 2)
        return self.top(torch.cat((dense, products[:, self.pairs[0], self.pairs[1]]), 1))


def numbers_and_categories(n: int, s: int) -> Inputs:
    own = generator(n, s)
    return torch.randn(n, 5, generator=own), torch.randint(0, 50, (n, 3), generator=own)


class GraphConvolution(nn.Module):
    """A graph network on dense adjacency matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(8, 32), nn.Linear(32, 24), nn.Linear(24, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        edges = edges / edges.sum(-1, keepdim=True)
        y = (edges @ self.one(nodes)).relu()
        return self.head((edges @ self.two(y)).relu().mean(1))


def nodes_and_edges(n: int, s: int) -> Inputs:
    own = generator(n, s)
    return torch.randn(n, s, 8, generator=own), torch.rand(n, s, s, generator=own) + 0.1


class Temporal(nn.Module):
    """A temporal convolutional network (arXiv 1803.01271): causal by cutting off what was padded, with weight norm."""

    def __init__(self, weight_norm: bool = False) -> None:
        super().__init__()
        norm: Any = nn.utils.parametrizations.weight_norm if weight_norm else (lambda layer: layer)
        self.layers = nn.ModuleList(
            norm(nn.Conv1d(a, 24, 3, padding=2 * 2**i, dilation=2**i)) for i, a in enumerate((6, 24, 24))
        )
        self.shortcut, self.head = nn.Conv1d(6, 24, 1), nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        skip = self.shortcut(x)
        for layer in self.layers:
            x = layer(x)[:, :, : skip.size(2)].relu()
        return self.head((x + skip)[:, :, -1])


class Detector(nn.Module):
    """A one-stage detector as people write it: anchors, boxes decoded with a grid, all in one tensor."""

    def __init__(self, anchors: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.anchors, self.classes = anchors, classes
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
            nn.SiLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.SiLU(),
        )  # fmt: skip
        self.head = nn.Conv2d(32, anchors * (5 + classes), 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.body(x))
        n, _, h, w = y.shape
        y = y.view(n, self.anchors, 5 + self.classes, h, w).permute(0, 1, 3, 4, 2)
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        centres = y[..., :2].sigmoid() + torch.stack((columns, rows), -1)
        return torch.cat((centres, y[..., 2:4].exp(), y[..., 4:].sigmoid()), -1).flatten(1, 3)


class SpatialAttention(nn.Module):
    """CBAM (arXiv 1807.06521): attention over channels, then over places by mean and maximum over channels."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.squeeze = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width))
        self.places, self.head = nn.Conv2d(2, 1, 7, padding=3), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        channel = (self.squeeze(y.mean((2, 3))) + self.squeeze(y.amax((2, 3)))).sigmoid()
        y = y * channel[:, :, None, None]
        y = y * self.places(torch.cat((y.mean(1, keepdim=True), y.amax(1, keepdim=True)), 1)).sigmoid()
        return self.head(y.mean((2, 3)))


NETWORKS: dict[str, Network] = {
    "own/siamese": lambda: Case(Siamese(), two_images, (16, 24)),
    "own/dict_inputs": lambda: Case(OfDict(), one_dict, (16, 24)),
    "own/multi_task": lambda: Case(MultiTask(), images(), (16, 24)),
    "own/unet": lambda: Case(UNet(), images(), (32, 48)),
    "own/encoder_classifier": lambda: Case(EncoderClassifier(), tokens(), (10, 16)),
    "own/encoder_norm_first": lambda: Case(EncoderClassifier(True), tokens(), (10, 16)),
    "own/translator": lambda: Case(Translator(), two_texts, (10, 16)),
    "own/nano_gpt": lambda: Case(NanoGpt(), tokens(), (10, 16)),
    "own/einops_vit": lambda: Case(EinopsVit(), images(), (16,)),
    "own/vae": lambda: Case(Vae(), images(1), (16,)),
    "own/dcgan_generator": lambda: Case(
        generator_network(), lambda n, s: torch.randn(n, 16, generator=generator(n, s)), (1,)
    ),
    "own/spectral_discriminator": lambda: Case(discriminator(), images(), (16, 24)),
    "own/nerf": lambda: Case(Radiance(), rows(3), (20, 30)),
    "own/pointnet": lambda: Case(PointNet(), rows(3), (20, 30)),
    "own/dlrm": lambda: Case(Recommender(), numbers_and_categories, (1,)),
    "own/graph_convolution": lambda: Case(GraphConvolution(), nodes_and_edges, (8, 12)),
    "own/temporal_cnn": lambda: Case(Temporal(), rows(6), (20, 30)),
    "own/temporal_cnn_weight_norm": lambda: Case(Temporal(True), rows(6), (20, 30)),
    "own/one_stage_detector": lambda: Case(Detector(), images(), (32, 64)),
    "own/cbam": lambda: Case(SpatialAttention(), images(), (16, 24)),
}
