"""The semi-supervised assessor: an auto-encoder over all architectures, and a graph among them (arXiv 2005.06821)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.features import Features, are_graphs
from dnal.predictors.of_features import Numbers, OfFeatures, check_shapes
from dnal.predictors.predictor import Architectures, Arrays

LEAST = 1e-5
"""Likenesses below are no edge."""
BANDWIDTHS = (0.005, 0.02, 0.05)
"""That are tried where none is given."""
HELD_OUT = 0.2
MOST_REFERENCES = 2**13


def likeness(a: Tensor, b: Tensor, variance: Tensor | float) -> Tensor:
    """exp(-|a_i - b_j|^2 / 2 sigma^2), 0 where it is below 1e-5.

    Args:
        a: (N, D). b: (M, D). variance: sigma^2.

    Returns:
        (N, M).
    """
    found = torch.exp(-torch.cdist(a, b).square() / (2 * variance))
    return found * (found >= LEAST)


def propagation(edges: Tensor) -> Tensor:
    """D^-1/2 (A + I) D^-1/2, where A has no self loops yet.

    Args:
        edges: (N, N), symmetric and 0 on the diagonal.

    Examples:
        >>> propagation(torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)).round(decimals=6).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """
    looped = edges + torch.eye(len(edges), dtype=edges.dtype)
    root = looped.sum(1).rsqrt()
    return root[:, None] * looped * root


class AssessorNetwork(nn.Module):
    """Encoder and decoder of two layers each, and the two layers that read codes along a graph.

    Args:
        columns: of an architecture. hidden, code, units: of the auto-encoder, of a code, of the layer between.
    """

    def __init__(self, columns: int, hidden: int, code: int, units: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(columns, hidden), nn.ReLU(), nn.Linear(hidden, code))
        self.decoder = nn.Sequential(nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, columns))
        self.first, self.second = nn.Linear(code, units), nn.Linear(units, 1)

    def codes(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, code), each of mean 0 and variance 1, so that distances keep their scale in training."""
        found: Tensor = self.encoder(x)
        return F.layer_norm(found, found.shape[-1:])

    def forward(self, codes: Tensor, along: Tensor | None) -> Tensor:
        """A ReLU(A Z W0) W1, with biases; ``along`` None is a graph without edges.

        Args:
            codes: (N, code). along: (N, N).

        Returns:
            (N,).
        """
        mixed = codes if along is None else along @ codes
        units = F.relu(self.first(mixed))
        found: Tensor = self.second(units if along is None else along @ units)
        return found.squeeze(-1)


