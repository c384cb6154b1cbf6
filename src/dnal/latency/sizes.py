"""Many sums of products of widths at once, where the same widths recur in most of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dnal.space.cost import Side


class Sizes:
    """size_k(g) = sum over the products of k of factor * prod of the gate sums of its sides.

    A network has hundreds of operations on few streams: the gates of each stream are summed once.

    Args:
        products: (k, factor, sides); a side is the variable ids of its channels, shape (n,), where -1 (fixed) counts 1,
            or a plain count.
        count: how many sizes there are.
    """

    def __init__(self, products: Sequence[tuple[int, float, Sequence[Side]]], count: int) -> None:
        width = max((len(sides) for _, _, sides in products), default=0)
        numbers: dict[bytes | int, int] = {1: 0}  # side 0 is the constant 1 that fills short products
        base: list[float] = [1.0]
        index: list[Tensor] = [torch.empty(0, dtype=torch.long)]
        stream: list[Tensor] = [torch.empty(0, dtype=torch.long)]
        rows: list[list[int]] = []
        for _, _, sides in products:
            row = []
            for side in sides:
                key = side if isinstance(side, int) else side.cpu().numpy().tobytes()
                if key not in numbers:
                    numbers[key] = len(base)
                    if isinstance(side, int):
                        base.append(float(side))
                    else:
                        free = side[side >= 0].cpu()
                        index.append(free)
                        stream.append(torch.full_like(free, len(base)))
                        base.append(float(side.numel() - free.numel()))
                row.append(numbers[key])
            rows.append(row + [0] * (width - len(row)))
        self._count = count
        self._base = torch.tensor(base, dtype=torch.float64)
        self._index, self._stream = torch.cat(index), torch.cat(stream)
        self._rows = torch.tensor(rows, dtype=torch.long).view(len(rows), width)
        self._factors = torch.tensor([factor for _, factor, _ in products], dtype=torch.float64)
        self._targets = torch.tensor([target for target, _, _ in products], dtype=torch.long)

    def __call__(self, gates: Tensor) -> Tensor:
        """Shape (count,), float64; ``gates``: (num_gates,), float64."""
        if self._base.device != gates.device:  # the gates decide where the arithmetic happens
            for name in ("_base", "_index", "_stream", "_rows", "_factors", "_targets"):
                setattr(self, name, getattr(self, name).to(gates.device))
        sums = self._base.index_add(0, self._stream, gates[self._index])
        products = self._factors * sums[self._rows].prod(dim=1)
        return products.new_zeros(self._count).index_add(0, self._targets, products)
