"""How well predictions rank: Kendall's tau."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau
from sklearn.base import clone
from sklearn.model_selection import KFold

from dnal.base.statistics import Interval, kendall
from dnal.predictors.predictor import Architectures, Predictor, subset

FOLDS = 5


def tau(predicted: ArrayLike, values: ArrayLike) -> float:
    """Kendall's tau-b of pairs; NaN where one side has a single value.

    Examples:
        >>> round(tau([1.0, 2.0, 3.0], [10.0, 30.0, 20.0]), 3)
        0.333
    """
    return float(kendalltau(np.asarray(predicted), np.asarray(values)).statistic)


def cross_validated(
    predictor: Predictor, architectures: Architectures, values: ArrayLike, *, folds: int = FOLDS,
    unlabelled: Architectures | None = None,
) -> Interval:  # fmt: skip
    """Kendall's tau between values and what is predicted of each by a predictor that learnt from the other folds.

    Args:
        predictor: is left as it is; copies of it learn. architectures, values: as for its ``fit``, N of both.
        folds: parts, at most N; the seed of the predictor says which. unlabelled: as for its ``fit``.

    Returns:
        tau over all N pairs, with the interval of a bootstrap over the pairs.
    """
    labels = np.asarray(values, dtype=np.float64)
    found = np.empty(len(labels))
    parts = KFold(min(folds, len(labels)), shuffle=True, random_state=predictor.seed)
    for train, test in parts.split(labels):
        model = clone(predictor).fit(subset(architectures, train), labels[train], unlabelled=unlabelled)
        found[test] = model.predict(subset(architectures, test))
    return kendall(found.tolist(), labels.tolist())
