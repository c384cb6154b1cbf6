"""By which rule can a base teach what is left of it, without harm where it knows little?

Bases of several lengths of training, all channels cut to uniform widths at a quarter of the MACs, and retrained with
one teaching rule each, at one learning rate: the loss of accuracy against no teacher is what a rule costs. The last
10,000 training images of CIFAR-10 are the test data here, so that no test data decide. Rows that are there are kept.

OMP_NUM_THREADS=1 python benchmarks/teaching.py --data cifar10.npz
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn

import dnal
from dnal import data, models
from dnal.base.statistics import paired
from dnal.methods.magnitude import l1_scores
from dnal.methods.uniform import uniform_scores
from dnal.techniques import TECHNIQUES
from dnal.train.evaluate import accuracy
from dnal.train.phase import Context, Phase, run_phase
from held_out import held_out
from result_file import append_rows, read_rows

FIELDS = ("network", "base_epochs", "epochs", "seed", "teacher", "accuracy", "base_accuracy", "torch")
NETWORKS = ("cifar/vgg16_bn_quarter", "cifar/resnet20")
LENGTHS = {8: (8, 0.05), 30: (3, 0.03)}
"""Epochs of the base, and the epochs and the rate of the retraining: half as many samples, or a tenth."""
TEACHERS = (
    "", "distillation:heard=always", "distillation:heard=known", "distillation:heard=known,fades=true",
    "distillation:heard=always,fades=true", "distillation:heard=right,fades=true", "distillation:heard=better",
    "distillation:heard=better,fades=true", "distillation:weight=0.5,heard=always",
)  # fmt: skip
SHAPE, IMAGES, TESTED, SHARE = (3, 16, 16), 6000, 4000, 0.25


def rows_of(
    name: str, epochs: int, seed: int, teachers: list[str], dataset: data.Dataset, out: Path
) -> list[dict[str, str]]:
    retraining, lr = LENGTHS[epochs]
    loaders, fabric = data.loaders(dataset, 64, seed=seed, eval_batch_size=500), Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(seed)
    base = models.create(name, classes=dataset.classes, input_shape=SHAPE).to(memory_format=torch.channels_last)
    run_phase(Phase("base", epochs, 0.1, 0.1), base, Context(fabric, loaders.train, F.cross_entropy))
    base, known, made = base.eval(), accuracy(base, loaders.test), []
    space = dnal.Space.of(base, next(iter(loaders.val))[0][:2])
    stays = dnal.select(space, uniform_scores(space, l1_scores(base, space)), {"macs": SHARE * space.full_cost["macs"]})
    place = loaders.train.state_dict()
    for teacher in teachers:
        loaders.train.load_state_dict(place)
        torch.manual_seed(seed)
        small: nn.Module = dnal.compact(copy.deepcopy(base), dnal.Architecture.of(space, stays))
        taught = (TECHNIQUES.read(teacher),) if teacher else ()
        context = Context(fabric, loaders.train, F.cross_entropy, base)
        run_phase(Phase("retrain", retraining, lr, techniques=taught), small, context)
        row = {
            "network": name, "base_epochs": epochs, "epochs": retraining, "seed": seed, "teacher": teacher,
            "accuracy": f"{100 * accuracy(small.eval(), loaders.test):.2f}", "base_accuracy": f"{100 * known:.2f}",
            "torch": torch.__version__.split("+")[0],
        }  # fmt: skip
        made += append_rows(out, FIELDS, [row])
        print(row, flush=True)
    return made


def report(rows: list[dict[str, str]]) -> None:
    """Each rule minus no teacher, per length of the base's training: mean over networks and seeds, and its interval."""
    for epochs in dict.fromkeys(row["base_epochs"] for row in rows):
        for teacher in TEACHERS:
            own, none = (
                {
                    (row["network"], row["seed"]): float(row["accuracy"])
                    for row in rows if (row["base_epochs"], row["teacher"]) == (epochs, each)
                }
                for each in (teacher, "")
            )  # fmt: skip
            if teacher and own:
                found = paired(own, none)
                print(
                    f"base of {epochs} epochs: {teacher:45} {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}] "
                    f"({len(own)})"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as an .npz file")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--work", type=Path, default=Path("teaching"), help="folder for the data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    options = parser.parse_args()
    rows = read_rows(options.out)
    source = str(held_out(options.data, options.work, TESTED))
    dataset = data.load(source, input_shape=SHAPE, limit_train=IMAGES, seed=0)
    for seed in options.seeds:
        for epochs in LENGTHS:
            for name in NETWORKS:
                known = {
                    row["teacher"] for row in rows
                    if (row["network"], row["base_epochs"], row["seed"]) == (name, str(epochs), str(seed))
                }  # fmt: skip
                left = [teacher for teacher in TEACHERS if teacher not in known]
                if left:
                    rows += rows_of(name, epochs, seed, left, dataset, options.out)
    report(rows)


if __name__ == "__main__":
    main()
