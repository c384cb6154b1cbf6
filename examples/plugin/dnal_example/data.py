"""A data set: a function that returns arrays."""

import numpy as np

from dnal.data import RawArrays

IMAGES = 600


def stripes() -> RawArrays:
    """600 noisy grey images of 8x8 with stripes, 2 classes: lying and standing"""
    draw = np.random.default_rng(0)
    labels = np.arange(IMAGES) % 2
    waves = np.sin(np.arange(8) * draw.uniform(1, 3, (IMAGES, 1)) + draw.uniform(0, 6, (IMAGES, 1)))
    lying = np.repeat(waves[:, :, None], 8, axis=2)
    images = np.where(labels[:, None, None] == 0, lying, lying.transpose(0, 2, 1))
    images = (images + draw.normal(0, 0.5, images.shape)).astype(np.float32)
    return RawArrays(images[:400], labels[:400], images[400:], labels[400:], ("lying", "standing"))
