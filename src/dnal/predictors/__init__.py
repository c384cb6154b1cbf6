"""Predictors: the accuracy or latency of an architecture from those of others, without training or running it; and the
accuracy of a trained network from its weights.

>>> import numpy as np
>>> from dnal.predictors import Boosting, cells
>>> edges = np.random.default_rng(0).integers(5, size=(60, 6))
>>> score = (edges == 3).sum(1) + 0.5 * (edges == 2).sum(1)
>>> model = Boosting(trees=50).fit(cells(edges[:50]), score[:50])
>>> model.predict(cells(edges[50:])).shape
(10,)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dnal.base.registry import Registry
from dnal.predictors.correlation import cross_validated as cross_validated
from dnal.predictors.graph import Graph as Graph
from dnal.predictors.predictor import Predictor as Predictor
from dnal.predictors.tables import Table as Table
from dnal.predictors.tables import cells as cells
from dnal.predictors.tables import chains as chains
from dnal.predictors.tables import read_table as read_table
from dnal.predictors.weights.chain import Chain as Chain
from dnal.predictors.weights.chain import Layer as Layer

if TYPE_CHECKING:
    from dnal.predictors.assessor import Assessor as Assessor
    from dnal.predictors.boosting import Boosting as Boosting
    from dnal.predictors.kernels import GaussianProcess as GaussianProcess
    from dnal.predictors.kernels import Ridge as Ridge
    from dnal.predictors.nar_former.former import NarFormer as NarFormer
    from dnal.predictors.perceptron import Perceptron as Perceptron
    from dnal.predictors.weights.neural_graph.predictor import NeuralGraph as NeuralGraph
    from dnal.predictors.weights.of_network import chain_of as chain_of
    from dnal.predictors.weights.sne.predictor import SetEncoding as SetEncoding
    from dnal.predictors.weights.statistics import Statistics as Statistics
    from dnal.predictors.zoo.folder import make_zoo as make_zoo
    from dnal.predictors.zoo.folder import read_zoo as read_zoo

PREDICTORS = Registry(
    "predictor",
    Predictor,
    {
        "boosting": "dnal.predictors.boosting:Boosting",
        "ridge": "dnal.predictors.kernels:Ridge",
        "gaussian-process": "dnal.predictors.kernels:GaussianProcess",
        "mlp": "dnal.predictors.perceptron:Perceptron",
        "nar-former": "dnal.predictors.nar_former.former:NarFormer",
        "assessor": "dnal.predictors.assessor:Assessor",
        "statistics": "dnal.predictors.weights.statistics:Statistics",
        "neural-graph": "dnal.predictors.weights.neural_graph.predictor:NeuralGraph",
        "sne": "dnal.predictors.weights.sne.predictor:SetEncoding",
    },
)
"""All predictors by name."""


_FUNCTIONS = {
    "chain_of": "dnal.predictors.weights.of_network",
    "make_zoo": "dnal.predictors.zoo.folder",
    "read_zoo": "dnal.predictors.zoo.folder",
}


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    return PREDICTORS.class_called(name)
