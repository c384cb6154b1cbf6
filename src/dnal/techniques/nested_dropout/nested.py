"""How many of the features stay: the law of k, and the hook that lets the first k through."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import call, in_eval
from dnal.techniques.nested_dropout.truncation import best, hits, zeroed
from dnal.techniques.rich.head import last_linear, reading
from dnal.train.batch import split
from dnal.train.evaluate import IGNORED, check_classified
from dnal.train.loader import Loader
from dnal.train.outputs import logits_of
from dnal.train.rows import to_device

SIGMA = 30.0
"""By default: between the paper's 10 for CIFAR-10 and its 100 for data of more classes."""


def chances(features: int, sigma: float) -> Tensor:
    """The law of k, P(k) proportional to exp(-(k / sigma)^2) for k = 1 .. ``features``.

    Args:
        features: how many there are. sigma: above 0; without the 2 of the normal distribution.

    Returns:
        float64, (features,): that of k at place k - 1.

    Raises:
        UserError: there is no feature, or sigma is not above 0.

    Examples:
        >>> from dnal.techniques.nested_dropout import chances
        >>> round(float(chances(3, 1.0)[0]), 3)
        0.952

    Source: the published code of arXiv 2206.13140, with mu = 0.
    """
    if features < 1 or not (sigma > 0 and math.isfinite(sigma)):
        raise UserError(f"nested dropout is of one feature or more, with sigma above 0, not {features} and {sigma:g}.")
    return torch.softmax(-((torch.arange(1, features + 1, dtype=torch.float64) / sigma) ** 2), 0)


class Nested:
    """Nested dropout for a training loop of your own: the last linear layer reads the first k features, the others are
    0, and nothing is scaled.

    In training mode one k is drawn for each forward pass from torch's global generator, so that all examples of a batch
    have the same; in eval mode the first :attr:`keep` count. The layer is found by the trace of a forward pass, not by
    its name, and gets a hook until :meth:`close`: make this before torch.compile or DistributedDataParallel wrap the
    network.

    Args:
        network: (N, ...) -> logits (N, classes), which its last linear layer makes of features (N, F).
        inputs: what it is called with, for the trace. sigma: of :func:`chances`.

    Attributes:
        path: of the last linear layer. features: F. keep: in eval mode; None: all. k: in training instead of a draw.

    Raises:
        UserError: the last product is no linear layer's, it reads no (N, F), or its logits are not what the network
            returns.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.techniques.nested_dropout import Nested
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x, y = torch.randn(6, 4), torch.arange(6) % 3
        >>> nested = Nested(network, x, sigma=3)
        >>> nn.functional.cross_entropy(network(x), y).backward()  # with k features
        >>> accuracies = nested.accuracies([(x, y)])  # of k = 1 .. 8, one pass
        >>> 1 <= nested.settle([(x, y)]) <= 8  # the best k; the other columns are 0 now
        True
        >>> nested.close()

    Source: Rippel, Gelbart and Adams, 2014 (recalled); Chen et al., arXiv 2206.13140, with the published code.
    """

    def __init__(self, network: nn.Module, inputs: Inputs, sigma: float = SIGMA) -> None:
        self.network, self.path = network, last_linear(network, inputs)
        head: Any = network.get_submodule(self.path)
        self._head = head
        self.features = int(self._head.in_features)
        self._chances = chances(self.features, sigma)
        self.keep: int | None = None
        self.k: int | None = None
        self._check(inputs)
        self._hook = self._head.register_forward_pre_hook(self._mask)

    def draw(self) -> int:
        """A k from 1 to F."""
        return int(torch.multinomial(self._chances, 1)) + 1

    def accuracies(self, loader: Loader) -> Tensor:
        """The share of right answers with the first k features alone, for every k, from one pass in eval mode.

        Args:
            loader: batches of inputs and classes (N,), such as validation data whose labels can be trusted.

        Returns:
            float64, (F,) on the CPU: that of k at place k - 1.

        Raises:
            UserError: targets that are no classes, or no example.
        """
        found, count, keep = torch.zeros(self.features, dtype=torch.long), 0, self.keep
        device, self.keep = self._head.weight.device, None
        try:
            with in_eval(self.network), torch.no_grad(), reading(self.network, self.path) as read:
                for batch in loader:
                    inputs, targets = to_device(split(batch), device)
                    check_classified(logits_of(call(self.network, inputs)), targets)
                    told = targets != IGNORED
                    found += hits(read[0][told], self._head.weight, self._head.bias, targets[told]).cpu()
                    count += int(told.sum())
        finally:
            self.keep = keep
        if not count:
            raise UserError("which k is best is told by validation data, and these have no example; give some.")
        return found.double() / count

    def settle(self, loader: Loader) -> int:
        """Chooses k by :meth:`accuracies` and :func:`best`, and sets the columns of the other features to 0, so that
        the network computes the same in any loop; :func:`truncated` takes them out.

        Returns:
            k.
        """
        k = best(self.accuracies(loader))
        zeroed(self._head, k)
        return k

    def close(self) -> None:
        """Takes the hook away."""
        self._hook.remove()

    def _mask(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        k = (self.draw() if self.k is None else self.k) if module.training else self.keep
        if k is None or k >= self.features:
            return None
        read = args[0]
        return (torch.where(torch.arange(self.features, device=read.device) < k, read, torch.zeros_like(read)),)

    def _check(self, inputs: Inputs) -> None:
        """What the network returns must be what the layer makes: of that alone it is known what fewer features make."""
        made: list[Tensor] = []
        hook = self._head.register_forward_hook(lambda module, args, output: made.append(output))
        try:
            with in_eval(self.network), torch.no_grad(), reading(self.network, self.path):
                said = logits_of(call(self.network, inputs))
        finally:
            hook.remove()
        alike = isinstance(said, Tensor) and said.shape == made[-1].shape and said.shape[1] > 1
        if not alike or not torch.equal(said.argmax(1), made[-1].argmax(1)):
            raise UserError(
                "nested dropout needs a network that returns the logits (N, classes) of its last linear layer, "
                f"'{self.path}'; leave it out."
            )
