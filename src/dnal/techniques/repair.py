"""Repair: what the removed channels said is taken over before the network is retrained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from dnal.base.options import option
from dnal.repair.curves import RIDGE
from dnal.repair.rebuild import rebuild_all
from dnal.repair.statistics import SAMPLES, Ahead
from dnal.space.space import Space
from dnal.train.loader import Loader
from dnal.train.setup.processes import agree
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass
class Repair(Technique):
    """Repair: before the channels leave that a method chose, the layers that read them take over what they said.

    By least squares over some training examples: W_K <- W_K + W_R S_RK S_KK^-1, with S the covariance of what a layer
    reads, K its columns that stay and R those that leave; the mean goes to the bias or the running mean of the batch
    norm behind it. Costs a forward pass of the samples, once. Helps any choice among trained weights, most where much
    leaves and the retraining is short; nothing where the method's search has trained without the channels already
    (dnal, tas). Sources: He et al., arXiv 1707.06168; in closed form Hassibi and Stork, 1993.
    """

    phases: ClassVar[tuple[str, ...]] = ()
    prepares_removal: ClassVar[bool] = True

    samples: int = option(SAMPLES, "Of the training data, on which it is measured what layers read.", least=1)
    ridge: float = option(RIDGE, "Share of the mean variance of what a layer reads, added to each channel's.", above=0)

    def before_removal(
        self, network: nn.Module, space: Space, open_variables: Tensor | None, loader: Loader, fabric: Fabric
    ) -> None:
        if open_variables is None:
            warnings.warn(
                "the technique 'repair' rebuilds what removed channels said, and this method removes none: it changes "
                "nothing.",
                stacklevel=2,
            )
            return
        rebuild_all(network, space, open_variables, Ahead(loader, self.samples), self.ridge)
        agree(fabric, [network], weights=True)
