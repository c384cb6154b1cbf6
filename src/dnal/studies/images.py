"""Images that several studies train on: a part of a data set, at the size that a study asks for."""

from __future__ import annotations

from functools import lru_cache

from dnal import data
from dnal.data import Dataset, Loaders

BATCH = 64


def image_loaders(name: str, images: int | None, side: int, seed: int, batch: int = BATCH) -> Loaders:
    """Loaders at their first epoch of ``images`` training images of side x side, whose order follows from ``seed``: a
    row does not depend on the rows made before it. The part is the same for every seed. The digits are grey, all
    others in colour."""
    return data.loaders(dataset_of(name, images, side), batch, seed=seed, eval_batch_size=500)


@lru_cache(maxsize=2)
def dataset_of(name: str, images: int | None, side: int) -> Dataset:
    """The data set of :func:`image_loaders`; ``images`` None: all."""
    channels = 1 if name == "digits" else 3
    return data.load(name, input_shape=(channels, side, side), limit_train=images)
