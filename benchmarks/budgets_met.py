"""Are budgets met? What was asked, and what is counted on the compact network.

    python benchmarks/budgets_met.py --data cifar10 --out benchmarks/budgets_met.csv

`dnal.learn` on the three CIFAR networks at 32x32 with a few epochs of few images: what is measured here is the cost,
not the accuracy. The same settings for every budget and network. Residual branches stay: with one closed, the memory
that is stated is an upper bound.

* one: 80, 50, 25, 10 and 5 % of the MACs, with every width (divisor 1; `multiple` in the result file) and with
  multiples of 8.
* several: two and three bounds at once (memory: bytes of live activations at batch 1).
* impossible: less than the narrowest network has; refused before any training, and what the refusal says.

`used` is the largest of got / asked over the bounds, counted on the compact network; `hard_used` the same for {s > 0}
at the end of the search, before the selection; `undecided` the share of gates in (.1, .9) there. Rows are appended as
they are done, and a row that is there is not run again.
"""

from __future__ import annotations

import argparse
import copy
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

import dnal
from dnal import data, models
from dnal.settings import Widths
from dnal.studies.phases import train
from result_file import append_rows, read_rows

MODELS = ("cifar/vgg16_bn", "cifar/resnet56", "cifar/mobilenet_v2")
ONE = [f"macs<={share}%" for share in (80, 50, 25, 10, 5)]
SEVERAL = ["macs<=25%,params<=20%", "macs<=40%,memory<=60%", "macs<=30%,params<=30%,memory<=50%"]
IMPOSSIBLE = ["macs<=0.01%"]
FIELDS = (
    "kind", "model", "multiple", "budget", "used", "holds", "got", "tight", "hard_used", "undecided", "hard_accuracy",
    "base_accuracy", "accuracy", "seconds", "refused",
)  # fmt: skip


class Bench:
    """A base network, trained once, and the jobs that start from it."""

    def __init__(self, model: str, options: argparse.Namespace) -> None:
        self.options = options
        dataset = data.load(options.data, root=options.root, limit_train=options.images, seed=0)
        loaders = data.loaders(dataset, options.batch_size, seed=0, eval_batch_size=128)
        self.train = loaders.train
        self.val, self.test = list(islice(loaders.val, 1)), list(islice(loaders.test, 2))
        torch.manual_seed(0)
        self.base = models.create(model, classes=dataset.classes, input_shape=dataset.input_shape)
        self.base.to(memory_format=torch.channels_last)
        train(Fabric(accelerator="auto", devices=1), self.base, self.train, options.epochs[0], 0.1, warmup=0.1)

    def row(self, budget: str, divisor: int) -> dict[str, Any]:
        begun = time.perf_counter()
        network: nn.Module = copy.deepcopy(self.base)
        try:
            learned = dnal.learn(
                network, self.train, self.val, self.test, budget, base_is_trained=True, without=["distillation"],
                epochs=(0, *self.options.epochs[1:]), widths=Widths(divisor=divisor, prune_blocks=False),
            )  # fmt: skip
        except dnal.UserError as error:
            return {"refused": str(error)}
        limits = {row["cost"]: row["asked"] for row in learned.constraints}
        got = {row["cost"]: row["got"] / row["asked"] for row in learned.constraints}
        last = [record for record in learned.history if record["phase"] == "architecture"][-1]
        return {
            "used": f"{max(got.values()):.4f}",
            "holds": int(max(got.values()) <= 1),
            "got": " ".join(f"{cost}={share:.4f}" for cost, share in got.items()),
            "tight": " ".join(cost for cost, share in got.items() if 0.97 <= share <= 1),
            "hard_used": f"{max(last[f'{cost}_hard'] / limit for cost, limit in limits.items()):.4f}",
            "undecided": f"{last['undecided']:.4f}",
            "hard_accuracy": f"{last['accuracy']:.4f}",
            "base_accuracy": f"{learned.figures.base.metric:.4f}",
            "accuracy": f"{learned.figures.compact.metric:.4f}",
            "seconds": f"{time.perf_counter() - begun:.0f}",
        }


def report(rows: list[dict[str, str]]) -> str:
    lines = []
    for kind, multiple in sorted({(row["kind"], row["multiple"]) for row in rows}):
        those = [row for row in rows if (row["kind"], row["multiple"]) == (kind, multiple)]
        run = [row for row in those if not row["refused"]]
        line = f"{kind}, multiple {multiple}: {len(those)} rows, {len(those) - len(run)} refused"
        if run:
            used = [float(row["used"]) for row in run]
            line += (
                f"; all bounds hold in {sum(int(row['holds']) for row in run)} of {len(run)}, used at least "
                f"{min(used):.4f}, one bound tight (97 %) in {sum(bool(row['tight']) for row in run)}; before the "
                f"selection at least {min(float(row['hard_used']) for row in run):.4f}; undecided at most "
                f"{max(float(row['undecided']) for row in run):.4f}"
            )
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10", help="a data set by name, or an .npz")
    parser.add_argument("--root", default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/budgets_met.csv"))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--kinds", nargs="+", default=["one", "several", "impossible"])
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, nargs=3, default=[1, 2, 0], help="base, architecture, retraining")
    parser.add_argument("--report", action="store_true", help="only print the summary of --out")
    options = parser.parse_args()
    jobs = [("one", 1, budget) for budget in ONE] + [("one", 8, budget) for budget in ONE]
    jobs += [("several", 1, budget) for budget in SEVERAL] + [("impossible", 1, budget) for budget in IMPOSSIBLE]
    rows = read_rows(options.out)
    done = {(row["kind"], row["model"], int(row["multiple"]), row["budget"]) for row in rows}
    for model in () if options.report else options.models:
        wanted = [
            (kind, multiple, budget)
            for kind, multiple, budget in jobs
            if kind in options.kinds and (kind, model, multiple, budget) not in done
        ]
        bench = Bench(model, options) if wanted else None
        for kind, multiple, budget in wanted:
            assert bench is not None
            row = {"kind": kind, "model": model, "multiple": multiple, "budget": budget, **bench.row(budget, multiple)}
            print(row, flush=True)
            rows += append_rows(options.out, FIELDS, [row])
    print(report(rows))


if __name__ == "__main__":
    main()
