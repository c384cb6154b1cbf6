"""A predictor for another device from few measurements there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin

from dnal.base.errors import UserError
from dnal.predictors.kernels import GaussianProcess
from dnal.predictors.predictor import Architectures, Predictor
from dnal.predictors.scale import Scale


@dataclass(eq=False, repr=False)
class Transfer(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What a predictor of one target says, corrected for another target by few values of that.

    The new values are learnt as ranks: a straight line in what the source says, and a Gaussian process over the
    architectures of what is left over. With few values the line says nearly all.

    Args:
        source: a predictor that has learnt the first target; it is left as it is.

    Examples:
        >>> from dnal.predictors import Ridge
        >>> sizes = np.arange(20.0)[:, None]
        >>> there = Ridge(learns="values").fit(sizes, 3 + sizes[:, 0])
        >>> here = Transfer(there).fit(sizes[::5], 10 * sizes[::5, 0])
        >>> bool(np.corrcoef(here.predict(sizes), sizes[:, 0])[0, 1] > 0.98)
        True
    """

    source: Predictor

    scale_: Scale = field(init=False)
    line_: tuple[float, float] = field(init=False)
    rest_: GaussianProcess | None = field(init=False)

    def __sklearn_clone__(self) -> Self:
        """Another one of the same source, which has learnt: to learn that again is not what is asked."""
        return type(self)(self.source)

    def fit(self, architectures: Architectures, values: ArrayLike) -> Self:
        """Learns the new target.

        Args:
            architectures: N of the kind that the source knows. values: (N,) measured there.

        Raises:
            UserError: as :meth:`dnal.predictors.Predictor.fit`; the source has learnt nothing.
        """
        labels = np.asarray(values, dtype=np.float64)
        if labels.shape != (len(architectures),) or len(labels) < 2:
            raise UserError(
                f"{len(architectures)} architectures and values {labels.shape}: give one for each, two or more."
            )
        self.scale_ = Scale.of(labels, "ranks")
        places, said = self.scale_.places_of(labels), self._said(architectures)
        spread = float(said.var())
        slope = max(0.0, float(np.mean((said - said.mean()) * (places - places.mean()))) / spread) if spread else 0.0
        self.line_ = (float(places.mean() - slope * said.mean()), slope)
        left = places - self.line_[0] - slope * said
        self.rest_ = GaussianProcess(learns="values").fit(architectures, left) if np.ptp(left) > 1e-9 else None
        return self

    def predict(self, architectures: Architectures) -> NDArray[np.float64]:
        """The values (N,) of the new target.

        Raises:
            UserError: nothing was learnt yet, or architectures of another kind.
        """
        if not hasattr(self, "scale_"):
            raise UserError("this Transfer has learnt nothing yet; call fit first.")
        places = self.line_[0] + self.line_[1] * self._said(architectures)
        if self.rest_ is not None:
            places = places + self.rest_.predict(architectures)
        return self.scale_.values_of(places)

    def _said(self, architectures: Architectures) -> NDArray[np.float64]:
        return self.source.scale_.places_of(self.source.predict(architectures))
