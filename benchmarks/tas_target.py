"""Does the search of TAS end at its target, before the selection sees to it? Digits, MACs of the arg-max architecture,
as a share of the target: of the last step, and of the last step that was on target, which is what is found.

python benchmarks/tas_target.py --out benchmarks/tas_target.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import dnal
from result_file import append_rows, read_rows

FIELDS = ("model", "target", "seed", "epochs", "last_step", "found", "accuracy", "after_selection")
BAR = 0.05


def row(model: str, target: float, seed: int, epochs: int) -> dict[str, object]:
    torch.manual_seed(seed)
    data = dnal.data.loaders(dnal.data.load("digits"), 64)
    network = dnal.models.create(model, classes=10, input_shape=(1, 8, 8))
    learned = dnal.learn(
        network, data.train, data.val, data.test, f"macs<={100 * target:g}%", method="tas",
        epochs=(5, epochs, 5), seed=seed,
    )  # fmt: skip
    last = [record for record in learned.history if record["phase"] == "architecture"][-1]
    wanted = target * learned.figures.base.macs
    return {
        "model": model, "target": target, "seed": seed, "epochs": epochs,
        "last_step": f"{last['macs_hard'] / wanted:.3f}", "found": f"{last['macs_found'] / wanted:.3f}",
        "accuracy": f"{learned.figures.compact.metric:.4f}",
        "after_selection": f"{learned.figures.compact.macs / wanted:.3f}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/tas_target.csv"))
    parser.add_argument("--models", nargs="+", default=["vgg_small", "cifar/resnet20"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    rows = read_rows(options.out)
    for model in options.models:
        for seed in range(options.seeds):
            for target in (0.3, 0.5, 0.7):
                wanted = (model, str(target), str(seed), str(options.epochs))
                if not any((r["model"], r["target"], r["seed"], r["epochs"]) == wanted for r in rows):
                    rows += append_rows(options.out, FIELDS, [row(model, target, seed, options.epochs)])
                    print(rows[-1], flush=True)
    for model in options.models:
        for which in ("last_step", "found"):
            shares = [float(r[which]) for r in rows if r["model"] == model]
            near = sum(abs(share - 1) <= BAR for share in shares)
            print(f"{model}, {which}: {near} of {len(shares)} within {BAR:.0%}; {min(shares)} to {max(shares)}")


if __name__ == "__main__":
    main()
