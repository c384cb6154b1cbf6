"""Fine-tune a network of timm to your images, and make it smaller in the same go.

    python examples/timm_finetune.py --data FOLDER            # train/CLASS/*, val/CLASS/* and perhaps test/CLASS/*
    python examples/timm_finetune.py                          # the handwritten digits: no data to download

Trained weights want small steps. So the learning rate is a tenth of what a new network gets, the first phase is the
usual fine-tuning, and no layer is cut below a tenth of its channels. Without a network connection timm has no trained
weights to give: then the example says so, and trains new ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import dnal

MODEL = "mobilenetv3_small_100.lamb_in1k"
BUDGET = "macs<=50%"
FINE_TUNING, FROM_NEW = 0.01, 0.1
"""Peak learning rates."""


def make_network(classes: int = 10, pretrained: bool = False) -> nn.Module:
    """Your network, with a new head for your classes."""
    return timm.create_model(MODEL, pretrained=pretrained, num_classes=classes)


def trained_network(classes: int) -> tuple[nn.Module, bool]:
    """With trained weights where they can be had; and whether they could."""
    try:
        return make_network(classes, pretrained=True), True
    except OSError as error:  # no network, and nothing in the cache
        print(f"no trained weights of {MODEL} ({type(error).__name__}): it begins with new ones")
        return make_network(classes), False


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a network of timm and make it smaller.")
    parser.add_argument("--data", default="digits", help="a name of `dnal data`, an .npz file, or a folder of images")
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--epochs", type=int, default=10, help="of each of the three phases")
    parser.add_argument("--limit-train", type=int, help="use only so many training images")
    parser.add_argument("--out", type=Path, default=Path("runs/timm_finetune"), help="folder for the compact network")
    args = parser.parse_args()
    torch.manual_seed(0)
    data = dnal.data.load(args.data, input_shape=(3, args.side, args.side), limit_train=args.limit_train)
    train, val, test = dnal.data.loaders(data, 32)

    network, pretrained = trained_network(len(data.class_names))
    learned = dnal.learn(
        network, train, val, test,
        budget=BUDGET, epochs=(args.epochs,) * 3, lr=FINE_TUNING if pretrained else FROM_NEW, widths="min_width=0.1",
    )  # fmt: skip

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(learned.network.state_dict(), args.out / "model.safetensors")
    learned.architecture.save(args.out / "architecture.json")

    # Elsewhere: timm's network, without the channels that went, with the weights of those that stay.
    again = dnal.compact(make_network(len(data.class_names)), dnal.Architecture.load(args.out / "architecture.json"))
    again.load_state_dict(load_file(args.out / "model.safetensors"))
    images = next(iter(test))[0][:2]
    assert torch.allclose(again.eval()(images), learned.network.cpu()(images), atol=1e-5)

    print(f"{'':10}{'MACs':>12}{'parameters':>12}{'accuracy':>10}")
    for name, figures in (("base", learned.figures.base), ("compact", learned.figures.compact)):
        print(f"{name:10}{figures.macs:>12,}{figures.params:>12,}{figures.metric:>10.1%}")


if __name__ == "__main__":
    main()
