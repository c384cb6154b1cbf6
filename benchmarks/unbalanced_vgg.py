"""Who chooses the better widths? A network whose widths are not balanced for its task, at 15 % of its MACs.

    python benchmarks/unbalanced_vgg.py --data cifar10 --out benchmarks/unbalanced_vgg.csv

VGG16's proportions at a quarter width on CIFAR-10 at 16x16. Every method sees the same number of images: the epochs of
the base plus what follows. Two tables: without and with distillation (same teacher, loss and weight).

* dnal: the method of that name. paper: so too, lambda by bisection on the first seed, then the ranking of its s cut to
  the budget.
* uniform: the same share of every group, best by L1. magnitude: L1 over the whole network. random: the same share at
  random positions. All three are retrained for the epochs that the learning methods spend on architecture as well.
* scratch: uniform widths, new weights, trained for all epochs.

Rows are appended as they are done, and a row that is there is not run again.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

import dnal
from dnal import data, models
from dnal.methods.magnitude import l1_scores
from dnal.methods.paper import chosen
from dnal.methods.uniform import random_scores, uniform_scores
from dnal.pipeline.plan import RETRAIN_RATE
from dnal.selection.select import select
from dnal.settings import DEFAULT_LR
from dnal.studies.phases import search, search_by_paper, train
from dnal.train.evaluate import accuracy
from result_file import append_rows, read_rows

MODEL, SIZE, BUDGET = "cifar/vgg16_bn_quarter", (3, 16, 16), 15
METHODS = ("dnal", "paper", "uniform", "magnitude", "random", "scratch")
FIELDS = (
    "taught", "method", "seed", "accuracy", "base_accuracy", "macs", "macs_share", "params", "lambda",
    "epochs", "images", "seconds", "widths",
)  # fmt: skip


class Bench:
    """One seed: its data, its base network (trained once, shared by every method) and its teacher."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self.options, self.seed = options, seed
        self.fabric = Fabric(accelerator="auto", devices=1, precision=options.precision)
        self.dataset = data.load(options.data, root=options.root, input_shape=SIZE, limit_train=options.images, seed=0)
        self.base_epochs, self.search_epochs, self.retrain_epochs = options.epochs
        torch.manual_seed(seed)
        self.base = self.fresh()
        self.example = torch.zeros(2, *SIZE)
        self.space = dnal.Space.of(self.base, self.example)
        self.limits = {"macs": self.space.full_cost["macs"] * BUDGET / 100}
        train(self.fabric, self.base, self.loader(), self.base_epochs, DEFAULT_LR, warmup=0.1)
        self.base.eval()
        self.base_accuracy = self.test(self.base)

    def fresh(self) -> nn.Module:
        network = models.create(MODEL, classes=self.dataset.classes, input_shape=SIZE)
        return network.to(memory_format=torch.channels_last)

    def loader(self) -> data.EpochLoader:
        return data.loaders(self.dataset, self.options.batch_size, seed=self.seed).train

    def test(self, network: nn.Module) -> float:
        return accuracy(network, data.loaders(self.dataset, 500, seed=0).test)

    def run(self, method: str, taught: bool, lambda_: float) -> dict[str, object]:
        begun = time.perf_counter()
        torch.manual_seed(1000 + self.seed)
        teacher = self.base if taught else None
        network = copy.deepcopy(self.base)
        later, rate = self.search_epochs + self.retrain_epochs, RETRAIN_RATE * DEFAULT_LR
        if method == "dnal":
            scores = search(
                self.fabric, network, self.space, self.limits, self.loader(), self.search_epochs, teacher=teacher
            )
            later = self.retrain_epochs
        elif method == "paper":
            scores = self.paper_scores(network, lambda_, teacher)
            later = self.retrain_epochs
        elif method == "magnitude":
            scores = l1_scores(network, self.space)
        elif method == "uniform":
            scores = uniform_scores(self.space, l1_scores(network, self.space))
        elif method == "random":
            scores = uniform_scores(self.space, random_scores(self.space, self.seed))
        else:
            network = self.fresh()
            scores = uniform_scores(self.space, random_scores(self.space, self.seed))
            later, rate = self.base_epochs + self.search_epochs + self.retrain_epochs, DEFAULT_LR
        architecture = dnal.Architecture.of(self.space, select(self.space, scores, self.limits))
        small = dnal.compact(network, architecture)
        small.to(memory_format=torch.channels_last)
        warmup = 0.1 if method == "scratch" else 0.0
        train(self.fabric, small, self.loader(), later, rate, warmup=warmup, teacher=teacher)
        macs = dnal.macs(small, self.example)
        epochs = self.base_epochs + self.search_epochs + self.retrain_epochs
        return {
            "taught": int(taught),
            "method": method,
            "seed": self.seed,
            "accuracy": f"{self.test(small):.4f}",
            "base_accuracy": f"{self.base_accuracy:.4f}",
            "macs": macs,
            "macs_share": f"{macs / self.space.full_cost['macs']:.4f}",
            "params": sum(p.numel() for p in small.parameters()),
            "lambda": f"{lambda_:.3g}" if method == "paper" else "",
            "epochs": "+".join(map(str, self.options.epochs)),
            "images": epochs * len(self.dataset.train),
            "seconds": f"{time.perf_counter() - begun:.0f}",
            "widths": " ".join(str(int(architecture.open[g.variables].sum())) for g in self.space.groups),
        }

    def paper_scores(self, network: nn.Module, lambda_: float, teacher: nn.Module | None) -> Tensor:
        return search_by_paper(
            self.fabric, network, self.space, self.loader(), self.search_epochs, lambda_, teacher=teacher
        )

    def find_lambda(self, taught: bool) -> float:
        """The penalty whose thresholded architecture comes nearest the budget: bisection on its logarithm."""
        low, high, best = 1e-6, 1e-1, (float("inf"), 1e-4)
        for _ in range(self.options.bisections):
            middle = (low * high) ** 0.5
            s = self.paper_scores(copy.deepcopy(self.base), middle, self.base if taught else None)
            share = float(self.space.costs["macs"](chosen(self.space, s, 1e4))) / self.limits["macs"]
            print(f"  lambda {middle:.3g}: {share:.3f} of the budget", flush=True)
            best = min(best, (abs(share - 1), middle))
            low, high = (middle, high) if share > 1 else (low, middle)
        return best[1]


