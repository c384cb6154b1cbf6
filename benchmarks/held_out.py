"""The data on which recipes are compared before any benchmark: CIFAR-10 without its test data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HELD = 10_000
"""Training images that are kept apart."""


def held_out(cifar: Path, work: Path, tested: int = HELD) -> Path:
    """An .npz file in ``work``, made once: the training images without the last ``HELD``, and as test data the first
    ``tested`` of those."""
    path = work / ("held_out.npz" if tested == HELD else f"held_out_{tested}.npz")
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        with np.load(cifar) as file:
            images, labels = file["x_train"], file["y_train"]
        last = slice(len(images) - HELD, len(images) - HELD + tested)
        np.savez(path, x_train=images[:-HELD], y_train=labels[:-HELD], x_test=images[last], y_test=labels[last])
    return path
