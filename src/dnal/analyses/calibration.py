"""Whether a network knows how often it is right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Confidences in equal bins.

    Attributes:
        counts: examples in each bin, (bins,). confidence, accuracy: their means there, NaN where there are none.
    """

    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def ece(self) -> float:
        """The expected calibration error: the mean of |accuracy - confidence| over the examples. NaN without any."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num(0) * self.counts
        return float(gaps.sum() / self.counts.sum()) if int(self.counts.sum()) else float("nan")


def confidences(logits: Tensor) -> Tensor:
    """The probability of the likeliest class, (N, C) -> (N,), by softmax in float64."""
    return logits.double().softmax(1).amax(1)


def calibration_of(confidence: Tensor, correct: Tensor, bins: int = BINS) -> Calibration:
    """How often a network is right where it is how confident.

    Args:
        confidence: from 0 to 1, (N,). correct: bool (N,). bins: of equal width; a border belongs to the upper
            one, and 1 to the last.

    Examples:
        >>> import torch
        >>> from dnal.analyses import calibration_of
        >>> round(calibration_of(torch.tensor([0.9, 0.9, 0.6, 0.6]), torch.tensor([True, True, True, False])).ece, 4)
        0.1

    Source: Guo et al., arXiv 1706.04599, equation 5; torchmetrics' MulticlassCalibrationError (norm l1) is the same.
    """
    borders = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    place = (torch.bucketize(confidence.double(), borders, right=True) - 1).clamp(0, bins - 1)
    counts = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, torch.ones(len(place), dtype=torch.float64))
    sums = [
        torch.zeros(bins, dtype=torch.float64).index_add_(0, place, each.double()) for each in (confidence, correct)
    ]
    return Calibration(counts.long(), sums[0] / counts, sums[1] / counts)
