"""Photographs that scikit-learn brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnal.data.restoration.raw import RawPhotographs

TRAIN, VAL = 448, 544
"""Columns of each photograph, of 427 x 640 pixels, before which its parts end; the rest is the test part."""


def read_photographs(root: Path | None, download: bool = True) -> RawPhotographs:
    """Two photographs, a temple and a flower, each cut into three parts side by side: training, validation, test."""
    from sklearn.datasets import load_sample_images

    whole = [np.asarray(image) for image in load_sample_images().images]
    left, middle, right = (
        [image[:, begin:end] for image in whole] for begin, end in ((0, TRAIN), (TRAIN, VAL), (VAL, None))
    )
    return RawPhotographs(left, right, middle)
