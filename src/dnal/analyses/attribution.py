"""Whether the direction or the length of the features makes the difference: each is exchanged alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dnal.analyses.geometry import Geometry, rebuilt


@dataclass(frozen=True)
class Side:
    """A network for :func:`attributed`: its geometry, and its last layer's weights (C, F) and biases (C,), or None."""

    geometry: Geometry
    weight: Tensor
    bias: Tensor | None

    def logits(self, lengths: Tensor | None = None) -> Tensor:
        """What it says, (N, C); ``lengths``: where the features had others, (N,), in units of its median length."""
        own = self.geometry.lengths if lengths is None else lengths * self.geometry.scale
        return rebuilt(self.geometry.cosines, own, self.weight, self.bias)

    @property
    def relative(self) -> Tensor:
        """Its lengths over their median, (N,)."""
        return self.geometry.lengths / self.geometry.scale


@dataclass(frozen=True)
class Attribution:
    """Where the difference between two networks comes from.

    Attributes:
        loss: mean cross entropy of the second minus the first. direction, length: its parts, which add up to it: what
            the exchange of one alone changes, on average over both orders of exchanging.
        base, compact: accuracies. base_of_its_length: of the base's directions with the other's lengths;
            compact_of_its_length: the other way round.
        by_direction, by_length: of the fragile examples, the share that is wrong when only the direction, or only the
            length, is the compact network's; NaN without any. Without biases a length changes nothing.
    """

    loss: float
    direction: float
    length: float
    base: float
    compact: float
    base_of_its_length: float
    compact_of_its_length: float
    by_direction: float
    by_length: float


def attributed(base: Side, compact: Side, targets: Tensor) -> Attribution:
    """Exchanges the lengths of two networks' features on the same examples, each in units of its own median, and sees
    what the last layers say. The direction goes with the last layer, which knows no other's features: after a removal
    these have other dimensions.

    Args:
        base, compact: of the same N examples. targets: (N,).

    Examples:
        >>> import torch
        >>> from dnal.analyses import Side, attributed, geometry_of
        >>> f, w, y = torch.randn(8, 3), torch.randn(4, 3), torch.arange(8) % 4
        >>> side = Side(geometry_of(f, w, None, y), w, None)
        >>> longer = Side(geometry_of(2 * f, w, None, y), w, None)
        >>> attributed(side, longer, y).by_length  # nothing is fragile
        nan

    The operationalisation is ours; arXiv 2206.07918 decomposes into direction and length, and was read in part.
    """
    targets = targets.long()
    said = {
        "base": base.logits(), "base_of_its_length": base.logits(compact.relative),
        "compact": compact.logits(), "compact_of_its_length": compact.logits(base.relative),
    }  # fmt: skip
    losses = {name: float(F.cross_entropy(logits, targets)) for name, logits in said.items()}
    right = {name: logits.argmax(1) == targets for name, logits in said.items()}
    fragile = right["base"] & ~right["compact"]
    length = (losses["base_of_its_length"] - losses["base"] + losses["compact"] - losses["compact_of_its_length"]) / 2
    loss = losses["compact"] - losses["base"]
    return Attribution(
        loss=loss, direction=loss - length, length=length,
        **{name: float(each.double().mean()) for name, each in right.items()},
        by_direction=_share(~right["compact_of_its_length"], fragile),
        by_length=_share(~right["base_of_its_length"], fragile),
    )  # fmt: skip


def _share(wrong: Tensor, among: Tensor) -> float:
    return float(wrong[among].double().mean()) if bool(torch.any(among)) else float("nan")
