"""What an architecture costs, as a differentiable function of its gates.

MACs of a convolution = k_h k_w H W * (sum of the gates over its output channels) * (sum of the gates over the input
channels of one group); of a linear layer, rows * outputs * inputs. A parameter tensor counts the product of the gate
sums of its dimensions. Both are exact when every gate is 0 or 1. NOT counted as MACs: elementwise operations,
normalisation, pooling, resizing, softmax and biases (they are no multiply-accumulates of two channels); buffers are not
parameters. MACs are those of ONE example, whatever the batch of the traced input: a share of what grows with the batch,
and all of what is computed once for every example of it (a table of relative positions), as in a batch of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Side = Tensor | int
CostFunction = Callable[[Tensor], Tensor]
"""Gates of shape (num_gates,), bool or floating -> a float64 scalar, differentiable in them, never less where more is
open."""


class Cost:
    """A sum of products of gate sums: cost(g) = sum_t factor_t * prod_k sum_{i in side_tk} g_i.

    A network has hundreds of terms on few streams: the gates of each stream are summed once.

    Args:
        terms: (factor, sides) each; a side is the variable ids of its channels, shape (n,), where -1 (fixed) counts 1,
            or a plain count.

    Attributes:
        index, segment: which gates are summed, and of each the number of its sum. base: of each sum what counts
            whatever the gates are, float64; sum 0 is the constant 1.
        factors, rows: of each term its factor, float64 (terms,), and the numbers of the sums in its product, int64
            (terms, width).
    """

    def __init__(self, terms: Sequence[tuple[float, Sequence[Side]]]) -> None:
        width = max((len(sides) for _, sides in terms), default=0)
        base: list[float] = [1.0]  # sum 0 is the constant 1 that fills short products
        numbers: dict[bytes | int, int] = {1: 0}  # the sum of each side
        index: list[Tensor] = []
        segment: list[Tensor] = []
        factors: list[float] = []
        rows: list[list[int]] = []
        for factor, sides in terms:
            row = []
            for side in sides:
                key = side if isinstance(side, int) else side.cpu().numpy().tobytes()
                if key not in numbers:
                    numbers[key] = len(base)
                    fixed = side
                    if not isinstance(side, int):
                        free = side[side >= 0]
                        index.append(free)
                        segment.append(torch.full_like(free, len(base)))
                        fixed = side.numel() - free.numel()
                    base.append(float(fixed))
                row.append(numbers[key])
            rows.append(row + [0] * (width - len(row)))
            factors.append(factor)
        self.factors = torch.tensor(factors, dtype=torch.float64)
        self.rows = torch.tensor(rows, dtype=torch.long).view(len(rows), width)
        self.base = torch.tensor(base, dtype=torch.float64)
        self.index = torch.cat(index) if index else torch.empty(0, dtype=torch.long)
        self.segment = torch.cat(segment) if segment else torch.empty(0, dtype=torch.long)

    def terms(self, gates: Tensor) -> Tensor:
        """The cost of each term, shape (terms,), float64; ``gates``: (num_gates,), bool or floating."""
        self._move(gates.device)
        sums = self.base.index_add(0, self.segment, gates.to(torch.float64)[self.index])
        return self.factors * sums[self.rows].prod(dim=1)

    def __call__(self, gates: Tensor) -> Tensor:
        """The cost of gate values of shape (num_gates,): a float64 scalar, differentiable in them."""
        return self.terms(gates).sum()

    def _move(self, device: torch.device) -> None:
        if self.base.device != device:  # the gates decide where the arithmetic happens
            for name in ("factors", "rows", "base", "index", "segment"):
                setattr(self, name, getattr(self, name).to(device))
