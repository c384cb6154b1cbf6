"""Data sets by name, as loaders of ready batches that can be resumed."""

from dnal.data.arrays import RawArrays, from_arrays
from dnal.data.augmentation import Augmentation
from dnal.data.dataset import Dataset
from dnal.data.fingerprint import fingerprint
from dnal.data.labels import check_labels
from dnal.data.load import load, names
from dnal.data.loader import EpochLoader, Loaders, loaders
from dnal.data.others import names_code

__all__ = [
    "Augmentation",
    "Dataset",
    "EpochLoader",
    "Loaders",
    "RawArrays",
    "check_labels",
    "fingerprint",
    "from_arrays",
    "load",
    "loaders",
    "names",
    "names_code",
]
