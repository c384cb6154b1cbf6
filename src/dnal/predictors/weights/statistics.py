"""A network as statistics of its weights, and boosting over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.boosting import Trees
from dnal.predictors.features import Features
from dnal.predictors.of_features import Numbers
from dnal.predictors.predictor import Architectures
from dnal.predictors.weights.chain import Chain, Layer, check_chains

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
OF_LAYER = 2 * (2 + len(QUANTILES))
"""Mean, variance and quantiles, of the weights and of the biases."""


def of_layer(layer: Layer) -> NDArray[np.float64]:
    """Mean, variance and quantiles (0, .25, .5, .75, 1) of a layer's weights, then of its biases: (14,).

    Examples:
        >>> of_layer(Layer(np.array([[1.0, 3.0]]), np.zeros(1)))[:7].tolist()
        [2.0, 1.0, 1.0, 1.5, 2.0, 2.5, 3.0]
    """
    parts = [one.astype(np.float64).ravel() for one in (layer.weight, layer.bias)]
    return np.concatenate([np.array([one.mean(), one.var(), *np.quantile(one, QUANTILES)]) for one in parts])


def each_layer(networks: Sequence[Chain]) -> NDArray[np.float64]:
    """The statistics of every layer one after another, (N, 14 * layers).

    Raises:
        UserError: networks of several depths.
    """
    depths = {len(network.layers) for network in networks}
    if len(depths) > 1:
        raise UserError(
            f"networks have {min(depths)} to {max(depths)} layers; use layers=ends, which reads any number."
        )
    return np.stack([np.concatenate([of_layer(layer) for layer in network.layers]) for network in networks])


def ends(networks: Sequence[Chain]) -> NDArray[np.float64]:
    """The statistics of the first layer, their mean over those in the middle (0 where there is none), and those of the
    last layer: (N, 42)."""
    rows = np.zeros((len(networks), 3, OF_LAYER))
    for row, network in zip(rows, networks, strict=True):
        own = np.stack([of_layer(layer) for layer in network.layers])
        row[0], row[2] = own[0], own[-1]
        if len(own) > 2:
            row[1] = own[1:-1].mean(0)
    return rows.reshape(len(networks), -1)


@dataclass(eq=False, repr=False)
class Statistics(Trees):
    """Boosting over mean, variance and quantiles of the weights and biases of each layer.

    The baseline of every other predictor that reads weights: it takes less than a second, and no order of neurons
    changes its answer.

    Source: Unterthiner, Keysers, Gelly, Bousquet and Tolstikhin, Predicting Neural Network Accuracy from Weights (2020,
    arXiv 2002.11448), recalled.
    """

    reads: ClassVar[str] = "weights"

    layers: Literal["ends", "each"] = option(
        "ends", "First layer, mean of those in the middle, last layer, of networks of any depth; or each, of one depth."
    )

    def _prepare(self, architectures: Architectures, unlabelled: Architectures | None) -> None:
        self.features_ = Features.of(self._rows(architectures), "counts")

    def _encode(self, architectures: Architectures) -> Numbers:
        rows = self._rows(architectures)
        if rows.shape[1] != len(self.features_.shift):
            found, known = (columns // OF_LAYER for columns in (rows.shape[1], len(self.features_.shift)))
            raise UserError(f"networks have {found} layers, and those learnt from {known}; use layers=ends.")
        return self.features_(rows)

    def _restore(self, learnt: Any) -> None:
        super()._restore(learnt)
        if self.features_.encoding != "numbers":
            raise UserError("its features are of graphs, not of weights.")

    def _rows(self, architectures: Architectures) -> NDArray[np.float64]:
        check_chains(architectures)
        networks: Any = architectures
        return ends(networks) if self.layers == "ends" else each_layer(networks)
