"""Whether networks flip where people disagree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dnal.analyses.flips import OUTCOMES, Flips
from dnal.base.errors import UserError
from dnal.base.statistics import Interval, auroc
from dnal.data.npz import read_arrays


@dataclass(frozen=True)
class People:
    """What flips have to do with people's disagreement.

    Attributes:
        means: the mean disagreement of the examples of each outcome, those of which there are any.
        flips: how often an example that flips has more disagreement than one that does not (AUROC): 0.5 where the two
            have nothing to do with each other. fragile: the same of the fragile ones among those that the base has
            right.
    """

    means: dict[str, float]
    flips: Interval
    fragile: Interval


def disagreement(labels: Tensor) -> Tensor:
    """How far people disagree on each example: the entropy of their labels over that of all classes alike, 0 to 1.

    Args:
        labels: how many people, or which share of them, gave each class, (N, C).

    Examples:
        >>> import torch
        >>> from dnal.analyses import disagreement
        >>> disagreement(torch.tensor([[50.0, 0.0], [25.0, 25.0]])).tolist()
        [0.0, 1.0]
    """
    shares = labels.double() / labels.double().sum(1, keepdim=True)
    entropy: Tensor = torch.special.entr(shares).sum(1).clamp(min=0)
    return entropy / math.log(labels.shape[1])


def people_of(found: Flips, disagreements: Tensor) -> People:
    """Holds the flips between two networks against people's disagreement (N,) on the same examples."""
    values = disagreements.tolist()
    means = {
        name: float(disagreements[chosen].mean()) for name in OUTCOMES if bool((chosen := getattr(found, name)).any())
    }
    right = (found.fragile | found.right).tolist()
    among = [value for value, own in zip(values, right, strict=True) if own]
    fragile = [one for one, own in zip(found.fragile.tolist(), right, strict=True) if own]
    return People(means, auroc(values, found.any.tolist()), auroc(among, fragile))


def read_people(path: str | Path, number: int, classes: int) -> Tensor:
    """What people say of the test examples, such as CIFAR-10H: the array (N, C) of a .npz file, in the order of the
    examples.

    Args:
        path: FILE.npz, or FILE.npz:NAME where the array has another name than "cifar10h".
        number: of examples, N. classes: C.

    Raises:
        UserError: no such file, or no such array.
    """
    file, colon, name = str(path).rpartition(":")
    named = bool(colon) and file.endswith(".npz")
    where, name = (Path(file), name) if named else (Path(path), "cifar10h")
    array = read_arrays(where, (name,))[name]
    if array.shape != (number, classes) or array.dtype.kind not in "iuf":
        raise UserError(
            f"people's labels are numbers of shape {(number, classes)}, one row for each test example, and those in "
            f"'{where}' are {array.dtype} of shape {array.shape}; give those of this test set."
        )
    labels = torch.from_numpy(array.astype("float64"))
    if not bool((labels >= 0).all()) or not bool((labels.sum(1) > 0).all()) or not bool(labels.isfinite().all()):
        raise UserError(f"people's labels are how many gave each class, 0 or more; some in '{where}' are not.")
    return labels
