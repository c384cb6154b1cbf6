"""What is left of a trained network straight after the cut, repaired and not; and what curves and repair cost.

    OMP_NUM_THREADS=1 python benchmarks/repair_cut.py --cifar10 cifar10.npz --fashion fashion-mnist.npz
    OMP_NUM_THREADS=2 python benchmarks/repair_cut.py --time resnet50 vit_b_16 --out benchmarks/repair_time.csv

The first: ResNet-20 on CIFAR-10 and a small vision transformer on Fashion-MNIST, both at 16x16, trained once a seed;
then cut to shares of their MACs by the weights' norms (uniform widths, the whole network) or by curves. Nothing is
retrained; batch norm keeps its statistics. Curves and repair look at 512 training images, curves at a batch of the
validation data too, for its gradients; the accuracy is that of 2,000 test images.

The second: networks for images of 224x224, from 512 images in batches of 16. Seconds are of the statistics, the curves,
the order and the rebuilding; those of the Space, which every method needs, are not in them. The training step whose
memory is compared is a process of its own. CPU seconds count all threads.

Rows are appended as they are done, and what is there is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

import dnal
from dnal import data, models
from dnal.methods.magnitude import l1_scores
from dnal.methods.obs import curve_scores
from dnal.methods.uniform import uniform_scores
from dnal.repair.curves import RIDGE, curves_of
from dnal.repair.order import leaving
from dnal.repair.rebuild import rebuild
from dnal.repair.statistics import measured
from dnal.train.evaluate import accuracy
from dnal.train.optimizers import optimizer_of
from dnal.train.phase import Context, Phase, run_phase
from result_file import append_rows, read_rows

SHARES = (70, 50, 30)
SAMPLES, TESTED = 512, 2000
FIELDS = [
    "network", "data", "seed", "share", "chosen by", "repaired", "accuracy", "base accuracy", "macs share", "images",
    "epochs", "torch",
]  # fmt: skip
TIMES = [
    "network", "images", "batch", "threads", "seconds", "cpu seconds", "statistics cpu seconds", "curves cpu seconds",
    "order and rebuilding cpu seconds", "load before", "peak MB", "training step peak MB", "memory ratio", "variables",
    "groups", "curves", "torch",
]  # fmt: skip
BATCH = 16


def transformer(classes: int) -> nn.Module:
    """A small vision transformer for images of (1, 16, 16)."""
    import timm

    made: nn.Module = timm.models.VisionTransformer(
        img_size=16, patch_size=4, in_chans=1, num_classes=classes, embed_dim=96, depth=4, num_heads=4,
        class_token=False, global_pool="avg",
    )  # fmt: skip
    return made


def trained(name: str, options: argparse.Namespace, seed: int) -> tuple[nn.Module, data.Loaders, data.Loaders]:
    """A base, loaders for training, and loaders in which nothing is shuffled by an epoch before."""
    of_images = name == "resnet20"
    source, shape = (options.cifar10, (3, 16, 16)) if of_images else (options.fashion, (1, 16, 16))
    dataset = data.load(source, input_shape=shape, limit_train=options.images, seed=0)
    torch.manual_seed(seed)
    network = (
        models.create("cifar/resnet20", classes=dataset.classes, input_shape=shape)
        if of_images
        else transformer(dataset.classes)
    )
    loaders = data.loaders(dataset, 64, seed=seed, eval_batch_size=500)
    phase = Phase("base", options.epochs, 0.1, warmup=0.1)
    if not of_images:
        phase = Phase("base", options.epochs, 1e-3, warmup=0.1, optimizer=optimizer_of("adamw"))
    run_phase(phase, network, Context(Fabric(accelerator="cpu", devices=1), loaders.train, F.cross_entropy))
    return network.eval(), loaders, data.loaders(dataset, 64, seed=seed, eval_batch_size=500)


def few(loader: data.EpochLoader, images: int) -> list[tuple[Tensor, Tensor]]:
    """The first batches of a loader."""
    found: list[tuple[Tensor, Tensor]] = []
    for batch in loader:
        found.append(batch)
        if sum(len(y) for _, y in found) >= images:
            break
    return found


def cut(name: str, options: argparse.Namespace, seed: int) -> list[dict[str, object]]:
    network, loaders, again = trained(name, options, seed)
    batches, test = few(again.train, SAMPLES), few(loaders.test, TESTED)
    example = batches[0][0][:2]
    space = dnal.Space.of(network, example)
    curves = dnal.repair.curves(network, space, batches, F.cross_entropy, graded=again.val)
    before, rows = accuracy(network, test), []
    for share in SHARES:
        limits = {"macs": space.full_cost["macs"] * share / 100}
        norms = l1_scores(network, space)
        scores = {
            "uniform": uniform_scores(space, norms),
            "magnitude": norms,
            "curves": curve_scores(network, space, leaving(space, curves, limits)),
        }
        for chosen_by, own in scores.items():
            architecture = dnal.Architecture.of(space, dnal.select(space, own, limits))
            for repaired in (0, 1):
                whole = dnal.repair.rebuilt(network, space, architecture, batches) if repaired else network
                small = dnal.compact(whole, architecture).eval()
                rows.append(
                    {
                        "network": name, "data": "cifar10" if name == "resnet20" else "fashion-mnist", "seed": seed,
                        "share": share, "chosen by": chosen_by, "repaired": repaired,
                        "accuracy": round(100 * accuracy(small, test), 2), "base accuracy": round(100 * before, 2),
                        "macs share": round(100 * dnal.macs(small, example) / space.full_cost["macs"], 2),
                        "images": options.images, "epochs": options.epochs, "torch": torch.__version__,
                    }
                )  # fmt: skip
    return rows


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def images(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    for _ in range(count // BATCH):
        yield torch.randn(BATCH, 3, 224, 224, generator=draw), torch.randint(1000, (BATCH,), generator=draw)


def network_of(name: str) -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    made: nn.Module = torchvision.models.get_model(name)
    return made


def training_step(name: str) -> None:
    """Prints the peak memory of a process that takes two steps of training."""
    network = network_of(name)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    for x, y in images(2 * BATCH):
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    print(peak_mb())


def timed(name: str, count: int, out: Path) -> None:
    """Appends the row of a network."""
    step = subprocess.run(
        [sys.executable, __file__, "--training-step", name], capture_output=True, text=True, check=True
    )
    network = network_of(name).eval()
    space = dnal.Space.of(network, torch.randn(2, 3, 224, 224))
    limits = {"macs": 0.3 * space.full_cost["macs"]}
    load, begun, seconds = os.getloadavg()[0], time.perf_counter(), [time.process_time()]
    statistics = measured(network, space, images(count), F.cross_entropy)
    seconds.append(time.process_time())
    curves = curves_of(network, space, statistics, RIDGE)
    seconds.append(time.process_time())
    scores = curve_scores(network, space, leaving(space, curves, limits))
    rebuild(network, statistics, dnal.select(space, scores, limits), RIDGE)
    seconds.append(time.process_time())
    wall, peak, usual = time.perf_counter() - begun, peak_mb(), float(step.stdout.split()[-1])
    parts = [round(after - before, 1) for before, after in itertools.pairwise(seconds)]
    row = {
        "network": name, "images": count, "batch": BATCH, "threads": torch.get_num_threads(), "seconds": round(wall, 1),
        "cpu seconds": round(seconds[-1] - seconds[0], 1), "statistics cpu seconds": parts[0],
        "curves cpu seconds": parts[1], "order and rebuilding cpu seconds": parts[2], "load before": round(load, 1),
        "peak MB": round(peak), "training step peak MB": round(usual), "memory ratio": round(peak / usual, 2),
        "variables": space.num_variables, "groups": len(space.groups), "curves": len(curves),
        "torch": torch.__version__,
    }  # fmt: skip
    append_rows(out, TIMES, [row])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", default="cifar10", help="name or file of CIFAR-10")
    parser.add_argument("--fashion", default="fashion-mnist", help="name or file of Fashion-MNIST")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--networks", nargs="+", default=["resnet20", "vit"])
    parser.add_argument("--time", nargs="+", default=[], metavar="NETWORK", help="of torchvision, for 224x224")
    parser.add_argument("--training-step", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/repair_cut.csv"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*compact removed nothing")
    if options.training_step:
        training_step(options.training_step)
        return
    for name in options.time:
        timed(name, SAMPLES, options.out)
    for name in options.networks if not options.time else []:
        done = {(row["network"], row["seed"]) for row in read_rows(options.out)}
        for seed in options.seeds:
            if (name, str(seed)) not in done:
                append_rows(options.out, FIELDS, cut(name, options, seed))


if __name__ == "__main__":
    main()
