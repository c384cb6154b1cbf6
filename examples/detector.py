"""Learn a smaller detector: lists of images and boxes in, a dict of losses out.

    python examples/detector.py

The detector is torchvision's Faster R-CNN on MobileNetV3, untrained; the pictures are drawn here: a bright disc or a
dark square, each with its box. Two functions are all in which a detector differs from a classifier: what
of a batch the network is called with, and which number is to become small.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.ops import box_iou

import dnal

BUDGET = "params<=50%"
SIZE, DISC, SQUARE = 96, 1, 2


class Shapes(Dataset[Any]):
    """Images (3, 96, 96) with a shape each; its box as (left, top, right, bottom), and its kind."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Tensor, dict[str, Tensor]]:
        draw = torch.Generator().manual_seed(1_000_000 * self.seed + number)
        side = int(torch.randint(32, 64, (), generator=draw))
        left, top = torch.randint(SIZE - side, (2,), generator=draw).tolist()
        kind = int(torch.randint(DISC, SQUARE + 1, (), generator=draw))
        image = 0.4 + 0.2 * torch.rand(3, SIZE, SIZE, generator=draw)
        place = torch.linspace(-1, 1, side)
        inside = place[:, None] ** 2 + place**2 <= 1 if kind == DISC else torch.ones(side, side, dtype=torch.bool)
        image[:, top : top + side, left : left + side][:, inside] = 0.9 if kind == DISC else 0.1
        box = torch.tensor([[left, top, left + side, top + side]], dtype=torch.float32)
        return image, {"boxes": box, "labels": torch.tensor([kind])}


def collate(rows: list[Any]) -> tuple[Any, ...]:
    """As torchvision's references do: a tuple of images and one of targets."""
    return tuple(zip(*rows, strict=True))


def make_network() -> nn.Module:
    """Your network."""
    return fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=SIZE, max_size=SIZE, box_detections_per_img=4
    )


def arguments(batch: Any) -> tuple[Any, None]:
    """The network takes images and targets, and is its own judge: nothing is left for the loss."""
    images, targets = batch
    return (list(images), list(targets)), None


def loss(losses: dict[str, Tensor], _: None) -> Tensor:
    """What the network returns in training."""
    return torch.stack(list(losses.values())).sum()


def found(network: nn.Module, loader: DataLoader[Any]) -> float:
    """The share of images whose best box has the right kind and covers the shape, with an IoU of a half."""
    device, right, seen = next(network.parameters()).device, 0, 0
    network.eval()
    with torch.inference_mode():
        for images, targets in loader:
            for answer, target in zip(network([image.to(device) for image in images]), targets, strict=True):
                boxes, labels = answer["boxes"][:1].cpu(), answer["labels"][:1].tolist()
                overlap = float(box_iou(boxes, target["boxes"]).sum())
                right += labels == target["labels"].tolist() and overlap >= 0.5
                seen += 1
    return right / seen


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a smaller detector.")
    parser.add_argument("--images", type=int, default=512, help="how many to train on")
    parser.add_argument("--epochs", type=int, default=6, help="of each of the three phases")
    parser.add_argument("--out", type=Path, default=Path("runs/detector"), help="folder for the compact network")
    args = parser.parse_args()
    torch.manual_seed(0)
    train = DataLoader(Shapes(args.images, seed=1), batch_size=16, shuffle=True, drop_last=True, collate_fn=collate)
    val, test = (DataLoader(Shapes(64, seed), batch_size=16, collate_fn=collate) for seed in (2, 3))

    # Where it runs the network gets images alone. Its MACs depend on what it finds: the budget bounds the parameters.
    network = make_network()
    learned = dnal.learn(
        network, train, val, test, budget=BUDGET, epochs=(args.epochs,) * 3, optimizer="adamw", lr=1e-3,
        batch=arguments, loss=loss, metric=found, example_inputs=([torch.rand(3, SIZE, SIZE)],),
        techniques=["clipping"],
    )  # fmt: skip

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(learned.network.state_dict(), args.out / "model.safetensors")
    learned.architecture.save(args.out / "architecture.json")

    print(f"{'':10}{'MACs':>12}{'parameters':>12}{'found':>10}")
    for name, figures in (("base", learned.figures.base), ("compact", learned.figures.compact)):
        print(f"{name:10}{figures.macs:>12,}{figures.params:>12,}{figures.metric:>10.1%}")


if __name__ == "__main__":
    main()
