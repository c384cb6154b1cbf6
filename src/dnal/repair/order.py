"""The order in which the channels and branches of a whole network leave, by what they lose and what they cost."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dnal.repair.absence import Absence
from dnal.repair.curves import Curve
from dnal.space.space import Space

ROUNDS = 1000
"""At most about so often the slopes of the costs are computed anew, while all channels leave."""


def leaving(
    space: Space, curves: Sequence[Curve], limits: Mapping[str, float], absences: Sequence[Absence] = ()
) -> Tensor:
    """The turn at which each variable leaves, (num_gates,), float64: the first one 0; infinite where no curve and no
    absence tells.

    Again and again the channel leaves that loses least for what it saves: the running maximum of e along its curve,
    over the slope of the bounded costs at the widths of the moment. A cost counts as a share of its limit, as long as
    it is above it; after that all of them do. A branch leaves in the same way, by what its absence loses beyond what
    the channels within it have lost by then.

    Args:
        limits: cost name -> bound in its own unit.
    """
    turn = torch.full((space.num_gates,), torch.inf, dtype=torch.float64)
    rises = [curve.losses.diff().cummax(0).values.tolist() for curve in curves] + [[one.loss] for one in absences]
    orders = [curve.order.tolist() for curve in curves] + [[one.branch.variable] for one in absences]
    within = [[n for n, curve in enumerate(curves) if _is_within(curve, one)] for one in absences]
    gates = torch.ones(space.num_gates, dtype=torch.float64)
    total = sum(map(len, rises))
    each = max(1, total // ROUNDS)
    at, done = [0] * len(rises), 0

    def ratio(number: int, slope: Tensor) -> float:
        rise = rises[number][at[number]]
        if number >= len(curves):
            lost = sum(float(curves[n].losses[at[n]]) for n in within[number - len(curves)])
            rise = max(rise - lost, 0.0)
        return float(rise / max(float(slope[orders[number][at[number]]]), 1e-30))

    while done < total:
        slope = _slope(space, limits, gates)
        queue = [(ratio(number, slope), number) for number, rise in enumerate(rises) if at[number] < len(rise)]
        heapq.heapify(queue)
        for _ in range(min(each, total - done)):
            _, number = heapq.heappop(queue)
            variable = orders[number][at[number]]
            turn[variable], gates[variable] = done, 0
            done += 1
            at[number] += 1
            if at[number] < len(rises[number]):
                heapq.heappush(queue, (ratio(number, slope), number))
    for curve in curves:  # one of each group stays to the end
        turn[curve.order[-1]] = total
    return turn


def _is_within(curve: Curve, absence: Absence) -> bool:
    """Whether the channels of a curve are there for a branch alone."""
    return all(absence.branch.removes(name) for name, _ in curve.group.places)


def _slope(space: Space, limits: Mapping[str, float], gates: Tensor) -> Tensor:
    """How much the bounded costs fall for each variable that leaves, (num_gates,)."""
    gates = gates.clone().requires_grad_()
    with torch.enable_grad():
        shares = [space.costs[name](gates) / limit for name, limit in limits.items()]
        above = [share for share in shares if float(share.detach()) > 1]
        slope: Tensor = torch.autograd.grad(torch.stack(above or shares).sum(), gates)[0]
    return slope
