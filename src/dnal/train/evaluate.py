"""Measuring a network on held-out data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dnal.train.place import Loader

Metric = Callable[[nn.Module, Loader], float]


MOST_CLASSES = 1000
"""A matrix of more classes is neither small nor looked at."""


def accuracy(network: nn.Module, loader: Loader) -> float:
    """Top-1 accuracy, 0 to 1, in eval mode; the network's mode is restored. Outputs: (N, classes) logits."""
    return _classified(network, loader, most=0)[0]


def accuracy_and_confusion(network: nn.Module, loader: Loader) -> tuple[float, Tensor | None]:
    """:func:`accuracy`, and from the same pass how often each class (row) was taken for each (column), int64 (classes,
    classes) on the CPU; None for more than ``MOST_CLASSES`` classes, or without data."""
    return _classified(network, loader, most=MOST_CLASSES)


def _classified(network: nn.Module, loader: Loader, most: int) -> tuple[float, Tensor | None]:
    # Imported here: it takes seconds, and a run is read without it.
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

    meter: Any = None
    matrix: Any = None

    def update(output: Tensor, target: Tensor) -> None:
        nonlocal meter, matrix
        classes = output.shape[1]
        if meter is None:
            meter = MulticlassAccuracy(num_classes=classes, average="micro", sync_on_compute=False).to(output.device)
        meter.update(output, target)
        if classes <= most:
            if matrix is None:
                matrix = MulticlassConfusionMatrix(num_classes=classes, sync_on_compute=False).to(output.device)
            matrix.update(output, target)

    over_batches(network, loader, update)
    return (
        float(meter.compute()) if meter is not None else float("nan"),
        matrix.compute().cpu() if matrix is not None else None,
    )


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
