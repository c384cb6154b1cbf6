"""LightningModules, with what they usually hold beside the network."""

from __future__ import annotations

from typing import Any

import lightning
import torch
import torch.nn.functional as F
import torchmetrics
import torchvision
from torch import Tensor, nn

from people.case import Case, Network, images


class Classifier(lightning.LightningModule):
    """A network, its loss and its metrics."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(2 * width, classes),
        )  # fmt: skip
        self.loss, self.accuracy = nn.CrossEntropyLoss(), torchmetrics.Accuracy("multiclass", num_classes=classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: Any, _: int) -> Tensor:
        return self.loss(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Segmenter(lightning.LightningModule):
    """A backbone of torchvision, with a head that looks at hyperparameters."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"classes": 5, "rate": 0.1})
        body = torchvision.models.resnet18(weights=None)
        self.stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
        self.body = nn.Sequential(body.layer1, body.layer2)
        self.head = nn.Conv2d(128, self.hparams.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.head(self.body(self.stem(x))), x.shape[-2:], mode="bilinear")

    def training_step(self, batch: Any, _: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.hparams.rate)


NETWORKS: dict[str, Network] = {
    "lightning/classifier": lambda: Case(Classifier(), images(1), (28, 32)),
    "lightning/segmenter": lambda: Case(Segmenter(), images(), (64, 96)),
}
