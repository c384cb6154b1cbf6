"""What learned predictors of weights share: what is fixed by the networks learnt from, training and answering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.predictors.of_features import check_shapes
from dnal.predictors.predictor import Architectures, Arrays, Predictor
from dnal.predictors.weights.chain import MOST_LAYERS, MOST_NEURONS, Chain, check_chains

CLIPPED = 10.0
"""The largest norm of a gradient."""
AT_ONCE = 32
"""Networks that are predicted together."""
MOST_POSITIONS = 2**10
"""Of a kernel, or of the map that a linear layer reads."""


@dataclass(frozen=True)
class Known:
    """What is fixed by the networks that a predictor learnt from.

    Attributes:
        inputs: the most inputs of a first layer. outputs: of every network. hidden: the most hidden layers.
        height, width: of the largest kernel. positions: the most that a weight of a layer has, of kernels and of maps
            that linear layers read. pixels: the numbers of an example; 0 where networks differ in it.
        weight, bias: the root mean squares of weights times the root of what their neuron reads, and of biases.
        degree: the mean of log(1 + edges) over neurons.
    """

    inputs: int
    outputs: int
    hidden: int
    height: int
    width: int
    positions: int
    pixels: int
    weight: float
    bias: float
    degree: float

    @classmethod
    def of(cls, networks: Sequence[Chain]) -> Self:
        """Of these networks."""
        kernels = [layer.weight.shape[2:] for each in networks for layer in each.layers if layer.convolves]
        height, width = (max([1, *(kernel[side] for kernel in kernels)]) for side in (0, 1))
        positions = max(each.kernel(at).shape[2] for each in networks for at in range(len(each.layers)))
        pixels = {math.prod(each.inputs) for each in networks}
        layers = [layer for each in networks for layer in each.layers]
        squares = [float(np.square(layer.weight, dtype=np.float64).mean()) * layer.weight[0].size for layer in layers]
        biases = [float(np.square(layer.bias, dtype=np.float64).mean()) for layer in layers]
        degrees = np.concatenate([_degrees(each.channels) for each in networks])
        return cls(
            max(each.channels[0] for each in networks), max(each.channels[-1] for each in networks),
            max(1, *(len(each.layers) - 1 for each in networks)), height, width, max(positions, height * width),
            pixels.pop() if len(pixels) == 1 else 0, math.sqrt(np.mean(squares)) or 1.0,
            math.sqrt(np.mean(biases)) or 1.0, float(np.log1p(degrees).mean()),
        )  # fmt: skip

    @classmethod
    def of_document(cls, document: Any) -> Self:
        """From plain values by name.

        Raises:
            UserError: they tell of nothing that networks can have.
        """
        most = {
            "inputs": MOST_NEURONS, "outputs": MOST_NEURONS, "hidden": MOST_LAYERS, "height": MOST_POSITIONS,
            "width": MOST_POSITIONS, "positions": MOST_POSITIONS, "pixels": 2**24,
        }  # fmt: skip
        values = document if isinstance(document, dict) else {}
        whole = all(type(values.get(name)) is int and 0 <= values[name] <= top
                    for name, top in most.items())  # fmt: skip
        rest = [values.get(name) for name in ("weight", "bias", "degree")]
        if not whole or not all(type(one) is float and 0 < one < math.inf for one in rest):
            raise UserError("it does not say of what networks it knows.")
        found = cls(**{name: values[name] for name in (*most, "weight", "bias", "degree")})
        if min(found.inputs, found.outputs, found.hidden, found.height, found.width) < 1:
            raise UserError("it knows of networks without neurons.")
        if found.height * found.width > found.positions:
            raise UserError("it knows of kernels with more positions than there are.")
        return found

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(eq=False, repr=False)
class OfWeights(Predictor):
    """A network of torch that reads networks, learnt by AdamW on the cross entropy of places between 0 and 1."""

    reads: ClassVar[str] = "weights"

    epochs: int = option(100, "Of training.", least=1, most=10**6)
    batch: int = option(32, "Networks of a step.", least=1, most=2**12)
    lr: float = option(1e-3, "The largest learning rate.", above=0, most=1)
    weight_decay: float = option(5e-4, "Of AdamW.", least=0, most=1)
    dropout: float = option(0.0, "The share.", least=0, below=1)

    known_: Known = field(init=False)

    def _prepare(self, architectures: Architectures, unlabelled: Architectures | None) -> None:
        check_chains(architectures)
        networks: Any = architectures
        self.known_ = Known.of(networks)

    def _learn(self, encoded: Any, places: NDArray[np.float64], unlabelled: Any, rng: np.random.Generator) -> Arrays:
        targets = torch.tensor(places, dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            network = self._network()
            self._begin(network, encoded)
            network.train()
            optimizer = torch.optim.AdamW(network.parameters(), self.lr, weight_decay=self.weight_decay, amsgrad=True)
            steps = self.epochs * math.ceil(len(targets) / self.batch)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _warmed(step, steps))
            for _ in range(self.epochs):
                order = rng.permutation(len(targets))
                for start in range(0, len(order), self.batch):
                    rows = order[start : start + self.batch]
                    own = [encoded[row] for row in rows]
                    logits = network(self._batch(own))
                    loss = F.binary_cross_entropy_with_logits(logits, targets[rows])
                    loss = loss + self._penalty(network, own, logits, rng)
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(network.parameters(), CLIPPED)
                    optimizer.step()
                    schedule.step()
        return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}

    def _answer(self, arrays: Arrays, encoded: Any) -> NDArray[np.float64]:
        network = self._network()
        network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        network.eval()
        found = np.empty(len(encoded))
        order = sorted(range(len(encoded)), key=lambda place: self._size(encoded[place]))  # so that little is padded
        with torch.inference_mode():
            for start in range(0, len(order), AT_ONCE):
                rows = order[start : start + AT_ONCE]
                found[rows] = network(self._batch([encoded[row] for row in rows])).sigmoid().numpy()
        return found

    def _begin(self, network: Any, encoded: Sequence[Any]) -> None:
        """What a new network takes from those that it learns from, before the first step."""

    def _network(self) -> nn.Module:
        """A new network, which says a logit (B,) of a batch."""
        raise NotImplementedError

    def _batch(self, encoded: Sequence[Any]) -> Any:
        """Encoded networks as one batch."""
        raise NotImplementedError

    def _size(self, encoded: Any) -> int:
        """How much memory one takes, of any scale."""
        raise NotImplementedError

    def _penalty(self, network: nn.Module, encoded: Sequence[Any], logits: Tensor, rng: np.random.Generator) -> Any:
        """What joins the loss."""
        return 0.0

    def _learnt(self) -> dict[str, Any]:
        return {"known": self.known_.document()}

    def _restore(self, learnt: Any) -> None:
        self.known_ = Known.of_document(learnt.get("known") if isinstance(learnt, dict) else None)

    def _check_arrays(self, arrays: Arrays) -> None:
        with torch.device("meta"):  # the sizes are the file's, and may be larger than what it holds
            expected = {name: tuple(tensor.shape) for name, tensor in self._network().state_dict().items()}
        check_shapes(arrays, expected)
        more = sorted(arrays.keys() - expected.keys())
        if more:
            raise UserError(f"it has a tensor '{more[0]}', which its options have not.")


def _degrees(channels: Sequence[int]) -> NDArray[np.float64]:
    """How many neurons each one is joined to."""
    around = [0, *channels, 0]
    return np.concatenate([np.full(own, around[at] + around[at + 2], float) for at, own in enumerate(channels)])


def _warmed(step: int, steps: int) -> float:
    """Linearly up over a tenth of the steps, then down to 0 along a cosine."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm)))
