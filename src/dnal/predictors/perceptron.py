"""A multi-layer perceptron."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from dnal.base.options import option
from dnal.predictors.of_features import Numbers, OfFeatures, check_shapes
from dnal.predictors.predictor import Arrays


@dataclass(eq=False, repr=False)
class Perceptron(OfFeatures):
    """Two hidden layers of ReLUs, by scikit-learn."""

    hidden: int = option(64, "Units of each layer.", least=1, most=2**12)
    decay: float = option(0.1, "Weight decay.", least=0, most=1e3)
    steps: int = option(300, "Of L-BFGS, at most.", least=1, most=10**6)

    def _learn(self, encoded: Numbers, places: Numbers, unlabelled: object, rng: np.random.Generator) -> Arrays:
        rows = self._drawn(len(places), rng)
        model = MLPRegressor(
            hidden_layer_sizes=(self.hidden, self.hidden), alpha=self.decay, solver="lbfgs", max_iter=self.steps,
            random_state=int(rng.integers(2**31)),
        )  # fmt: skip
        with warnings.catch_warnings():  # that the steps are used up is what they are for
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(encoded[rows], places[rows])
        layers = zip(model.coefs_, model.intercepts_, strict=True)
        return {f"{what}.{place}": one for place, both in enumerate(layers)
                for what, one in zip(("weight", "bias"), both, strict=True)}  # fmt: skip

    def _answer(self, arrays: Arrays, encoded: Numbers) -> Numbers:
        found = encoded
        for place in range(3):
            found = found @ arrays[f"weight.{place}"] + arrays[f"bias.{place}"]
            found = found if place == 2 else np.maximum(found, 0)
        return found[:, 0]

    def _check_arrays(self, arrays: Arrays) -> None:
        sizes = (len(self.features_.shift), self.hidden, self.hidden, 1)
        for place in range(3):
            check_shapes(arrays, {f"weight.{place}": sizes[place : place + 2], f"bias.{place}": (sizes[place + 1],)})
