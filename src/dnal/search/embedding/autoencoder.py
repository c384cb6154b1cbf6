"""The multi-scale auto-encoder of MLPs: one encoder, a decoder for each number of hidden layers, a loss of functions.

Source: Huang, Montazerin and Srivastava, arXiv 2410.08339. Encoder and decoders are small transformers here, where the
successor's code (SWAT-NN) has four GPT-2 and the paper convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.search.embedding.mlps import MLPs, columns, of_columns

HEADS, BLOCKS = 4, 2


class Autoencoder(nn.Module):
    """Networks -> points (N, W, features) -> networks.

    Args:
        width: neurons of a layer, and inputs, at most. depth: hidden layers, at most. features: of a row of a point.
    """

    def __init__(self, width: int, depth: int, features: int) -> None:
        super().__init__()
        self.depth = depth
        self.read = nn.Linear(2 * columns(width, depth), features)
        self.place = nn.Parameter(0.02 * torch.randn(width, features))
        self.encoder = _blocks(features)
        self.decoders = nn.ModuleList(
            nn.Sequential(_blocks(features), nn.Linear(features, columns(width, each + 1))) for each in range(depth)
        )

    def encode(self, networks: MLPs) -> Tensor:
        """The points of networks."""
        code = networks.code(self.depth).flatten(2)
        found: Tensor = self.encoder(self.read(code) + self.place)
        return found

    def decode(self, points: Tensor, depth: int, temperature: float = 1.0) -> MLPs:
        """The networks of points with so many hidden layers, from 1."""
        return of_columns(self.decoders[depth - 1](points + self.place), depth, temperature)

    def errors(self, networks: MLPs, x: Tensor) -> Tensor:
        """What each decoder's networks miss of the functions given, mean squares over x (P, W): (depth, N)."""
        points, target = self.encode(networks), networks(x)
        return torch.stack([(self.decode(points, d + 1)(x) - target).square().mean(1) for d in range(self.depth)])

    def loss(self, networks: MLPs, x: Tensor) -> Tensor:
        """The mean over networks of the least error of all decoders: only the best one learns from a network."""
        return self.errors(networks, x).amin(0).mean()


def _blocks(features: int) -> nn.TransformerEncoder:
    block = nn.TransformerEncoderLayer(
        features, HEADS, 2 * features, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(block, BLOCKS, enable_nested_tensor=False)
