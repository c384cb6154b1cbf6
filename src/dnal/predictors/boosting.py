"""Gradient boosting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.of_features import Numbers, OfFeatures, OfNumbers, check_shapes
from dnal.predictors.predictor import Arrays

AT_ONCE = 2048
"""Rows that go down all trees together."""


@dataclass(eq=False, repr=False)
class Trees(OfNumbers):
    """Gradient boosting of small trees, by scikit-learn: each learns what those before it leave over."""

    trees: int = option(200, "How many.", least=1, most=10**4)
    depth: int = option(3, "Of a tree.", least=1, most=16)
    rate: float = option(0.1, "How much of each tree counts.", above=0, most=1)
    subsample: float = option(0.8, "The share of the rows that a tree sees.", above=0, most=1)

    def _learn(self, encoded: Numbers, places: Numbers, unlabelled: object, rng: np.random.Generator) -> Arrays:
        rows = self._drawn(len(places), rng)
        model = GradientBoostingRegressor(
            n_estimators=self.trees, max_depth=self.depth, learning_rate=self.rate, subsample=self.subsample,
            random_state=int(rng.integers(2**31)),
        ).fit(encoded[rows], places[rows])  # fmt: skip
        trees = [each.tree_ for each in model.estimators_[:, 0]]
        nodes = max(tree.node_count for tree in trees)

        def padded(parts: list[NDArray[np.generic]]) -> NDArray[np.generic]:
            return np.stack([np.pad(part, (0, nodes - len(part))) for part in parts])

        return {
            "feature": padded([tree.feature.clip(0) for tree in trees]),
            "threshold": padded([tree.threshold for tree in trees]),
            # A leaf leads to itself, so that rows that are down already stay.
            "left": padded([_or_itself(tree.children_left) for tree in trees]),
            "right": padded([_or_itself(tree.children_right) for tree in trees]),
            "value": padded([self.rate * tree.value[:, 0, 0] for tree in trees]),
            "start": np.array([float(np.mean(places[rows]))]),
        }

    def _answer(self, arrays: Arrays, encoded: Numbers) -> Numbers:
        rows = encoded.astype(np.float32)  # as the trees were grown
        trees = np.arange(len(arrays["value"]))
        found = np.empty(len(rows))
        for start in range(0, len(rows), AT_ONCE):
            own = rows[start : start + AT_ONCE]
            node = np.zeros((len(own), len(trees)), np.int64)
            for _ in range(self.depth):
                feature, threshold = arrays["feature"][trees, node], arrays["threshold"][trees, node]
                down = np.take_along_axis(own, feature, 1) <= threshold
                node = np.where(down, arrays["left"][trees, node], arrays["right"][trees, node])
            found[start : start + AT_ONCE] = arrays["start"][0] + arrays["value"][trees, node].sum(1)
        return found

    def _check_arrays(self, arrays: Arrays) -> None:
        names = ("feature", "threshold", "left", "right", "value")
        check_shapes(arrays, {"value": (self.trees, None), "start": (1,)})
        nodes = arrays["value"].shape[1]
        check_shapes(arrays, dict.fromkeys(names, (self.trees, nodes)))
        for name, most in (("feature", len(self.features_.shift)), ("left", nodes), ("right", nodes)):
            found = arrays[name]
            if found.dtype.kind != "i" or (found.size and not 0 <= found.min() <= found.max() < most):
                raise UserError(f"its tensor '{name}' points where nothing is.")


@dataclass(eq=False, repr=False)
class Boosting(Trees, OfFeatures):
    """Gradient boosting of small trees, by scikit-learn: each learns what those before it leave over.

    Cheap, and hard to beat by anything with few labels; a new predictor that is not held against it says little.
    """


def _or_itself(children: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(children < 0, np.arange(len(children)), children)
