"""A network with trained weights, made smaller and retrained gently: `dnal learn --weights FILE` as a user runs it.

    python benchmarks/trained_weights.py --data cifar10 --out benchmarks/trained_weights.csv

Trains ResNet-20 (a residual network, at 32x32) on a part of the training images, saves its weights, hands the file to
the command line with a budget of 50 % of the MACs, and reports both accuracies on the whole test set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from lightning.fabric import Fabric
from safetensors.torch import save_file

from dnal import data, models
from dnal.studies.phases import train
from result_file import write_rows

MODEL = "cifar/resnet20"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10", help="a data set by name, or an .npz")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/trained_weights.csv"))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=12, help="of the base")
    parser.add_argument("--then", default="1,4,8", help="epochs of base (skipped), architecture, retraining")
    parser.add_argument("--budget", default="macs<=50%")
    options = parser.parse_args()
    dataset = data.load(options.data, limit_train=options.images, seed=0)
    torch.manual_seed(0)
    network = models.create(MODEL, classes=dataset.classes, input_shape=dataset.input_shape)
    network.to(memory_format=torch.channels_last)
    loader = data.loaders(dataset, 64, seed=0).train
    fabric = Fabric(accelerator="auto", devices=1)
    train(fabric, network, loader, options.epochs, 0.1, warmup=0.1)
    with tempfile.TemporaryDirectory() as folder:
        weights, run = Path(folder) / "base.safetensors", Path(folder) / "run"
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, weights)
        command = [sys.executable, "-c", "from dnal.cli import main; main()", "learn", "--model", MODEL]
        command += ["--weights", str(weights), "--data", options.data, "--limit-train", str(options.images)]
        command += ["--budget", options.budget, "--epochs", options.then, "--out", str(run)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        result = json.loads((run / "result.json").read_text())
    base, compact = result["base"], result["compact"]
    row = {
        "model": MODEL,
        "images": options.images,
        "base_epochs": options.epochs,
        "then_epochs": "+".join(options.then.split(",")[1:]),
        "budget": options.budget,
        "base_accuracy": f"{base['accuracy']:.4f}",
        "compact_accuracy": f"{compact['accuracy']:.4f}",
        "macs_share": f"{compact['macs'] / base['macs']:.4f}",
        "params_share": f"{compact['params'] / base['params']:.4f}",
        "latency_ratio": f"{compact['latency_ms'] / base['latency_ms']:.3f}",
    }
    print(row)
    write_rows(options.out, [row])


if __name__ == "__main__":
    main()
