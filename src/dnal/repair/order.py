"""The order in which the channels of a whole network leave, of the curves of its groups and of what they cost."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dnal.repair.curves import Curve
from dnal.space.space import Space

ROUNDS = 1000
"""At most about so often the slopes of the costs are computed anew, while all channels leave."""


def leaving(space: Space, curves: Sequence[Curve], limits: Mapping[str, float]) -> Tensor:
    """The turn at which each variable leaves, (num_gates,), float64: the first one 0; infinite where no curve tells.

    Again and again the channel leaves that loses least for what it saves: the running maximum of e along its curve,
    over the slope of the bounded costs at the widths of the moment. A cost counts as a share of its limit, as long as
    it is above it; after that all of them do.

    Args:
        limits: cost name -> bound in its own unit.
    """
    turn = torch.full((space.num_gates,), torch.inf, dtype=torch.float64)
    rises = [curve.losses.diff().cummax(0).values.tolist() for curve in curves]
    orders = [curve.order.tolist() for curve in curves]
    gates = torch.ones(space.num_gates, dtype=torch.float64)
    total = sum(map(len, rises))
    each = max(1, total // ROUNDS)
    at, done = [0] * len(curves), 0
    while done < total:
        slope = _slope(space, limits, gates)
        ratio = [
            rise[k] / max(float(slope[order[k]]), 1e-30) if k < len(rise) else None
            for rise, order, k in zip(rises, orders, at, strict=True)
        ]
        queue = [(value, number) for number, value in enumerate(ratio) if value is not None]
        heapq.heapify(queue)
        for _ in range(min(each, total - done)):
            _, number = heapq.heappop(queue)
            variable = orders[number][at[number]]
            turn[variable], gates[variable] = done, 0
            done += 1
            at[number] += 1
            k, rise = at[number], rises[number]
            if k < len(rise):
                heapq.heappush(queue, (rise[k] / max(float(slope[orders[number][k]]), 1e-30), number))
    for order in orders:  # one of each group stays to the end
        turn[order[-1]] = total
    return turn


def _slope(space: Space, limits: Mapping[str, float], gates: Tensor) -> Tensor:
    """How much the bounded costs fall for each variable that leaves, (num_gates,)."""
    gates = gates.clone().requires_grad_()
    with torch.enable_grad():
        shares = [space.costs[name](gates) / limit for name, limit in limits.items()]
        above = [share for share in shares if float(share.detach()) > 1]
        slope: Tensor = torch.autograd.grad(torch.stack(above or shares).sum(), gates)[0]
    return slope
