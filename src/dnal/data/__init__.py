"""Data sets by name, as loaders of ready batches that can be resumed."""

from dnal.data.dataset import Dataset
from dnal.data.events.raw import RawEvents
from dnal.data.fingerprint import fingerprint
from dnal.data.graphs.raw import RawGraph
from dnal.data.images.arrays import RawArrays, from_arrays
from dnal.data.images.augmentation import Augmentation
from dnal.data.kind import Kind
from dnal.data.kinds import KINDS
from dnal.data.labels import check_labels
from dnal.data.load import load, names
from dnal.data.loader import EpochLoader, Loaders, loaders
from dnal.data.others import names_code
from dnal.data.restoration.raw import RawPhotographs
from dnal.data.tables.raw import RawTable
from dnal.data.text.raw import RawText

__all__ = [
    "KINDS",
    "Augmentation",
    "Dataset",
    "EpochLoader",
    "Kind",
    "Loaders",
    "RawArrays",
    "RawEvents",
    "RawGraph",
    "RawPhotographs",
    "RawTable",
    "RawText",
    "check_labels",
    "fingerprint",
    "from_arrays",
    "load",
    "loaders",
    "names",
    "names_code",
]
