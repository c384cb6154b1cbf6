"""Fashion-MNIST, CIFAR-10 and CIFAR-100 through torchvision, downloaded once."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np

from dnal.base.errors import UserError, reason_of
from dnal.data.images.arrays import RawArrays
from dnal.data.images.augmentation import Augmentation

log = logging.getLogger(__name__)

DEFAULT_ROOT = Path("~/.cache/dnal")


def read_fashion_mnist(root: Path | None, download: bool = True) -> RawArrays:
    """60,000 + 10,000 grey 28x28 images of 10 kinds of clothing; crops out of 2 pixels of padding, and flips."""
    return _read("FashionMNIST", root, download, Augmentation(pad=2, flip=True))


def read_cifar10(root: Path | None, download: bool = True) -> RawArrays:
    """50,000 + 10,000 colour 32x32 images of 10 classes; crops out of 4 pixels of padding, and flips."""
    return _read("CIFAR10", root, download, Augmentation(pad=4, flip=True))


def read_cifar100(root: Path | None, download: bool = True) -> RawArrays:
    """50,000 + 10,000 colour 32x32 images of 100 classes; crops out of 4 pixels of padding, and flips."""
    return _read("CIFAR100", root, download, Augmentation(pad=4, flip=True))


def _read(name: str, root: Path | None, download: bool, augmentation: Augmentation) -> RawArrays:
    if root is not None and not root.is_dir():
        raise UserError(
            f"there is no folder {str(root)!r} for the data; create it, or leave the root away for {DEFAULT_ROOT}"
        )
    folder = root or DEFAULT_ROOT.expanduser()
    train, test = (_part(name, folder, train=train, download=download) for train in (True, False))
    return RawArrays(
        np.asarray(train.data),
        np.asarray(train.targets),
        np.asarray(test.data),
        np.asarray(test.targets),
        tuple(train.classes),
        augmentation,
    )


def _part(name: str, folder: Path, *, train: bool, download: bool) -> Any:
    from torchvision import datasets

    kind = getattr(datasets, name)
    # Asked without download first: with it, some versions print even when everything is there.
    try:
        return kind(folder, train=train, download=False)
    except Exception as error:  # reading it, torchvision raises whatever the damage makes of its arithmetic
        if not (isinstance(error, RuntimeError) and "not found" in str(error)):
            reason = reason_of(error)
            raise UserError(
                f"{name} in {str(folder)!r} is damaged ({reason}); remove it, and it is downloaded again"
            ) from error
    if not download:
        raise UserError(
            f"{name} is not in {str(folder)!r}, and it is fetched only on request; say with --root (root=) in which "
            "folder it is, or shall be"
        )
    log.info("downloading %s to %s", name, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):
            return kind(folder, train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{name} is not in {str(folder)!r} and could not be downloaded ({reason}); "
            "check the network connection, or give as root a folder that torchvision downloaded it to"
        ) from error
