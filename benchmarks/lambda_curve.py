"""Does lambda trace the trade-off of the method `paper`?

    python benchmarks/lambda_curve.py --out benchmarks/lambda_curve.csv

arXiv 2103.02126 goes from 1e-5 to 5e-4 on VGG16 with 4,224 channels and some thousand steps of the architecture phase;
here it is `vgg_small` on the digits with 448 channels and 210 steps. A channel's gradient from the task is larger where
there are fewer of them, and s moves by lr / (1 - momentum) times the gradient a step, so the paper's seven values are
all multiplied by one number (`--scale`). One base per seed, three seeds; a row per lambda: MACs and accuracy after
retraining.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch

import dnal
from dnal.methods.paper import Paper
from result_file import append_rows, read_rows

LAMBDAS = (1e-5, 5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--scale", type=float, default=100.0)
    parser.add_argument("--epochs", nargs=3, type=int, default=[10, 10, 10])
    options = parser.parse_args()
    done = {(row["seed"], row["lambda"]) for row in read_rows(options.out)}
    digits = dnal.data.load("digits")
    for seed in options.seeds:
        torch.manual_seed(seed)
        base = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
        trained = False
        for number in LAMBDAS:
            lambda_ = number * options.scale
            if (str(seed), f"{lambda_:g}") in done:
                continue
            train, val, test = dnal.data.loaders(digits, 64, seed=seed)
            network = copy.deepcopy(base)
            first, second, third = options.epochs
            learned = dnal.learn(
                network, train, val, test, method=Paper(penalty=lambda_), base_is_trained=trained, seed=seed,
                epochs=(first, second, third), lr=1.0 if trained else 0.1,  # a tenth of it after a trained base
            )  # fmt: skip
            base, trained = network, True
            row = {
                "seed": seed,
                "paper_lambda": f"{number:g}",
                "lambda": f"{lambda_:g}",
                "macs": int(learned.figures.compact.macs),
                "macs_share": f"{learned.figures.compact.macs / learned.figures.base.macs:.4f}",
                "params": int(learned.figures.compact.params),
                "accuracy": f"{learned.figures.compact.metric:.4f}",
                "base_accuracy": f"{learned.figures.base.metric:.4f}",
                "epochs": "+".join(map(str, options.epochs)),
            }
            print(row, flush=True)
            append_rows(options.out, list(row), [row])


if __name__ == "__main__":
    main()
