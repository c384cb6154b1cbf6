"""How long does the selection of the best variables within a budget take, by the number of variables?

Pairs of linear layers, 4 channels to N and back to 4: groups of N variables each, with random scores, under one bound
or two, with any width and with multiples of 16. Seconds of a second call, of this process (`computed`) and by the
clock. Rows of another `code` were made by this script on the code before.

    OMP_NUM_THREADS=1 python benchmarks/speed/selection.py
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

import dnal
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from paired import machine
from result_file import append_rows

SIZES = ((100, 100), (100, 1000), (100, 10_000), (1000, 1000))
"""Groups, and variables of each."""
LIMITS = {"macs": ("macs",), "macs, params": ("macs", "params")}


def stack(groups: int, width: int) -> nn.Module:
    """The network; layers share their weights' memory, which is not looked at."""
    layers: list[nn.Module] = []
    for _ in range(groups):
        layers += [nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 4)]
    return nn.Sequential(*layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--code", default="now")
    parser.add_argument("--most", type=int, default=10**6, help="variables")
    options = parser.parse_args()
    for groups, width in SIZES:
        if groups * width > options.most:
            continue
        space = dnal.Space.of(stack(groups, width), torch.zeros(2, 4), probe=False)
        scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(0))
        for named, costs in LIMITS.items():
            for divisor in (1, 16):
                limits = {cost: 0.3 * space.full_cost[cost] for cost in costs}
                widths = WidthRule(divisor=divisor)
                chosen = select(space, scores, limits, widths)
                begun, computed = time.perf_counter(), time.process_time()
                again = select(space, scores, limits, widths)
                seconds, computed = time.perf_counter() - begun, time.process_time() - computed
                assert torch.equal(chosen, again)
                used = max(space.cost_of(chosen)[cost] / limit for cost, limit in limits.items())
                row = {
                    "code": options.code, "groups": len(space.groups), "variables": space.num_variables,
                    "bounds": named, "divisor": divisor, "seconds": f"{seconds:.3f}", "computed": f"{computed:.3f}",
                    "used": f"{used:.5f}", "open": int(chosen.sum()), "machine": machine(),
                }  # fmt: skip
                print(row, flush=True)
                append_rows(options.out, list(row), [row])


if __name__ == "__main__":
    main()