def report(rows: list[dict[str, str]]) -> str:
    """Markdown tables: mean, spread and paired difference to dnal, in points."""
    return "\n".join(
        line
        for taught, title in (("0", "Without distillation"), ("1", "With distillation"))
        for line in table(title, [row for row in rows if row["taught"] == taught])
    )


def table(title: str, rows: list[dict[str, str]]) -> list[str]:
    accuracies: dict[str, dict[str, float]] = {}
    shares: dict[str, list[float]] = {}
    for row in rows:
        accuracies.setdefault(row["method"], {})[row["seed"]] = 100 * float(row["accuracy"])
        shares.setdefault(row["method"], []).append(100 * float(row["macs_share"]))
    lines = [f"\n{title}\n", "| method | mean (spread) | each seed | dnal minus it, mean [each] | MACs, % |"]
    lines.append("|---|---|---|---|---|")
    ours = accuracies.get("dnal", {})
    for method, own in sorted(accuracies.items(), key=lambda item: -statistics.mean(item[1].values())):
        gaps = [ours[seed] - own[seed] for seed in sorted(own) if seed in ours and method != "dnal"]
        spread = statistics.stdev(own.values()) if len(own) > 1 else 0.0
        cells = (
            method,
            f"{statistics.mean(own.values()):.2f} ({spread:.2f})",
            ", ".join(f"{own[seed]:.2f}" for seed in sorted(own)),
            f"{statistics.mean(gaps):+.2f} [{', '.join(f'{gap:+.2f}' for gap in gaps)}]" if gaps else "",
            f"{min(shares[method]):.2f} to {max(shares[method]):.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers: Callable[[str], list[int]] = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--data", default="cifar10", help="a data set by name, or an .npz")
    parser.add_argument("--root", default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/unbalanced_vgg.csv"))
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--taught", type=numbers, default=[0, 1])
    parser.add_argument("--epochs", type=numbers, default=[16, 8, 16], help="base, search, retrain")
    parser.add_argument("--images", type=int, default=15000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--bisections", type=int, default=7)
    parser.add_argument("--lambdas", type=float, nargs=2, default=None, help="skip the bisections (not taught, taught)")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--report", action="store_true", help="only print the tables of --out")
    options = parser.parse_args()
    rows = read_rows(options.out)
    done = {(row["taught"], row["method"], row["seed"]) for row in rows}
    if not options.report:
        lambdas: dict[int, float] = {}
        for row in rows:
            if row["method"] == "paper":
                lambdas.setdefault(int(row["taught"]), float(row["lambda"]))
        if options.lambdas:
            lambdas = dict(enumerate(options.lambdas))
        for seed in options.seeds:
            wanted = [(t, m) for t in options.taught for m in options.methods if (str(t), m, str(seed)) not in done]
            if not wanted:
                continue
            bench = Bench(options, seed)
            print(f"seed {seed}: base {bench.base_accuracy:.4f}", flush=True)
            for taught, method in wanted:
                if method == "paper" and taught not in lambdas:
                    lambdas[taught] = bench.find_lambda(bool(taught))
                row = bench.run(method, bool(taught), lambdas.get(taught, 0.0))
                print(row, flush=True)
                rows += append_rows(options.out, FIELDS, [row])
    print(report(rows))


if __name__ == "__main__":
    main()
