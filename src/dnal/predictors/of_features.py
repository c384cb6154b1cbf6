"""What predictors share that read an architecture as a row of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.features import Features
from dnal.predictors.predictor import Architectures, Arrays, Predictor

Numbers = NDArray[np.float64]


@dataclass(eq=False, repr=False)
class OfNumbers(Predictor):
    """A predictor for which an architecture, or a network, becomes a row of numbers."""

    features_: Features = field(init=False)

    def _encode(self, architectures: Architectures) -> Numbers:
        return self.features_(architectures)

    def _learnt(self) -> dict[str, Any]:
        return {"features": self.features_.document()}

    def _restore(self, learnt: Any) -> None:
        self.features_ = Features.of_document(learnt.get("features") if isinstance(learnt, dict) else None)

    def _drawn(self, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Which of so many rows a member learns from: all, or as many drawn with replacement where there are others."""
        return np.arange(number) if self.members == 1 else rng.integers(number, size=number)


@dataclass(eq=False, repr=False)
class OfFeatures(OfNumbers):
    """A predictor of rows of numbers: of a graph's paths, counts or flat code, or rows that are given."""

    reads: ClassVar[str] = "graphs and numbers"

    encoding: Literal["paths", "counts", "flat"] = option(
        "paths", "Of graphs: paths and counts of operations, counts alone, or all written out."
    )

    def _prepare(self, architectures: Architectures, unlabelled: Architectures | None) -> None:
        self.features_ = Features.of(architectures, self.encoding)


def check_shapes(arrays: Arrays, shapes: dict[str, tuple[int | None, ...]]) -> None:
    """Refuses arrays of other names or shapes; None is any size.

    Raises:
        UserError: naming the first.
    """
    for name, shape in shapes.items():
        found = arrays[name].shape if name in arrays else None
        fits = found is not None and len(found) == len(shape)
        if not fits or any(size is not None and size != own for size, own in zip(shape, found or (), strict=True)):
            raise UserError(f"its tensor '{name}' is not there in a shape that its options can have.")
