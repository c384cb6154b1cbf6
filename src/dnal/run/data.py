"""The data of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dnal import data as dnal_data
from dnal.base.errors import UserError
from dnal.data.others import without_options
from dnal.run.config import Config
from dnal.run.trust import check_data
from dnal.space.surgery.inputs import Inputs
from dnal.train.batch import split


def data_of(
    config: Config,
    *,
    data: str | None = None,
    root: str | Path | None = None,
    augment: bool = True,
    trust: Sequence[str] = (),
) -> dnal_data.Dataset:
    """The data with which a run worked, normalised as they were there. They are downloaded only where ``data`` or
    ``root`` is given: a folder that may be anybody's asks for no download.

    Args:
        data: where the data are now, if they moved; None means as recorded.
        root: the same for the folder of downloaded sets.
        augment: whether training batches are augmented.
        trust: packages and modules whose functions may be called where the run's data are ``package.module:function``.

    Raises:
        UserError: as :func:`dnal.data.load`; or the data are a function that is not trusted.
    """
    if data is None:
        check_data(config.data, trust, otherwise=", or say where the data are (--data)")
    found = dnal_data.load(
        data or config.data,
        root=root or config.root,
        input_shape=config.input,
        classes=config.classes,
        # The images are normalised by the training images' mean and deviation, so these must be the same ones.
        limit_train=config.limit_train,
        seed=config.seed,
        augment=augment,
        download=data is not None or root is not None,
        kind=config.kind,
    )
    if found.objective is not config.aim:
        _, said = without_options(config.data)
        remedy = (
            f"say of them what the run says of its own, as in {data or config.data}:{said}" if said else "give others"
        )
        raise UserError(f"the data are for {found.objective.name}, and the run is one of {config.objective}; {remedy}.")
    return found


def example_of(dataset: dnal_data.Dataset) -> Inputs:
    """The inputs for which a job states its costs: two examples of the validation part. Where the cost depends on the
    values in an example, it is the first one twice, so that all costs are those of one example."""
    varies = dnal_data.KINDS[dataset.kind].cost_varies
    chosen = torch.zeros(2, dtype=torch.long) if varies else torch.arange(min(2, len(dataset.val)))
    inputs: Inputs = split(dataset.val.batch(chosen, 0))[0]
    return inputs


def batch_of(config: Config) -> int:
    """How many examples are measured at once: as many as a step had, or fewer, where these are large."""
    return config.of_kind.at_once(config.input, config.batch_size)
