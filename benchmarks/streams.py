"""Do the streams of a vision transformer pay as variables? The same bases under the same budgets, norms fixed and open.

A transformer of patches of 4 on CIFAR-10 at 32x32, trained from new weights, then cut by each method to shares of its
MACs and trained on for a fifth of the base's epochs, nothing teaches. "uniform" with open norms narrows every layer and
the stream alike. Rows that are there are kept.

OMP_NUM_THREADS=1 python benchmarks/streams.py --data cifar10.npz
"""

from __future__ import annotations

import argparse
import copy
import itertools
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn

import dnal
from dnal import data
from dnal.base.statistics import paired
from dnal.settings import Widths
from dnal.train.evaluate import accuracy
from dnal.train.optimizers import optimizer_of
from dnal.train.phase import Context, Phase, run_phase
from result_file import append_rows, read_rows

FIELDS = (
    "norms",
    "method",
    "share",
    "seed",
    "accuracy",
    "base_accuracy",
    "macs_share",
    "stream",
    "images",
    "epochs",
    "torch",
)
NORMS, METHODS, SHARES = ("fixed", "open"), ("dnal", "obs", "uniform", "magnitude"), (50, 25)
SHAPE, LR = (3, 32, 32), 1e-3


def transformer() -> nn.Module:
    made: nn.Module = timm.models.VisionTransformer(
        img_size=32, patch_size=4, num_classes=10, embed_dim=96, depth=4, num_heads=4
    )
    return made


def rows_of(seed: int, options: argparse.Namespace, known: set[tuple[str, str, str]]) -> list[dict[str, str]]:
    dataset = data.load(str(options.data), input_shape=SHAPE, limit_train=options.images, seed=0)
    torch.manual_seed(seed)
    loaders, base = data.loaders(dataset, 64, seed=seed, eval_batch_size=500), transformer()
    phase = Phase("base", options.epochs, LR, warmup=0.1, optimizer=optimizer_of("adamw"))
    run_phase(phase, base, Context(Fabric(accelerator="cpu", devices=1), loaders.train, F.cross_entropy))
    before, made, place = accuracy(base.eval(), loaders.test), [], loaders.train.state_dict()
    left = max(1, options.epochs // 5)
    for norms, method, share in itertools.product(NORMS, METHODS, SHARES):
        if (norms, method, str(share)) in known:
            continue
        loaders.train.load_state_dict(place)
        widths = Widths(norms="open" if norms == "open" else "fixed", prune_blocks=False)
        learned = dnal.learn(
            copy.deepcopy(base), loaders.train, loaders.val, loaders.test, f"macs<={share}%", method=method,
            techniques=(), without=("distillation",), base_is_trained=True, epochs=left, lr=LR, optimizer="adamw",
            seed=seed, widths=widths,
        )  # fmt: skip
        macs = [dnal.macs(network, torch.zeros(1, *SHAPE)) for network in (learned.network, base)]
        row = {
            "norms": norms, "method": method, "share": share, "seed": seed,
            "accuracy": f"{100 * accuracy(learned.network, loaders.test):.2f}", "base_accuracy": f"{100 * before:.2f}",
            "macs_share": f"{macs[0] / macs[1]:.4f}", "stream": learned.network.get_parameter("norm.weight").numel(),
            "images": options.images, "epochs": options.epochs, "torch": torch.__version__.split("+")[0],
        }  # fmt: skip
        made += append_rows(options.out, FIELDS, [row])
        print(row, flush=True)
    return made


def report(rows: list[dict[str, str]]) -> None:
    """Open minus fixed norms: the mean over seeds, and its interval."""
    for method, share in itertools.product(METHODS, SHARES):
        opened, fixed = (
            {
                row["seed"]: float(row["accuracy"])
                for row in rows
                if (row["norms"], row["method"], row["share"]) == (norms, method, str(share))
            }
            for norms in ("open", "fixed")
        )
        if len(opened.keys() & fixed.keys()) > 1:
            found = paired(opened, fixed)
            print(f"{method:12}{share:3} %  open - fixed {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as an .npz file")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--epochs", type=int, default=30, help="of the base")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    rows = read_rows(options.out)
    for seed in options.seeds:
        known = {(row["norms"], row["method"], row["share"]) for row in rows if row["seed"] == str(seed)}
        if len(known) < len(NORMS) * len(METHODS) * len(SHARES):
            rows += rows_of(seed, options, known)
    report(rows)


if __name__ == "__main__":
    main()
