"""Tables as a kind of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnal.base.errors import UserError
from dnal.data.dataset import Dataset
from dnal.data.kind import Entry, Heads, Kind, Sizes, Wanted
from dnal.data.tables.files import SPLIT, read_arrays_of_table, read_table
from dnal.data.tables.raw import RawTable
from dnal.data.tables.sets import shipped
from dnal.data.tables.table import TableOptions, from_table


class Tables(Kind):
    name = "tables"
    one = "row"
    several = "rows"
    classified = "rows"
    sizes = ("numbers of a row",)
    usual = (13,)
    raw = RawTable
    options = TableOptions
    normalisation = "(number - mean) / std per column, 0 where it is missing; a category is a 0 or 1 for each text"
    sets = {  # noqa: RUF012
        "iris": ("150 flowers, 4 numbers each, 3 classes; ships with scikit-learn", shipped("load_iris")),
        "wine": ("178 wines, 13 numbers each, 3 classes; ships with scikit-learn", shipped("load_wine")),
        "breast-cancer": (
            "569 tumours, 30 numbers each, 2 classes; ships with scikit-learn", shipped("load_breast_cancer"),
        ),
        "diabetes": (
            "442 patients, 10 numbers each, regression of the disease's progress; ships with scikit-learn",
            shipped("load_diabetes"),
        ),
    }  # fmt: skip
    files = (
        (
            "FILE.csv, FILE.tsv",
            "your own table, numbers and categories; the last column, or :target=NAME, is predicted",
        ),
        ("FILE.npz, FILE.npy", "your own table of numbers: x (N, F) and y; or (N, F + 1), the target last"),
    )

    def claims(self, path: Path, heads: Heads) -> bool:
        if path.suffix == ".npz":
            named = ("x",) if "y" in heads else (SPLIT, "x_test")
            return all(len(heads.get(name, ())) == 2 for name in named)
        return path.suffix in (".csv", ".tsv", ".npy")

    def read(self, path: Path) -> Path:
        return path  # which column is the target, its options say

    def dataset(self, name: str, raw: Any, wanted: Wanted, options: TableOptions) -> Dataset:
        if isinstance(raw, Path):
            read = read_arrays_of_table if raw.suffix in (".npz", ".npy") else read_table
            raw = read(raw, options.target)
        elif options.target is not None:
            raise UserError(f"the target of '{name}' is known; target= names a column of a file of your own.")
        return from_table(name, raw, wanted, options.task)

    def inputs(self, sizes: Sizes) -> Entry:
        return Entry(sizes)

    def arguments(self, sizes: Sizes) -> dict[str, int]:
        return dict.fromkeys(("features", "in_features", "num_features"), sizes[0])

    def kept(self, sizes: Sizes) -> dict[str, int]:
        return {"numbers of a row": sizes[0]}
