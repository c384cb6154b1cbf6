"""What does a technique add to a training step, and what do the scores of the data diet cost?

Two tables, in CPU seconds of one thread, each measured in turns within one run:

* `techniques_step.csv`: the median time of a step with a technique over that of a plain one, and what the technique
  does once before the first step, in plain steps.
* `techniques_scores.csv`: EL2N of all images over a plain evaluation pass over them, GraNd by torch.func over a plain
  training pass. The images are noise of CIFAR-10's shape: their content changes no time.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/techniques.py
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal import models
from dnal.techniques import TECHNIQUES
from dnal.techniques.data_diet import el2n, grand
from dnal.train.loader import Loader
from dnal.train.optimizers import sgd
from dnal.train.outputs import task_loss
from dnal.train.step import Step
from dnal.train.technique import Scene
from paired import medians
from result_file import write_rows

NETWORKS = (("cifar/resnet20", (3, 32, 32)), ("vgg_small", (3, 16, 16)))
SHAPE = (3, 32, 32)
STEPS = (
    "clipping", "distillation", "ema", "label-smoothing", "mixup", "swa", "weight-compander",
    "weight-compander:learn=layer", "nio", "nio:scales=one", "scaling",
)  # fmt: skip
"""Data diet is left out: it changes which images are seen, not the step."""
BATCH, LR = 64, 0.01


class Images(list[tuple[Tensor, Tensor]]):
    """Training batches of noise."""


def stepping(network: nn.Module, technique: str, loader: Loader) -> tuple[Callable[[], object], float]:
    """A step with a technique, or a plain one where it is empty; the seconds of what the technique does before."""
    base, used = copy.deepcopy(network).eval(), [TECHNIQUES.read(technique)] if technique else []
    scene = Scene("retrain", 1, 1000, base, task_loss)
    begun = time.process_time()
    for one in used:
        loader = one.data(loader, scene)
        one.prepare(network, scene)
    once = time.process_time() - begun
    optimizer = sgd(network, LR)
    added = [parameter for one in used for parameter in one.parameters()]
    if added:
        optimizer.add_param_group({"params": added, "weight_decay": 0.0})
    for one in used:
        one.optimizer(optimizer)
    step = Step(Fabric(accelerator="cpu", devices=1), network, optimizer, task_loss, lambda _: LR, used)
    step.module.train()
    batch = next(iter(loader))
    return lambda: step(batch, 0.5), once


def steps(name: str, shape: tuple[int, int, int], repeats: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    loader = Images([(torch.randn(BATCH, *shape), torch.randint(0, 10, (BATCH,))) for _ in range(2)])
    network = models.create(name, classes=10, input_shape=shape)
    made = {each: stepping(copy.deepcopy(network), each, loader) for each in ("", *STEPS)}
    median = medians({each: step for each, (step, _) in made.items()}, repeats, 3, time.process_time)
    return [
        {
            "network": name, "technique": each, "batch": BATCH, "repeats": repeats,
            "plain_ms": f"{1e3 * median['']:.1f}", "ratio": f"{median[each] / median['']:.3f}",
            "before_in_steps": f"{made[each][1] / median['']:.1f}", "torch": torch.__version__.split("+")[0],
        }
        for each in STEPS
    ]  # fmt: skip


def scores(name: str, shape: tuple[int, int, int], images: int, repeats: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    network = models.create(name, classes=10, input_shape=shape).eval()
    x, y = torch.randn(images, *shape), torch.randint(0, 10, (images,))
    optimizer = sgd(network, LR)
    chunks = [slice(start, start + 256) for start in range(0, images, 256)]

    def evaluated(measure: Callable[[Tensor, Tensor], object]) -> None:
        with torch.no_grad():
            for rows in chunks:
                measure(network(x[rows]), y[rows])

    def trained() -> None:
        network.train()
        for start in range(0, images, BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(x[start : start + BATCH]), y[start : start + BATCH]).backward()
            optimizer.step()
        network.eval()

    median = medians(
        {
            "evaluation": lambda: evaluated(lambda logits, targets: (logits.argmax(1) == targets).sum()),
            "el2n": lambda: evaluated(el2n),
            "training": trained,
            "grand": lambda: grand(network, x, y),
        },
        repeats, 1, time.process_time,
    )  # fmt: skip
    return [
        {
            "network": name, "score": score, "over": over, "images": images, "repeats": repeats,
            "pass_seconds": f"{median[over]:.2f}", "ratio": f"{median[score] / median[over]:.3f}",
            "torch": torch.__version__.split("+")[0],
        }
        for score, over in (("el2n", "evaluation"), ("grand", "training"))
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the folder of both tables")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    write_rows(options.out / "techniques_step.csv", [row for each in NETWORKS for row in steps(*each, options.repeats)])
    write_rows(
        options.out / "techniques_scores.csv",
        [row for each in NETWORKS for row in scores(*each, options.images, 3)],
    )


if __name__ == "__main__":
    main()
