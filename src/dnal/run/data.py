"""The data of a run."""

from __future__ import annotations

from pathlib import Path

from dnal import data as dnal_data
from dnal.run.config import Config


def data_of(
    config: Config, *, data: str | None = None, root: str | Path | None = None, augment: bool = True
) -> dnal_data.Dataset:
    """The data with which a run worked, normalised as they were there.

    Args:
        data: where the data are now, if they moved; None means as recorded.
        root: the same for the folder of downloaded sets.
        augment: whether training batches are augmented.

    Raises:
        UserError: as :func:`dnal.data.load`.
    """
    return dnal_data.load(
        data or config.data,
        root=root or config.root,
        input_shape=config.input,
        classes=config.classes,
        # The images are normalised by the training images' mean and deviation, so these must be the same ones.
        limit_train=config.limit_train,
        seed=config.seed,
        augment=augment,
    )
