"""NAR-Former: architectures as sequences, learnt by a transformer (arXiv 2211.08024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.graph import Stacked, pruned, random_orders, relabelled, stacked
from dnal.predictors.nar_former.network import NarFormerNetwork
from dnal.predictors.of_features import check_shapes
from dnal.predictors.predictor import Architectures, Arrays, Predictor
from dnal.predictors.tokens import depth_tokens, tokens

AT_ONCE = 512
"""Graphs that are run at once: their activations stay in a processor's cache."""


class _Batch(NamedTuple):
    """What the network is given: tokens (B, L, 192), depth (B, 192), and which tokens are there, or None for all."""

    tokens: Tensor
    depth: Tensor
    mask: Tensor | None


@dataclass(eq=False, repr=False)
class NarFormer(Predictor):
    """A transformer over the operations of an architecture, each with its place and the places that it reads.

    Tokens of 192 numbers for nodes, and one for their number, pass a transformer; learnt tokens read what comes out and
    are fused from 4 to 2 to 1, which a linear layer and a sigmoid turn into a place between 0 and 1. The loss is

        MSE + rank * L1 of differences to the next in a random order + consistency * L1 between an architecture
        and the same one with its nodes in another valid order,

    and both of these count in MSE and rank loss. AdamW, the learning rate warmed up over a tenth, then down to 0;
    what predicts is the running mean of the weights.

    Differs from the published one: another order is drawn in each step (there at most one is made beforehand); labels
    are learnt as ranks by default, since accuracies lie close together under a sigmoid; ``prune`` leaves out what no
    path goes through; and by default it is a small network, trained for minutes. The published size and training are
    ``width=192,heads=6,depth=6,hidden=768,dropout=0.1,lr=0.0001,epochs=4000,learns=values,prune=false``.

    Source: Yi, Zhang, Hu, Wang and Wang, NAR-Former: Neural Architecture Representation Learning towards Holistic
    Attributes Prediction (CVPR 2023, arXiv 2211.08024); its released code, as far as it was read.
    """

    epochs: int = option(150, "Of training.", least=1, most=10**6)
    batch: int = option(128, "Labelled architectures of a step.", least=1, most=2**14)
    lr: float = option(1e-3, "The largest learning rate.", above=0, most=1)
    weight_decay: float = option(0.01, "Of AdamW, on all but biases and norms.", least=0, most=1)
    width: int = option(96, "Of the transformer; a multiple of heads.", least=1, most=2**12)
    heads: int = option(3, "Of attention.", least=1, most=64)
    depth: int = option(3, "Blocks before fusion.", least=1, most=64)
    hidden: int = option(192, "Of the feed-forward parts.", least=1, most=2**14)
    dropout: float = option(0.0, "The share.", least=0, below=1)
    rank: float = option(0.1, "Weight of the rank loss.", least=0, most=1e3)
    consistency: float = option(0.5, "Weight of the consistency loss.", least=0, most=1e3)
    augment: bool = option(True, "Also learn from the same graphs in other orders; without, there is no consistency.")
    sources: bool = option(True, "Tokens say what a node reads.")
    prune: bool = option(True, "Leave out nodes that nothing passes.")
    ema: float = option(0.99, "Decay of the running mean of the weights, per step.", least=0, below=1)

    def _encode(self, architectures: Architectures) -> Stacked:
        graphs: list[Any] = list(architectures)
        found = stacked(graphs)
        return stacked([pruned(graph) for graph in graphs]) if self.prune else found

    def _learn(
        self, encoded: Stacked, places: NDArray[np.float64], unlabelled: Any, rng: np.random.Generator
    ) -> Arrays:
        if self.width % self.heads:
            raise UserError(f"width is a multiple of heads, and {self.width} is none of {self.heads}.")
        targets = torch.tensor(places, dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            network = self._network()
            mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.ema))
            optimizer = torch.optim.AdamW(_groups(network, self.weight_decay), self.lr)
            steps = self.epochs * math.ceil(len(targets) / self.batch)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warmed(step, steps))
            network.train()
            for _ in range(self.epochs):
                order = rng.permutation(len(targets))
                for start in range(0, len(order), self.batch):
                    rows = order[start : start + self.batch]
                    optimizer.zero_grad()
                    self._loss(network, _some(encoded, rows), targets[rows], rng).backward()
                    optimizer.step()
                    schedule.step()
                    mean.update_parameters(network)
        return {name: tensor.detach().numpy() for name, tensor in mean.module.state_dict().items()}

    def _loss(self, network: nn.Module, graphs: Stacked, targets: Tensor, rng: np.random.Generator) -> Tensor:
        """Of a batch and of the same graphs in another order, where there is another."""
        inputs, pairs = graphs, np.empty(0, int)
        if self.augment:
            other = relabelled(graphs, random_orders(graphs, rng))
            pairs = np.flatnonzero((other.adjacency != graphs.adjacency).any((1, 2)))
            inputs = _joined(graphs, _some(other, pairs))
        found = network(*self._batch(inputs))
        wanted = torch.cat([targets, targets[pairs]])
        drawn = torch.randperm(len(wanted))
        loss = F.mse_loss(found, wanted)
        loss = loss + self.rank * F.l1_loss(found - found[drawn], wanted - wanted[drawn])
        if len(pairs):
            loss = loss + self.consistency * F.l1_loss(found[: len(targets)][pairs], found[len(targets) :])
        return loss

    def _answer(self, arrays: Arrays, encoded: Stacked) -> NDArray[np.float64]:
        network = self._network()
        network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        network.eval()
        found = np.empty(len(encoded.lengths))
        order = encoded.lengths.argsort(kind="stable")  # batches of graphs of about one size are hardly padded
        with torch.inference_mode():
            for start in range(0, len(order), AT_ONCE):
                rows = order[start : start + AT_ONCE]
                found[rows] = network(*self._batch(_some(encoded, rows))).numpy()
        return found

    def _batch(self, graphs: Stacked) -> _Batch:
        most = int(graphs.lengths.max(initial=2))
        cut = Stacked(graphs.operations[:, :most], graphs.adjacency[:, :most, :most], graphs.lengths)
        mask = None
        if (cut.lengths < most).any():
            mask = torch.from_numpy(np.arange(most + 1) <= cut.lengths[:, None])
        made = torch.from_numpy(tokens(cut, sources=self.sources))
        return _Batch(made, torch.from_numpy(depth_tokens(cut.lengths)), mask)

    def _network(self) -> NarFormerNetwork:
        return NarFormerNetwork(self.width, self.heads, self.depth, self.hidden, self.dropout)

    def _check_arrays(self, arrays: Arrays) -> None:
        with torch.device("meta"):
            expected = {name: tuple(tensor.shape) for name, tensor in self._network().state_dict().items()}
        check_shapes(arrays, expected)
        more = sorted(arrays.keys() - expected.keys())
        if more:
            raise UserError(f"it has a tensor '{more[0]}', which its options have not.")


def _some(graphs: Stacked, rows: NDArray[np.int64]) -> Stacked:
    return Stacked(graphs.operations[rows], graphs.adjacency[rows], graphs.lengths[rows])


def _joined(a: Stacked, b: Stacked) -> Stacked:
    operations, adjacency, lengths = (np.concatenate(parts) for parts in zip(a, b, strict=True))
    return Stacked(operations, adjacency, lengths)


def _warmed(step: int, steps: int) -> float:
    """Linearly up over a tenth of the steps, then linearly to 0."""
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else max(0.0, (steps - step) / max(1, steps - warm))


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Biases and norms, which are vectors, do not decay."""
    parameters = list(network.parameters())
    return [
        {"params": [one for one in parameters if one.dim() > 1], "weight_decay": decay},
        {"params": [one for one in parameters if one.dim() < 2], "weight_decay": 0.0},
    ]
