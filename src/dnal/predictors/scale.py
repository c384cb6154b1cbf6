"""Values as places between 0 and 1, in which predictors learn them, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from dnal.base.errors import UserError

Learns = Literal["ranks", "values"]
TAIL = 0.1
"""How steep a scale is at its ends is told by so much of it."""
BEYOND_RANKS = 0.01
"""Ranks know nothing of values beyond the labels: there a value rises so much as fast, which keeps the order."""


@dataclass(frozen=True, eq=False)
class Scale:
    """A rising broken line between values and places.

    Attributes:
        values: (K,) rising. places: (K,) rising, from 0 to 1. beyond: its ends are so many times as steep as what is
            next to them.

    Examples:
        >>> scale = Scale.of([10.0, 90.0, 94.0], "ranks")
        >>> scale.places_of([90.0, 92.0]).round(3).tolist(), scale.values_of([0.5]).tolist()
        ([0.5, 0.667], [90.0])
    """

    values: NDArray[np.float64]
    places: NDArray[np.float64]
    beyond: float = 1.0

    @classmethod
    def of(cls, labels: ArrayLike, learns: Learns) -> Self:
        """The scale of labels: "ranks", their place among each other, equal ones at the middle of theirs; or "values",
        their distance to the least over that to the largest.

        Raises:
            UserError: fewer than two different labels, or one that is no finite number.
        """
        found = np.asarray(labels, dtype=np.float64).reshape(-1)
        if not np.isfinite(found).all():
            raise UserError("a label is no finite number; leave out what was not measured.")
        values, first = np.unique(found, return_index=True)
        if len(values) < 2:
            raise UserError(f"all {len(found)} labels are the same; there is nothing to learn, give others.")
        if learns == "ranks":
            places = (rankdata(found)[first] - 0.5) / len(found)
            return cls(values, places, BEYOND_RANKS)
        ends = values[[0, -1]]
        return cls(ends, np.array([0.0, 1.0]))

    def places_of(self, values: ArrayLike) -> NDArray[np.float64]:
        """Values of any shape -> places, those beyond the ends too."""
        low, high = self._tails()
        return _along(np.asarray(values, dtype=np.float64), self.values, self.places, 1 / low, 1 / high)

    def values_of(self, places: ArrayLike) -> NDArray[np.float64]:
        """Places of any shape -> values: the way back, everywhere."""
        return _along(np.asarray(places, dtype=np.float64), self.places, self.values, *self._tails())

    def _tails(self) -> tuple[float, float]:
        """How steeply values rise over places before the first label and after the last."""
        x, y = self.places, self.values
        span = TAIL * float(x[-1] - x[0])
        low, high = np.interp([x[0] + span, x[-1] - span], x, y)
        return self.beyond * float(low - y[0]) / span, self.beyond * float(y[-1] - high) / span

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {"values": self.values.tolist(), "places": self.places.tolist(), "beyond": self.beyond}

    @classmethod
    def of_document(cls, document: Any) -> Self:
        """What :meth:`document` returned.

        Raises:
            UserError: it tells of no scale.
        """
        try:
            beyond = float(document["beyond"])
            both = [np.array([float(each) for each in document[name]]) for name in ("values", "places")]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError("it has no scale.") from None
        if len(both[0]) != len(both[1]) or len(both[0]) < 2:
            raise UserError("its scale has not as many values as places.")
        if not all(np.isfinite(one).all() and (np.diff(one) > 0).all() for one in both):
            raise UserError("its scale does not rise.")
        if not 0 < beyond <= 1:
            raise UserError("its scale ends in no line.")
        return cls(both[0], both[1], beyond)


def _along(
    at: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], low: float, high: float
) -> NDArray[np.float64]:
    """The broken line through (x, y), which goes on beyond its ends with these slopes."""
    found: NDArray[np.float64] = np.interp(at, x, y)
    found += np.minimum(at - x[0], 0) * low + np.maximum(at - x[-1], 0) * high
    return found
