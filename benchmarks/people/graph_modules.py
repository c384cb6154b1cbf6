"""Networks that are graphs already: of torch.fx, make_fx, torchvision's feature extraction and torch.export."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torchvision.models.feature_extraction import create_feature_extractor

from people.case import Case, Network, images


class Reshaped(nn.Module):
    """A CNN whose graph holds a number of features as a literal."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1))
        self.head = nn.Linear(24 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu().reshape(-1, 24 * 16))


def traced() -> Case:
    return Case(torch.fx.symbolic_trace(torchvision.models.resnet18(weights=None, num_classes=5)), images(), (64, 96))


def traced_shuffle() -> Case:
    return Case(torch.fx.symbolic_trace(torchvision.models.shufflenet_v2_x0_5(num_classes=5)), images(), (64, 96))


def with_literal() -> Case:
    return Case(torch.fx.symbolic_trace(Reshaped()), images(), (8,))


def extractor() -> Case:
    body = torchvision.models.resnet18(weights=None)
    return Case(create_feature_extractor(body, {"layer1": "low", "layer3": "high"}), images(), (64, 96))


def of_make_fx() -> Case:
    """The graph of a CNN as functions of its input alone, with its parameters as attributes."""
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3)).eval()
    return Case(
        make_fx(network, tracing_mode="symbolic", _allow_non_fake_inputs=True)(torch.randn(2, 3, 16, 16)),
        images(),
        (16, 24),
    )


def of_export() -> Case:
    """`torch.export`'s program as a module, with a free batch."""
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3)).eval()
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(network, (torch.randn(2, 3, 16, 16),), dynamic_shapes=({0: batch},))
    return Case(program.module(), images(), (16,))


NETWORKS: dict[str, Network] = {
    "graph/fx_resnet18": traced,
    "graph/fx_shufflenet": traced_shuffle,
    "graph/fx_literal_size": with_literal,
    "graph/feature_extractor": extractor,
    "graph/make_fx": of_make_fx,
    "graph/export_module": of_export,
}
