"""The technique: nested dropout in training, and the best k of the validation data at the end of a phase."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from dnal.base.options import option
from dnal.space.surgery.inputs import Inputs
from dnal.techniques.nested_dropout.nested import SIGMA, Nested
from dnal.techniques.nested_dropout.truncation import best
from dnal.train.batch import split
from dnal.train.loader import Loader, first_batch
from dnal.train.rows import to_device
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass
class NestedDropout(Technique):
    """Nested dropout: the classifier reads the first k features only, with another k for each batch.

    P(k) is proportional to exp(-(k / sigma)^2), k = 1 .. F, and nothing is scaled; so the features come in an order of
    importance. At the end of a phase the k with the largest accuracy on the validation data minus 1e-5 k is chosen, of
    all k from one pass, and the columns of the other features become 0; after the retraining their channels leave,
    where no other layer reads them (in a residual stream others do). Helps against noisy labels, by the paper: a
    network of few features cannot learn them by heart. The validation labels should be right, as they are there; wrong
    ones choose another k. A sigma too small under-fits, and the paper's own scripts have a case where plain dropout is
    a little better. Costs a product of a batch's features per step and a pass over the validation data per epoch. Not
    as in the paper: the classifier keeps a bias if it has one, and k is chosen at the end, not the epoch. Source: Chen
    et al., arXiv 2206.13140, with the published code; its tables were read in the code's repository.
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")
    reads_layers: ClassVar[bool] = True
    truncates: ClassVar[bool] = True

    sigma: float = option(SIGMA, "Of P(k); the paper: 10 of 512 features for 10 classes, 100 for more.", above=0)

    def check_network(self, network: nn.Module, inputs: Inputs) -> None:
        Nested(network, inputs, self.sigma).close()

    def data(self, loader: Loader, scene: Scene) -> Loader:
        self._loader = loader
        return loader

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        device = next(network.parameters()).device
        inputs = to_device(split(first_batch(self._loader, "training"))[0], device)
        self._val, self._nested = scene.val, Nested(network, inputs, self.sigma)

    def batch(self, batch: Any, step: Step) -> Any:
        self._nested.k = self._nested.draw()
        return batch

    def record(self) -> dict[str, Any]:
        return {} if self._val is None else {"features": best(self._nested.accuracies(self._val))}

    def finish(self, network: nn.Module) -> None:
        self._nested.close()
        if self._val is None:
            warnings.warn(
                "nested dropout chooses how many features stay by validation data, and there are none: all stay.",
                stacklevel=2,
            )
        else:
            self._nested.settle(self._val)
