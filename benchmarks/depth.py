"""Whole blocks or only widths? A residual network at a quarter of its MACs, with and without branch variables.

    python benchmarks/depth.py --data cifar10 --out benchmarks/depth.csv

CIFAR-10 at 32x32, ResNet-20. Both rows of a seed start from the same trained base, see the same images in the same
order and are given the same epochs, without distillation. Milliseconds are medians of interleaved runs of the
base and both results in one process, each batch and backend by itself. Widths are multiples of --divisor: where they
may have any value, a narrow block costs next to no MACs, and so none is closed.

Rows are appended as they are done, and a seed that is there is not run again.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import nn

import dnal
from dnal import data, models
from dnal.latency import measured_ms
from dnal.pipeline.plan import RETRAIN_RATE
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from dnal.settings import DEFAULT_LR
from dnal.train.evaluate import accuracy
from result_file import append_rows, read_rows
from separate_phases import search, train

SIZE = (3, 32, 32)
TIMED = [("torch-cpu", 1), ("torch-cpu", 32), ("onnxruntime-cpu", 1), ("onnxruntime-cpu", 32)]
FIELDS = [
    "model", "multiple", "depth", "seed", "accuracy", "base_accuracy", "macs_share", "params", "branches", "closed",
    "widths",
    *(f"{backend} {batch} {what}" for backend, batch in TIMED for what in ("ms", "base ms")),
    "threads", "precision", "epochs", "images", "seconds", "torch",
]  # fmt: skip


def run_seed(options: argparse.Namespace, seed: int) -> list[dict[str, object]]:
    """The two rows of a seed."""
    fabric = Fabric(accelerator="cpu", devices=1, precision=options.precision)
    dataset = data.load(options.data, root=options.root, input_shape=SIZE, limit_train=options.images, seed=0)

    def loader() -> data.EpochLoader:
        return data.loaders(dataset, options.batch_size, seed=seed).train

    def test(network: nn.Module) -> float:
        return accuracy(network, data.loaders(dataset, 500, seed=0).test)

    torch.manual_seed(seed)
    base = models.create(options.model, classes=dataset.classes, input_shape=SIZE)
    base.to(memory_format=torch.channels_last)
    train(fabric, base, loader(), options.epochs[0], DEFAULT_LR, warmup=0.1)
    base.eval()
    rows, results = [], []
    for depth in (False, True):
        begun = time.perf_counter()
        torch.manual_seed(1000 + seed)
        network = copy.deepcopy(base)
        space = dnal.Space.of(network, torch.zeros(2, *SIZE), depth=depth)
        limits = {"macs": space.full_cost["macs"] * options.budget / 100}
        widths = WidthRule(divisor=options.divisor)
        scores = search(fabric, network, space, limits, loader(), options.epochs[1], widths=widths)
        chosen = select(space, scores, limits, widths)
        architecture = dnal.Architecture.of(space, chosen)
        small = dnal.compact(network, architecture).to(memory_format=torch.channels_last)
        train(fabric, small, loader(), options.epochs[2], RETRAIN_RATE * DEFAULT_LR)
        results.append(small.eval())
        rows.append(
            {
                "model": options.model,
                "multiple": options.divisor,
                "depth": int(depth),
                "seed": seed,
                "accuracy": f"{test(small):.4f}",
                "base_accuracy": f"{test(base):.4f}",
                "macs_share": f"{dnal.macs(small, torch.zeros(1, *SIZE)) / space.full_cost['macs']:.4f}",
                "params": sum(p.numel() for p in small.parameters()),
                "branches": space.num_branches,
                "closed": " ".join(b.name for b in space.branches if not architecture.open[b.variable]),
                "widths": " ".join(str(int(architecture.open[g.variables].sum())) for g in space.groups),
                "threads": torch.get_num_threads(),
                "precision": options.precision,
                "epochs": "+".join(map(str, options.epochs)),
                "images": len(dataset.train),
                "seconds": f"{time.perf_counter() - begun:.0f}",
                "torch": torch.__version__,
            }
        )
        print(rows[-1], flush=True)
    for backend, batch in TIMED:
        plain = [copy.deepcopy(n).to(memory_format=torch.contiguous_format) for n in (base, *results)]
        base_ms, *own = measured_ms(plain, torch.randn(batch, *SIZE), backend)
        for row, ms in zip(rows, own, strict=True):
            row |= {f"{backend} {batch} ms": f"{ms:.3f}", f"{backend} {batch} base ms": f"{base_ms:.3f}"}
    return rows


def report(rows: list[dict[str, str]]) -> str:
    """Accuracy and speed with branches against those without, paired by seed."""
    by_depth = {depth: {r["seed"]: r for r in rows if r["depth"] == depth} for depth in ("0", "1")}
    seeds = sorted(set(by_depth["0"]) & set(by_depth["1"]))
    pairs = [(by_depth["0"][s], by_depth["1"][s]) for s in seeds]
    gaps = [100 * (float(b["accuracy"]) - float(a["accuracy"])) for a, b in pairs]
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    lines = [
        f"widths alone {', '.join(a['accuracy'] for a, _ in pairs)}",
        f"with depth {', '.join(b['accuracy'] for _, b in pairs)}",
        f"with depth minus without: {statistics.mean(gaps):+.2f} points (standard error {error:.2f})",
        f"closed: {'; '.join(b['closed'] or 'none' for _, b in pairs)}",
    ]
    for backend, batch in TIMED:
        key = f"{backend} {batch} ms"
        ratios = [float(a[key]) / float(b[key]) for a, b in pairs]
        base = [float(b[f"{backend} {batch} base ms"]) / float(b[key]) for _, b in pairs]
        lines.append(
            f"{backend}, batch {batch}: {', '.join(f'{r:.2f}' for r in ratios)} times as fast as widths alone, "
            f"{statistics.median(base):.2f} times as fast as the base"
        )
    return "\n".join(lines)


def main() -> None:
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10", help="a data set by name, or an .npz")
    parser.add_argument("--root", default=None)
    parser.add_argument("--model", default="cifar/resnet20")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/depth.csv"))
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--budget", type=float, default=25.0, help="percent of the MACs")
    parser.add_argument("--divisor", type=int, default=8)
    parser.add_argument("--epochs", type=numbers, default=[12, 8, 16], help="base, search, retrain")
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--report", action="store_true", help="only summarise --out")
    options = parser.parse_args()
    rows = read_rows(options.out)
    for seed in [] if options.report else options.seeds:
        if (str(seed), str(options.divisor)) in {(row["seed"], row["multiple"]) for row in rows}:
            continue
        rows += append_rows(options.out, FIELDS, run_seed(options, seed))
    print(report(rows))


if __name__ == "__main__":
    main()
