"""What are multiply-accumulates worth? The speed-up of compact networks over the ratio of MACs, by the rule for widths.

Uniform widths under a bound on the MACs, best channels by L1 norm, with each rule: any width; multiples of 8
and of 16, where narrower groups stay whole; multiples of 16 where a group has at least 2 (or 4) of them, else of 8, 4
and so on. Base and compact networks run in turn; `speedup` is
the median of the ratios of runs that follow each other, with the quartiles of these ratios, `worth` is it times the
share of the MACs: 1 means that time went as the MACs did. A row that stands in the result file is not measured again.

    OMP_NUM_THREADS=1 python benchmarks/speed/macs_worth.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from pathlib import Path

import torch
import torchvision

sys.path.insert(0, str(Path(__file__).parents[1]))

import dnal
from dnal.latency.allocator import steady_memory
from dnal.latency.backends import backend_of
from dnal.methods.magnitude import l1_scores
from dnal.methods.uniform import uniform_scores
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from paired import machine
from result_file import append_rows, read_rows

NETWORKS = ("resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny")
SHARES = (0.5, 0.25)
RULES = {
    "any": WidthRule(),
    "8": WidthRule(divisor=8),
    "16": WidthRule(divisor=16),
    "16, 2 or more": WidthRule(divisor=16, fewest=2),
    "16, 4 or more": WidthRule(divisor=16, fewest=4),
}
WARM = 2


def rows_of(name: str, shares: list[float], options: argparse.Namespace) -> list[dict[str, object]]:
    torch.manual_seed(0)
    network = torchvision.models.get_model(name).eval()
    example = torch.randn(1, 3, options.size, options.size)
    space = dnal.Space.of(network, example)
    scores = uniform_scores(space, l1_scores(network, space))
    full = space.full_cost["macs"]
    runtime, inputs = backend_of(options.backend), example.repeat(options.batch, 1, 1, 1)
    cases, runs = [], []
    for share in shares:
        for rule, widths in RULES.items():
            opened = select(space, scores, {"macs": share * full}, widths)
            small = dnal.compact(network, dnal.Architecture.of(space, opened), check=False)
            cases.append((share, rule, space.cost_of(opened)["macs"] / full))
            runs.append(runtime.network(small, inputs))
    base = runtime.network(network, inputs)
    base_ms: list[float] = []
    ratios: list[list[float]] = [[] for _ in runs]
    with steady_memory():
        for turn in range(options.turns + WARM):
            for run, own in zip(runs, ratios, strict=True):
                of_base, of_run = base(), run()  # each beside a run of the base: the machine does other things too
                if turn >= WARM:
                    base_ms.append(of_base)
                    own.append(of_base / of_run)
    found = []
    for (share, rule, macs), own in zip(cases, ratios, strict=True):
        low, speedup, high = statistics.quantiles(own, n=4)
        found.append(
            {
                "network": name, "size": options.size, "batch": options.batch, "backend": options.backend,
                "share": share, "widths": rule, "macs_share": f"{macs:.4f}", "pairs": len(own),
                "base_ms": f"{statistics.median(base_ms):.2f}", "speedup": f"{speedup:.3f}",
                "speedup_low": f"{low:.3f}", "speedup_high": f"{high:.3f}", "worth": f"{speedup * macs:.3f}",
                "device": runtime.device, "machine": machine(),
            }
        )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--backend", default="onnxruntime-cpu")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = {(r["network"], r["batch"], r["backend"], r["size"], r["share"]) for r in read_rows(options.out)}
    for name in options.networks:
        where = (str(options.batch), options.backend, str(options.size))
        shares = [share for share in SHARES if (name, *where, str(share)) not in done]
        if shares:
            rows = rows_of(name, shares, options)
            for row in rows:
                print(row, flush=True)
            append_rows(options.out, list(rows[0]), rows)


if __name__ == "__main__":
    main()
