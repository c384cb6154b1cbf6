"""Images whose labels are wrong here and there: by people (CIFAR-10N), or by lot."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnal import data
from dnal.base.errors import UserError
from dnal.data.images.arrays import as_images
from dnal.data.images.resize import resize
from dnal.data.noise import asymmetric_noise, symmetric_noise
from dnal.data.npz import read_arrays

PEOPLE = ("worse", "aggre")
"""Of CIFAR-10N: what one careless person said, and what most of three said."""
BY_LOT = {"symmetric": 0.4, "asymmetric": 0.3}
"""The share that is drawn again, or taken for another class; those of CIFAR-10 that are alike."""
TAKEN_FOR = {"digits": {9: 1, 2: 7, 3: 8, 8: 3, 4: 9}}


class Images(NamedTuple):
    """Training and test images, float (N, C, H, W), and labels (N,); the correct labels of the training images."""

    x: Tensor
    y: Tensor
    right: Tensor
    x_test: Tensor
    y_test: Tensor


@lru_cache(maxsize=2)
def noisy_images(name: str, file: str, labels: str, count: int, seed: int) -> Images:
    """``count`` training images of 16x16, or digits of 8x8, drawn by the seed.

    Args:
        name: digits, or an .npz file of CIFAR-10. file: that of CIFAR-10N. labels: the correct ones ("right"), one of
            ``PEOPLE`` or of ``BY_LOT``, or "lot", a tenth moved to the next class.

    Raises:
        UserError: a file cannot be read, or the labels are of other images.
    """
    draw = np.random.default_rng(seed)
    if name == "digits":
        known = data.load("digits")
        x, right = known.train.batch(torch.arange(len(known.train)), 0)
        x_test, y_test = known.test.batch(torch.arange(len(known.test)), 0)
        chosen = draw.permutation(len(right))[:count]
        x, right = x[chosen], right[chosen]
        moved = torch.from_numpy(draw.random(len(right)) < 0.1)
        y = torch.where(moved, (right + 1) % 10, right) if labels == "lot" else _by_lot(name, right, labels, seed)
        return Images(x, y, right, x_test, y_test)
    arrays = read_arrays(Path(name), ("x_train", "y_train", "x_test", "y_test"))
    chosen = draw.permutation(len(arrays["y_train"]))[:count]
    every = arrays["y_train"].reshape(-1).astype(np.int64)
    right = torch.from_numpy(every[chosen])
    if labels in PEOPLE:
        said = read_arrays(Path(file), ("clean_label", f"{labels}_label"))
        if not np.array_equal(said["clean_label"].reshape(-1), every):
            raise UserError(f"the labels in '{file}' are not of the images in '{name}', in their order.")
        y = torch.from_numpy(said[f"{labels}_label"].reshape(-1).astype(np.int64)[chosen])
    else:
        y = _by_lot(name, right, labels, seed)
    x = _floats(arrays["x_train"][chosen])
    centre, width = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return Images(
        (x - centre) / width, y, right,
        (_floats(arrays["x_test"]) - centre) / width, torch.from_numpy(arrays["y_test"].reshape(-1).astype(np.int64)),
    )  # fmt: skip


def _by_lot(name: str, right: Tensor, labels: str, seed: int) -> Tensor:
    if labels == "symmetric":
        return symmetric_noise(right, BY_LOT[labels], 10, seed)
    if labels == "asymmetric":
        pairs = {"pairs": TAKEN_FOR[name]} if name in TAKEN_FOR else {}
        return asymmetric_noise(right, BY_LOT[labels], seed=seed, **pairs)
    return right


def _floats(images: np.ndarray[Any, Any]) -> Tensor:
    return resize(as_images(images, "images"), (16, 16)).float() / 255
