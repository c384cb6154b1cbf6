"""Measuring a network on held-out data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from dnal.train.place import Loader

Metric = Callable[[nn.Module, Loader], float]


def accuracy(network: nn.Module, loader: Loader) -> float:
    """Top-1 accuracy, 0 to 1, in eval mode; the network's mode is restored. Outputs: (N, classes) logits."""
    meter: Any = None

    def update(output: Tensor, target: Tensor) -> None:
        nonlocal meter
        if meter is None:
            meter = MulticlassAccuracy(num_classes=output.shape[1], average="micro", sync_on_compute=False).to(
                output.device
            )
        meter.update(output, target)

    over_batches(network, loader, update)
    return float(meter.compute()) if meter is not None else float("nan")


def over_batches(network: nn.Module, loader: Loader, update: Callable[[Any, Any], None]) -> None:
    """Calls ``update(output, target)`` for every batch, in eval mode and without gradients."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            for inputs, targets in loader:
                update(network(inputs.to(device)), targets.to(device))
    finally:
        for module, mode in modes.items():
            module.training = mode
