"""Images that several studies train on: a part of a data set, at the size that a study asks for."""

from __future__ import annotations

from functools import lru_cache

from dnal import data
from dnal.data import Loaders

BATCH = 64


@lru_cache(maxsize=2)
def image_loaders(name: str, images: int, side: int, seed: int) -> Loaders:
    """Loaders of ``images`` training images of side x side, whose order follows from ``seed``; the part is the same for
    every seed. The digits are grey, all others in colour."""
    channels = 1 if name == "digits" else 3
    found = data.load(name, input_shape=(channels, side, side), limit_train=images)
    return data.loaders(found, BATCH, seed=seed, eval_batch_size=500)
