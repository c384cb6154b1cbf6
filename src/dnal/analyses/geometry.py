"""Where a network sees an example beside its classes: the angle, the length and the margin of its last features.

The last linear layer says z_c = w_c . f + b_c = |w_c| |f| cos(angle_c) + b_c. The direction of a class is w_c / |w_c|,
the angle says where f points, the length how far, and the margin how far f is from the nearest place where another
class than the true one would be said.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnal.base.errors import UserError

AT_ONCE = 2**24
"""Distances of examples, or classes, to classes that are in memory at once."""


@dataclass(frozen=True)
class Geometry:
    """The last features of N examples beside C classes, in float64.

    Attributes:
        cosines: of the angles between each example's features and each class's direction, (N, C), in [-1, 1]; 0 where
            the features or the class's weights are all zero.
        lengths: |f|, (N,).
        angles: to the direction of the true class, in radians, (N,); pi / 2 where ``zero``.
        margins: the signed distance of f to the nearest place where another class is as likely as the true one, (N,):
            above 0 where the true one is said, 0 where two are equally likely. Infinite where no other f would be said
            another class of.
        zero: whether all features of an example are zero, so that only the biases speak, (N,).
    """

    cosines: Tensor
    lengths: Tensor
    angles: Tensor
    margins: Tensor
    zero: Tensor

    @property
    def scale(self) -> float:
        """The median length, by which lengths and margins of several networks are made alike: the scale of features
        is arbitrary. 1 where it is 0."""
        return float(self.lengths.median()) or 1.0


def geometry_of(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, logits: Tensor | None = None
) -> Geometry:
    """Angle, length and margin of the last features of examples.

    Args:
        features: what the last linear layer reads, (N, F). weight: of it, (C, F). bias: (C,), or None.
        targets: the true classes, (N,).
        logits: what the layer said, (N, C). Given, the margins have exactly the sign of what the network says; by
            default they are computed.

    Raises:
        UserError: sizes that do not belong together.

    Examples:
        >>> import torch
        >>> from dnal.analyses import geometry_of
        >>> seen = geometry_of(torch.tensor([[3.0, 4.0]]), torch.eye(2), None, torch.tensor([1]))
        >>> seen.lengths.item(), round(seen.margins.item(), 4), round(seen.cosines[0, 1].item(), 4)
        (5.0, 0.7071, 0.8)

    Source: Li et al., arXiv 2206.07918, by its abstract and its authors' page; the formulas follow from the words.
    """
    fits = features.dim() == weight.dim() == 2 and features.shape[1] == weight.shape[1] and targets.dim() == 1
    if not (fits and len(targets) == len(features) and (bias is None or bias.shape == weight.shape[:1])):
        raise UserError(
            f"features (N, F), weights (C, F), biases (C,) and targets (N,) belong together; these are of "
            f"{tuple(features.shape)}, {tuple(weight.shape)}, {None if bias is None else tuple(bias.shape)} and "
            f"{tuple(targets.shape)}."
        )
    features, weight = features.double(), weight.double()
    lengths, cosines = features.norm(dim=1), cosines_of(features, weight)
    said = rebuilt(cosines, lengths, weight, bias) if logits is None else logits.double()
    own = cosines.gather(1, targets[:, None].long())[:, 0]
    return Geometry(cosines, lengths, own.arccos(), margins(said, weight, targets), lengths == 0)


def class_directions(weight: Tensor) -> Tensor:
    """The direction of each class in the space of the features: the rows of the last layer's weights (C, F) at
    length 1; a row of zeros stays."""
    return weight / _no_zero(weight.norm(dim=1, keepdim=True))


def cosines_of(features: Tensor, weight: Tensor) -> Tensor:
    """The cosine between each example's features (N, F) and each class's direction (C, F): (N, C), clamped to [-1, 1],
    0 where a side is zero."""
    return (class_directions(features) @ class_directions(weight).T).clamp(-1, 1)


def rebuilt(cosines: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The logits (N, C) from angle and length alone: |w_c| |f| cos(angle_c) + b_c.

    Examples:
        >>> import torch
        >>> f, w, b = torch.randn(5, 3).double(), torch.randn(4, 3).double(), torch.randn(4).double()
        >>> torch.allclose(rebuilt(cosines_of(f, w), f.norm(dim=1), w, b), f @ w.T + b)
        True
    """
    found: Tensor = cosines * lengths[:, None].to(cosines) * weight.norm(dim=1).to(cosines)
    return found if bias is None else found + bias.to(cosines)


def margins(logits: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """min over c != y of (z_y - z_c) / |w_y - w_c|: how far the features may move before another class is said, below
    0 where one is said already.

    Args:
        logits: (N, C), with the biases. weight: of the last layer, (C, F). targets: (N,).

    Returns:
        (N,), float64. Between classes whose weights are equal no place lies: infinite, with the sign of the difference,
        or 0.
    """
    weight, targets = weight.double(), targets.long()
    rows = max(1, AT_ONCE // max(1, len(weight)))
    found = [_margins(z.double(), weight, y) for z, y in zip(logits.split(rows), targets.split(rows), strict=True)]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def _margins(logits: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    classes, place = targets.unique(return_inverse=True)
    apart = torch.cdist(weight[classes], weight, compute_mode="donot_use_mm_for_euclid_dist")
    ahead = logits.gather(1, targets[:, None]) - logits
    found = (ahead / apart[place]).where(ahead != 0, 0.0)
    nearest: Tensor = found.scatter(1, targets[:, None], torch.inf).amin(1)
    return nearest


def _no_zero(lengths: Tensor) -> Tensor:
    return lengths.where(lengths > 0, 1.0)
