"""Are compact networks as fast as their MACs say?

ResNet-50 and VGG16 (with batch norm) at 25 % of the MACs, MobileNetV2 at 80, 50, 25 and 10 %: uniform widths that
`select` rounds to the multiple that `fastest_multiple` finds, best channels by L1 norm. Base and compact network are
measured in the same interleaved runs; `speedup` is the ratio of their medians, `least_speedup` the 10th percentile of
the ratios of runs that follow each other. A row that stands in the result file is not measured again.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from pathlib import Path

import torch
import torchvision

import dnal
from dnal.latency import fastest_multiple
from dnal.latency.allocator import steady_memory
from dnal.latency.backends import backend_of
from dnal.methods.magnitude import l1_scores
from dnal.methods.uniform import uniform_scores
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from result_file import append_rows, read_rows

BUDGETS = {"resnet50": (0.25,), "vgg16_bn": (0.25,), "mobilenet_v2": (0.8, 0.5, 0.25, 0.1)}


def rows_of(name: str, batch: int, backend: str, options: argparse.Namespace) -> list[dict[str, object]]:
    torch.manual_seed(0)
    network = torchvision.models.get_model(name).eval()
    example = torch.randn(1, 3, options.size, options.size)
    space = dnal.Space.of(network, example)
    multiple = fastest_multiple(network, space, example, backend=backend, batch=batch)
    scores = uniform_scores(space, l1_scores(network, space))
    budgets = BUDGETS.get(name, (0.25,))
    compact, share = [], []
    for budget in budgets:
        limits = {"macs": budget * space.full_cost["macs"]}
        opened = select(space, scores, limits, WidthRule(divisor=multiple))
        compact.append(dnal.compact(network, dnal.Architecture.of(space, opened), check=False))
        share.append(space.cost_of(opened)["macs"] / space.full_cost["macs"])
    runtime = backend_of(backend)
    inputs = example.repeat(batch, 1, 1, 1)
    base, *runs = [runtime.network(each, inputs) for each in (network, *compact)]
    base_ms: list[float] = []
    times: list[list[float]] = [[] for _ in runs]
    with steady_memory():
        for turn in range(options.turns + 2):
            of_base, of_each = base(), [run() for run in runs]
            if turn >= 2:
                base_ms.append(of_base)
                for own, ms in zip(times, of_each, strict=True):
                    own.append(ms)
    result = []
    for budget, macs, own in zip(budgets, share, times, strict=True):
        ratios = sorted(a / b for a, b in zip(base_ms, own, strict=True))
        result.append(
            {
                "network": name,
                "size": options.size,
                "batch": batch,
                "backend": backend,
                "budget": budget,
                "macs_share": f"{macs:.4f}",
                "multiple": multiple,
                "turns": options.turns,
                "base_ms": f"{statistics.median(base_ms):.2f}",
                "compact_ms": f"{statistics.median(own):.2f}",
                "speedup": f"{statistics.median(base_ms) / statistics.median(own):.2f}",
                "least_speedup": f"{ratios[len(ratios) // 10]:.2f}",
                "threads": runtime.threads,
                "device": runtime.device,
                "versions": " ".join(f"{key} {value}" for key, value in runtime.versions.items()),
            }
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--networks", nargs="+", default=list(BUDGETS))
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--backends", nargs="+", default=["onnxruntime-cpu"])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    rows = read_rows(options.out)
    done = {(r["network"], r["batch"], r["backend"], r["size"], r["threads"]) for r in rows}
    for name in options.networks:
        for batch in options.batches:
            for backend in options.backends:
                if (name, str(batch), backend, str(options.size), str(options.threads)) in done:
                    continue
                found = rows_of(name, batch, backend, options)
                print(*found, sep="\n", flush=True)
                append_rows(options.out, list(found[0]), found)


if __name__ == "__main__":
    main()
