"""Images as a kind of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnal.data.dataset import Dataset
from dnal.data.images.arrays import RawArrays, from_arrays
from dnal.data.images.digits import read_digits
from dnal.data.images.folder import load_folder
from dnal.data.images.npz import KEYS, read_npz
from dnal.data.images.sides import OfImages
from dnal.data.images.torchvision_sets import read_cifar10, read_cifar100, read_fashion_mnist
from dnal.data.kind import Heads, Wanted

PARTS = ("train", "val", "test")


class Images(OfImages):
    name = "images"
    usual = (3, 32, 32)
    raw = RawArrays
    normalisation = "(image - mean) / std per channel; images of 8 bits are 0 to 1 before"
    # A new set in memory is a function that reads its arrays, and a line here.
    sets = {  # noqa: RUF012
        "digits": ("1,797 handwritten digits, grey 8x8, 10 classes; ships with scikit-learn", read_digits),
        "fashion-mnist": ("70,000 pieces of clothing, grey 28x28, 10 classes; downloaded", read_fashion_mnist),
        "cifar10": ("60,000 photographs, colour 32x32, 10 classes; downloaded", read_cifar10),
        "cifar100": ("60,000 photographs, colour 32x32, 100 classes; downloaded", read_cifar100),
    }
    files = (
        ("FILE.npz", "your own arrays: x_train, y_train, x_test, y_test"),
        ("FOLDER", "your own images: train/CLASS/*, val/CLASS/* and perhaps test/CLASS/*"),
    )

    def claims(self, path: Path, heads: Heads) -> bool:
        if path.is_dir():
            return any((path / part).is_dir() for part in PARTS)
        # Where nothing can be read of it, reading it says why.
        return path.suffix == ".npz" and (not heads or any(key in heads for key in KEYS))

    def read(self, path: Path) -> Any:
        return path if path.is_dir() else read_npz(path)

    def dataset(self, name: str, raw: Any, wanted: Wanted, options: Any) -> Dataset:
        asked: dict[str, Any] = {
            "input_shape": wanted.input_shape, "classes": wanted.classes, "limit_train": wanted.limit_train,
            "seed": wanted.seed, "augment": wanted.augment,
        }  # fmt: skip
        return load_folder(raw, **asked) if isinstance(raw, Path) else from_arrays(name, raw, **asked)
