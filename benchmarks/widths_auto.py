"""What do widths that processors like cost in accuracy? The same job with `divisor` 1, 16 and auto, from the same base.

VGG16's proportions at a quarter width and a MobileNetV2, on a part of CIFAR-10 at 16x16, three seeds: a base is trained
once for each network and seed, then `dnal.learn` with each divisor cuts it to a share of the MACs and retrains it, with
equal samples and seeds. `used` is the share of the budget that the result has. A row that is there is not made again;
without --data the table of those is printed alone.

    OMP_NUM_THREADS=1 python benchmarks/widths_auto.py --data cifar10.npz
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import dnal
from dnal.base.statistics import paired
from dnal.pipeline.plan import WARMUP
from dnal.settings import DEFAULT_LR
from dnal.train.outputs import task_loss
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.setup.numerics import fabric_of
from paired import machine
from result_file import append_rows, read_rows

FIELDS = ("network", "images", "epochs", "share", "seed", "divisor", "base accuracy", "accuracy", "used", "widths",
          "machine")  # fmt: skip
NUMERICS = "precision=32-true,memory_format=contiguous"
DIVISORS = ("1", "auto", "16")
SEEDS = (0, 1, 2)
TESTED = 4000
"""Test images."""


@dataclass(frozen=True)
class Case:
    """A network, and how it is trained: images, epochs of the base, of search and retraining."""

    model: str
    images: int
    base: int
    rest: tuple[int, int, int]
    shares: tuple[float, ...]


CASES = (
    Case("cifar/vgg16_bn_quarter", 3000, 6, (0, 1, 3), (0.25,)),
    Case("cifar/mobilenet_v2", 2000, 6, (0, 1, 3), (0.25,)),
)


def rows_of(case: Case, seed: int, data: str, known: set[tuple[str, ...]], out: Path) -> None:
    wanted = [
        (share, divisor)
        for share in case.shares
        for divisor in DIVISORS
        if (case.model, f"{share:g}", str(seed), divisor) not in known
    ]
    if not wanted:
        return
    dataset = dnal.data.load(data, input_shape=(3, 16, 16), limit_train=case.images, seed=0)

    def loaders() -> tuple[Any, Any, Any]:
        train, val, test = dnal.data.loaders(dataset, 64, seed=seed, eval_batch_size=500)
        return train, val, list(itertools.islice(test, TESTED // 500))

    torch.manual_seed(seed)
    network = dnal.models.create(case.model, classes=10, input_shape=(3, 16, 16))
    run_phase(
        Phase("base", case.base, DEFAULT_LR, WARMUP), network, Context(fabric_of("32-true"), loaders()[0], task_loss)
    )
    network.eval()
    for share, divisor in wanted:
        learned = dnal.learn(
            copy.deepcopy(network), *loaders(), budget=f"macs<={100 * share:g}%", epochs=case.rest, method="dnal",
            seed=seed, widths=f"divisor={divisor}", numerics=NUMERICS, base_is_trained=True,
        )  # fmt: skip
        figures = learned.figures
        row = {
            "network": case.model, "images": case.images, "epochs": "+".join(map(str, (case.base, *case.rest[1:]))),
            "share": f"{share:g}", "seed": seed, "divisor": divisor,
            "base accuracy": f"{100 * figures.base.metric:.2f}", "accuracy": f"{100 * figures.compact.metric:.2f}",
            "used": f"{figures.compact.macs / (share * figures.base.macs):.4f}",
            "widths": " ".join(
                str(module.weight.shape[0])
                for module in learned.network.modules()
                if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
            ),
            "machine": machine(),
        }  # fmt: skip
        print(row, flush=True)
        append_rows(out, FIELDS, [row])


def table(rows: list[dict[str, str]]) -> str:
    """Mean accuracies, and each divisor minus 1 over the same bases with its interval of 95 %."""
    lines = ["| network, share of the MACs | divisor | bases | accuracy | minus divisor 1, points | least used |"]
    lines.append("|---|---|---|---|---|---|")
    for network, share in dict.fromkeys((row["network"], row["share"]) for row in rows):
        own = [row for row in rows if (row["network"], row["share"]) == (network, share)]
        by = {d: {r["seed"]: float(r["accuracy"]) for r in own if r["divisor"] == d} for d in DIVISORS}
        for divisor, found in by.items():
            if not found:
                continue
            both = sorted(found.keys() & by["1"].keys())
            apart = ""
            if divisor != "1" and len(both) > 1:
                each = paired(found, by["1"])
                apart = f"{each.value:+.1f} [{each.low:+.1f}, {each.high:+.1f}]"
            used = min(float(row["used"]) for row in own if row["divisor"] == divisor)
            lines.append(
                f"| {network}, {float(share):.0%} | {divisor} | {len(found)} | {statistics.mean(found.values()):.1f} "
                f"| {apart} | {used:.4f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.data:
        for case in CASES:
            for seed in SEEDS:
                known = {(r["network"], r["share"], r["seed"], r["divisor"]) for r in read_rows(options.out)}
                rows_of(case, seed, options.data, known, options.out)
    print(table(read_rows(options.out)))


if __name__ == "__main__":
    main()