@dataclass(eq=False, repr=False)
class Assessor(OfFeatures):
    """Learns from architectures without labels too: it must rebuild all of them, and labels spread to similar ones.

    Each architecture has a code z by an auto-encoder; s_ij = exp(-|z_i - z_j|^2 / 2 sigma^2) is a graph among
    architectures, and a GCN of two layers says y = A ReLU(A Z W0) W1, A = D^-1/2 (S + I) D^-1/2. The loss is
    (1 - share) MSE of labels + share * MSE of rebuilding. A step takes all labels and some of the rest; sigma^2 is a
    multiple of the median squared distance, and gradients go through the graph except for this scale.

    What is predicted is joined to the graph one by one, without moving it: the answer does not depend on what else is
    asked. ``graph=false`` is the same network without edges, ``share=0`` one without the auto-encoder.

    Source: Tang et al., A Semi-Supervised Assessor of Neural Architectures (CVPR 2020, arXiv 2005.06821). No code of it
    is public; layers, sizes and sigma are ours.
    """

    learns_from_all: ClassVar[bool] = True

    encoding: Literal["paths", "counts", "flat"] = option(
        "flat", "Of graphs: all written out, as published, or paths or counts."
    )
    graph: bool = option(True, "Labels spread along likeness.")
    share: float = option(0.5, "Of the loss that is rebuilding.", least=0, below=1)
    bandwidth: float = option(0.0, "Sigma^2 over the median squared distance; 0: what predicts a fifth of the labels "
                              "best, of .005, .02 and .05.", least=0, most=100)  # fmt: skip
    epochs: int = option(300, "Steps of Adam.", least=1, most=10**6)
    lr: float = option(1e-3, "Learning rate.", above=0, most=1)
    decay: float = option(1e-4, "Weight decay.", least=0, most=1)
    others: int = option(500, "Architectures without label in a step, and among those that are kept.", least=0,
                         most=MOST_REFERENCES)  # fmt: skip
    hidden: int = option(128, "Units of the auto-encoder.", least=1, most=2**12)
    code: int = option(32, "Numbers of a code.", least=2, most=2**10)
    units: int = option(64, "Between the two layers of the GCN.", least=1, most=2**12)

    bandwidth_: float = field(init=False)

    def _prepare(self, architectures: Architectures, unlabelled: Architectures | None) -> None:
        if len(architectures) > MOST_REFERENCES:
            raise UserError(f"{len(architectures):,} labels are more than {MOST_REFERENCES:,}; take boosting.")
        every: Any = architectures
        if unlabelled is not None:
            graphs = are_graphs(architectures)
            every = [*architectures, *unlabelled] if graphs else np.concatenate([architectures, unlabelled])
        self.features_ = Features.of(every, self.encoding)

    def _learn(self, encoded: Numbers, places: Numbers, unlabelled: Any, rng: np.random.Generator) -> Arrays:
        x, y = (torch.tensor(one, dtype=torch.float32) for one in (encoded, places))
        rest = torch.empty(0, x.shape[1]) if unlabelled is None else torch.tensor(unlabelled, dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.bandwidth_ = self.bandwidth or (self._chosen(x, y, rest) if self.graph else BANDWIDTHS[0])
            network = self._trained(x, y, rest, self.bandwidth_)
            kept = torch.cat([x, rest[torch.randperm(len(rest))[: self.others]]])
        arrays = {name: one.detach().numpy() for name, one in network.state_dict().items() if "decoder" not in name}
        with torch.no_grad():
            codes = network.codes(kept)
            arrays["references"] = codes.numpy()
            arrays["variance"] = self._variance(codes, self.bandwidth_).reshape(1).numpy()
        return arrays

    def _chosen(self, x: Tensor, y: Tensor, rest: Tensor) -> float:
        """The bandwidth with the least error on a part of the labels that are kept aside."""
        order = torch.randperm(len(x))
        aside, own = order[: max(2, round(HELD_OUT * len(x)))], order[max(2, round(HELD_OUT * len(x))) :]
        if len(own) < 2:
            return BANDWIDTHS[0]
        errors = []
        for bandwidth in BANDWIDTHS:
            network = self._trained(x[own], y[own], torch.cat([rest, x[aside]]), bandwidth)
            with torch.no_grad():
                every = torch.cat([x[own], x[aside]])
                found = network(network.codes(every), self._along(network.codes(every), bandwidth))[len(own) :]
            errors.append(float(F.mse_loss(found, y[aside])))
        return BANDWIDTHS[int(np.argmin(errors))]

    def _trained(self, x: Tensor, y: Tensor, rest: Tensor, bandwidth: float) -> AssessorNetwork:
        network = AssessorNetwork(x.shape[1], self.hidden, self.code, self.units)
        optimizer = torch.optim.Adam(network.parameters(), self.lr, weight_decay=self.decay)
        for _ in range(self.epochs):
            every = torch.cat([x, rest[torch.randperm(len(rest))[: self.others]]])
            codes = network.codes(every)
            along = self._along(codes, bandwidth) if self.graph else None
            loss = (1 - self.share) * F.mse_loss(network(codes, along)[: len(y)], y)
            if self.share:
                loss = loss + self.share * F.mse_loss(network.decoder(codes), every)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return network.eval()

    def _variance(self, codes: Tensor, bandwidth: float) -> Tensor:
        """Sigma^2: a multiple of the median squared distance between two of them, as a constant."""
        apart = torch.pdist(codes.detach()[: 2**10]).square()
        return bandwidth * apart.median().clamp(min=1e-12)

    def _along(self, codes: Tensor, bandwidth: float) -> Tensor:
        edges = likeness(codes, codes, self._variance(codes, bandwidth))
        return propagation(edges - torch.diag(edges.diagonal()))

    def _answer(self, arrays: Arrays, encoded: Numbers) -> Numbers:
        tensors = {name: torch.tensor(one) for name, one in arrays.items()}
        references, variance = tensors.pop("references"), tensors.pop("variance")
        network = AssessorNetwork(encoded.shape[1], self.hidden, self.code, self.units)
        network.load_state_dict(tensors, strict=False)  # the decoder is not kept
        with torch.inference_mode():
            codes = network.codes(torch.tensor(encoded, dtype=torch.float32))
            if not self.graph:
                alone: Numbers = network(codes, None).double().numpy()
                return alone
            edges = likeness(references, references, variance)
            edges = edges - torch.diag(edges.diagonal())
            root = (edges.sum(1) + 1).rsqrt()
            units = F.relu(network.first(propagation(edges) @ references))
            parts = [_joined(network, one, references, units, root, variance) for one in codes.split(1024)]
            found: Numbers = torch.cat(parts).double().numpy()
            return found

    def _check_arrays(self, arrays: Arrays) -> None:
        with torch.device("meta"):  # the sizes are the file's, and may be larger than what it holds
            network = AssessorNetwork(len(self.features_.shift), self.hidden, self.code, self.units)
        expected = {name: tuple(one.shape) for name, one in network.state_dict().items() if "decoder" not in name}
        check_shapes(arrays, {**expected, "references": (None, self.code), "variance": (1,)})
        if len(arrays["references"]) > 2 * MOST_REFERENCES or arrays["variance"][0] <= 0:
            raise UserError("its references are none that it can have kept.")


def _joined(
    network: AssessorNetwork, codes: Tensor, references: Tensor, units: Tensor, root: Tensor, variance: Tensor
) -> Tensor:
    """What each of these says (N,), as a node of its own beside the references, whose degrees stay as they are."""
    edges = likeness(codes, references, variance)
    own = (edges.sum(1) + 1).rsqrt()
    along = own[:, None] * edges * root
    here = own.square()[:, None]
    first = F.relu(network.first(along @ references + here * codes))
    found: Tensor = network.second(along @ units + here * first)
    return found.squeeze(-1)
