"""A data set by its name, whatever its source: built in, an npz file, or an image folder."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from pathlib import Path

from dnal.base.errors import UserError
from dnal.base.names import at_home
from dnal.base.place import brought
from dnal.data.arrays import RawArrays, from_arrays
from dnal.data.dataset import Dataset, Shape
from dnal.data.digits import read_digits
from dnal.data.folder import load_folder
from dnal.data.npz import read_npz
from dnal.data.others import described_others, place_of, read_others
from dnal.data.torchvision_sets import read_cifar10, read_cifar100, read_fashion_mnist

# A new set in memory is a function that reads its arrays, and a line here.
SETS: dict[str, tuple[str, Callable[[Path | None, bool], RawArrays]]] = {
    "digits": ("1,797 handwritten digits, grey 8x8, 10 classes; ships with scikit-learn", read_digits),
    "fashion-mnist": ("70,000 pieces of clothing, grey 28x28, 10 classes; downloaded", read_fashion_mnist),
    "cifar10": ("60,000 photographs, colour 32x32, 10 classes; downloaded", read_cifar10),
    "cifar100": ("60,000 photographs, colour 32x32, 100 classes; downloaded", read_cifar100),
}
FILES = [
    ("FILE.npz", "your own arrays: x_train, y_train, x_test, y_test"),
    ("FOLDER", "your own images: train/CLASS/*, val/CLASS/* and perhaps test/CLASS/*"),
    ("package.module:function", "your own function, which returns dnal.data.RawArrays"),
]

MOST_VALUES = 2**28
"""Of one image: a gigabyte."""


def names() -> list[tuple[str, str]]:
    """What can be loaded, as (name, description)."""
    own = [(name, description) for name, (description, _) in SETS.items()]
    return [*own, *described_others(set(SETS)), *FILES]


def load(
    name: str,
    *,
    root: str | Path | None = None,
    input_shape: Shape | None = None,
    classes: int | None = None,
    limit_train: int | None = None,
    seed: int = 0,
    augment: bool = True,
    download: bool = True,
) -> Dataset:
    """Load a data set, with validation images cut from its training data and the test set left alone.

    Args:
        name: ``digits``, ``fashion-mnist``, ``cifar10``, ``cifar100``, a name that an installed package brings, a path
            of an .npz file or of an image folder, or ``package.module:function``, which returns :class:`RawArrays`.
        root: folder of the downloaded sets (default ~/.cache/dnal); the other sources do not need it.
        input_shape: (C, H, W) that the batches shall have; None means the images' own (3,224,224 for folders).
        classes: number of classes; None means what the data tell: labels that count from 0 without a gap, or
            the folders.
        limit_train: a stratified subset of so many training images, drawn from ``seed``.
        seed: of that subset; validation and test parts never depend on it.
        augment: whether training batches get the set's standard augmentation.
        download: whether a set that is not in ``root`` yet may be downloaded to it.

    Raises:
        UserError: an unknown name or anything wrong with the data, in one sentence.

    Examples:
        >>> digits = dnal.data.load("digits", limit_train=500)
        >>> len(digits.train), len(digits.val), len(digits.test), digits.input_shape
        (500, 126, 540, (1, 8, 8))
    """
    if input_shape is not None and (len(input_shape) != 3 or min(input_shape) < 1):
        raise UserError(f"the input must be channels, height and width, such as 3,32,32, not {input_shape}")
    if input_shape is not None and math.prod(input_shape) > MOST_VALUES:
        raise UserError(
            f"an image of {math.prod(input_shape):,} values ({input_shape}) is more than the {MOST_VALUES:,} that one "
            "may have; choose a smaller input"
        )
    if classes is not None and classes < 1:
        raise UserError(f"there must be at least one class, not {classes}")
    path = at_home(name, "path of the data")
    if name in SETS:
        raw = SETS[name][1](None if root is None else at_home(root, "root"), download)
    elif (place := place_of(name)) is not None:
        raw = read_others(name, place, None if root is None else at_home(root, "root"), download)
    elif path.suffix == ".npz":
        raw = read_npz(path)
    elif path.is_dir():
        return load_folder(
            path, input_shape=input_shape, classes=classes, limit_train=limit_train, seed=seed, augment=augment
        )
    else:
        raise _unknown(name)
    return from_arrays(
        name, raw, input_shape=input_shape, classes=classes, limit_train=limit_train, seed=seed, augment=augment
    )


def _unknown(name: str) -> UserError:
    nearest = difflib.get_close_matches(name, [*SETS, *brought("data")], n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ", and no .npz file or folder of that name."
    return UserError(f"unknown data {name!r}{hint} `dnal data` lists all.")
