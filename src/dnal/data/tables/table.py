"""A data set from a table: numbers standardised, categories one-hot, classes counted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnal.base.errors import UserError, one_line
from dnal.base.options import Options, option
from dnal.data.dataset import Dataset, TensorPart
from dnal.data.kind import Wanted
from dnal.data.labels import check_labels, classes_told
from dnal.data.objective import CLASSIFICATION, REGRESSION
from dnal.data.splits import VALIDATION_SEED, is_mask_of_numbers, limited, stratified_sample, validation_split, without
from dnal.data.tables.raw import Column, RawTable

TEST_SHARE = 0.2
MOST_COLUMNS = 2**16
"""Of numbers that a network gets of a row."""
MOST_VALUES = 2**30
"""Of all rows together."""
MOST_CATEGORIES = 1000
"""Of a column: more of them are names or texts."""
MOST_CLASSES = 20
"""Different whole numbers that are taken for classes, if nothing is said."""
UNSAID = frozenset({"", "?", "nan", "n/a"})
"""Texts that are no class: of a target they say that it is missing. A class may be called "none", or "NA"."""
AUTO, CLASSES, NUMBERS = "auto", "classification", "regression"


@dataclass(frozen=True)
class TableOptions(Options):
    """What can be said of a table."""

    target: str | None = option(None, "Name, or number from 1, of the column to predict; default: the last.")
    task: Literal["auto", "classification", "regression"] = option(
        "auto", "auto: classification of texts and of a few different whole numbers, else regression."
    )


def from_table(name: str, raw: RawTable, wanted: Wanted, task: str = AUTO) -> Dataset:
    """A data set from a table.

    Numbers are standardised by the training part's mean and deviation, and missing ones are its mean then; of a
    category there is a 0 or 1 for each text that the training part has, and zeros for another text. The targets of
    regression are standardised too. Where the table names no test rows, a fifth of all is the test set; a tenth of
    the others is the validation part; both are the same in every run, stratified where there are classes.

    Raises:
        UserError: anything wrong with columns, targets or what is wanted.
    """
    rows = len(raw.target)
    _check_columns(raw, rows)
    labels, names, values = _targets(raw, task, wanted.classes)
    strata = torch.zeros(rows, dtype=torch.long) if labels is None else labels
    test = _test_rows(raw.test, strata)
    rest = without(rows, test)
    if len(rest) < 2 or not len(test):
        raise UserError(f"a table needs rows for training, validation and test; this one has {rows}.")
    train, val = validation_split(strata[rest])
    train = limited(train, strata[rest], wanted.limit_train, wanted.seed, "rows")
    train, val = rest[train], rest[val]
    x, mean, std = _features(raw.columns, train.numpy())
    if wanted.input_shape not in (None, (x.shape[1],)):
        raise UserError(f"a row of '{name}' has {x.shape[1]} numbers, not {wanted.input_shape}; leave the input away.")
    target_mean: Tensor = torch.zeros(0)
    target_std = target_mean
    if labels is None:
        y, target_mean, target_std = _standardised(values, train.numpy())
    else:
        y = labels
    first, second, third = (TensorPart(x[chosen], y[chosen]) for chosen in (train, val, test))
    return Dataset(
        name, len(names), names, (int(x.shape[1]),), first, second, third,
        mean=tuple(mean.tolist()), std=tuple(std.tolist()),
        kind="tables", objective=REGRESSION if labels is None else CLASSIFICATION,
        target_mean=tuple(target_mean.tolist()), target_std=tuple(target_std.tolist()),
    )  # fmt: skip


def _check_columns(raw: RawTable, rows: int) -> None:
    if not raw.columns:
        raise UserError("a table needs at least one column beside its target.")
    for name, column in raw.columns.items():
        if column.ndim != 1 or len(column) != rows:
            raise UserError(f"the column '{name}' has the shape {column.shape}, and there are {rows} targets.")
        if column.dtype.kind not in "biufU":
            raise UserError(f"the column '{name}' holds {column.dtype}; give numbers or texts.")
        if column.dtype.kind == "f" and bool(np.isinf(column).any()):
            raise UserError(f"the column '{name}' has infinite values; mend or remove them.")


def _targets(
    raw: RawTable, task: str, classes: int | None
) -> tuple[Tensor | None, tuple[str, ...], NDArray[np.float64]]:
    """Class numbers (None of regression), the names of classes or targets, and the targets (N, T) of regression."""
    target = raw.target
    texts = target.dtype.kind == "U"
    whole = target.ndim == 1 and target.dtype.kind in "biu"
    _check_known(target)
    if task == AUTO:
        few = whole and len(np.unique(target)) <= min(MOST_CLASSES, len(target) // 2)
        task = CLASSES if texts or few or raw.class_names is not None else NUMBERS
    if task == CLASSES:
        if target.ndim != 1:
            raise UserError(f"class numbers are (N,), not {target.shape}; say task=regression for several numbers.")
        if raw.class_names is not None:
            labels = check_labels(
                target, images=len(target), classes=classes or len(raw.class_names), what="the target"
            )
            names = raw.class_names
        else:
            found, numbers = np.unique(target, return_inverse=True)
            labels, names = torch.from_numpy(numbers.astype(np.int64)), tuple(_named(value) for value in found)
        if classes is not None and classes < len(names):
            raise UserError(f"the target has {len(names)} classes, more than {classes}; say at least {len(names)}.")
        if max(len(names), classes or 0) < 2:
            raise UserError("the target is the same in every row; there is nothing to tell apart.")
        if texts and 2 * len(names) > len(target):
            raise UserError(
                f"the target has {len(names)} classes in {len(target)} rows, such as '{one_line(names[0], 40)}'; write "
                "numbers plainly, such as 1250.5, or say which column is told: target=NAME. (Of texts and their "
                "classes the columns are called text and label.)"
            )
        classes_told(labels)
        names += tuple(str(number) for number in range(len(names), classes or 0))
        return labels, names, np.zeros((0, 0))
    if texts:
        wrong = one_line(str(next(iter(target), "")), 40)
        raise UserError(
            f"the target holds texts such as '{wrong}', which no regression meets; say task=classification."
        )
    values = target.astype(np.float64).reshape(len(target), -1)
    if bool(np.isinf(values).any()):
        raise UserError("the target has infinite values; remove these rows.")
    if bool((values == values[:1]).all(axis=0).any()):
        raise UserError("the target is the same in every row; there is nothing to tell apart.")
    if classes not in (None, values.shape[1]):
        raise UserError(f"regression has {values.shape[1]} targets, and no {classes} classes; say task=classification.")
    return None, tuple(str(number) for number in range(1, values.shape[1] + 1)), values


def _check_known(target: NDArray[np.generic]) -> None:
    """Refuses a target that is missing in some rows."""
    if target.dtype.kind == "U" and target.ndim == 1:
        absent = sum(text.strip().lower() in UNSAID for text in target.tolist())
    elif target.dtype.kind == "f":
        absent = int(np.isnan(target.reshape(len(target), -1)).any(axis=1).sum())
    else:
        absent = 0
    if absent:
        raise UserError(f"the target is missing in {absent} of {len(target)} rows; remove these rows.")


def _named(value: Any) -> str:
    number = float(value) if isinstance(value, np.floating) else None
    return str(int(number)) if number is not None and number.is_integer() else str(value)


def _test_rows(given: NDArray[np.generic] | None, strata: Tensor) -> Tensor:
    rows = len(strata)
    if given is None:
        return stratified_sample(strata, max(1, round(TEST_SHARE * rows)), VALIDATION_SEED)
    if given.dtype.kind == "b" and given.shape == (rows,):
        return torch.from_numpy(np.flatnonzero(given))
    if is_mask_of_numbers(given, rows):
        raise UserError("test holds a 0 or a 1 for each row; make a mask of it with astype(bool).")
    if given.dtype.kind not in "iu" or given.ndim != 1 or (len(given) and not 0 <= given.min() <= given.max() < rows):
        raise UserError(f"test must be the numbers of rows, from 0 to {rows - 1}, or a mask of them.")
    return torch.from_numpy(np.unique(given.astype(np.int64)))


def _features(columns: dict[str, Column], train: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """What a network gets of each row, float32 (N, F), and the mean and deviation (F,) of the training part by which it
    was standardised: 0 and 1 for categories."""
    known = {name: np.unique(own[train]) for name, own in columns.items() if own.dtype.kind == "U"}
    _warn_of_names(known, len(train))
    _check_width(known, len(columns), len(next(iter(columns.values()))))
    made: list[NDArray[np.float32]] = []
    means: list[float] = []
    stds: list[float] = []
    for name, column in columns.items():
        if name in known:
            made.append((column[:, None] == known[name]).astype(np.float32))
            means += [0.0] * len(known[name])
            stds += [1.0] * len(known[name])
        else:
            values, mean, std = _scaled(column.astype(np.float64), train)
            made.append(_narrow(values, f"the column '{name}'")[:, None])
            means.append(mean)
            stds.append(std)
    return torch.from_numpy(np.concatenate(made, axis=1)), _exact(means), _exact(stds)


def _warn_of_names(known: dict[str, Column], rows: int) -> None:
    """Tells of columns of texts that hardly ever occur twice: names, or numbers that are written otherwise.

    Args:
        known: the texts of each category among so many training rows.
    """
    for name, texts in known.items():
        if rows > 2 and 2 * len(texts) > rows and len(texts) <= MOST_CATEGORIES:
            odd = next((text for text in texts.tolist() if not _is_number(text)), texts[0])
            warnings.warn(
                f"the column '{name}' has {len(texts)} different texts in {rows} training rows, such as "
                f"'{one_line(str(odd), 40)}', and each is a category; if it is one of numbers, mend what is none, and "
                "if it is one of names, remove it.",
                stacklevel=2,
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_width(known: dict[str, Column], columns: int, rows: int) -> None:
    """Refuses a table of more numbers than a network or the memory takes; ``known``: the texts of each category."""
    for name, texts in known.items():
        if len(texts) > MOST_CATEGORIES:
            raise UserError(
                f"the column '{name}' has {len(texts):,} different texts, more than the {MOST_CATEGORIES:,} that "
                "are categories; remove it, or make numbers of it."
            )
    width = columns - len(known) + sum(map(len, known.values()))
    if width > MOST_COLUMNS or width * rows > MOST_VALUES:
        raise UserError(f"{rows:,} rows of {width:,} numbers are too many; remove columns of many categories.")


def _scaled(values: NDArray[np.float64], train: NDArray[np.int64]) -> tuple[NDArray[np.float64], float, float]:
    own = values[train]
    own = own[~np.isnan(own)]
    peak = float(np.abs(own).max()) if len(own) else 0.0
    if not peak:
        return np.nan_to_num(values, nan=0.0), 0.0, 1.0
    own = own / peak  # squares of very large or small numbers leave the range of numbers
    mean, std = float(own.mean()), float(own.std())
    if std <= 1e-12 * abs(mean):  # constant, except for rounding
        return np.nan_to_num(values - peak * mean, nan=0.0), peak * mean, 1.0
    with np.errstate(over="ignore"):
        return (
            np.nan_to_num((values / peak - mean) / std, nan=0.0, posinf=np.inf, neginf=-np.inf),
            peak * mean,
            peak * std,
        )


def _narrow(values: NDArray[np.float64], what: str) -> NDArray[np.float32]:
    """As a network takes them.

    Raises:
        UserError: one is so far from those of the training part that it is infinite.
    """
    with np.errstate(over="ignore"):
        made = values.astype(np.float32)
    if not bool(np.isfinite(made).all()):
        raise UserError(f"{what} has a number that is too far from those of the training part; mend or remove it.")
    return made


def _exact(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _standardised(values: NDArray[np.float64], train: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    scaled = [_scaled(values[:, at], train) for at in range(values.shape[1])]
    y = _narrow(np.stack([column for column, _, _ in scaled], axis=1), "the target")
    return torch.from_numpy(y), _exact([mean for _, mean, _ in scaled]), _exact([std for _, _, std in scaled])
