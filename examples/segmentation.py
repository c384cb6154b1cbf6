"""Learn a smaller network that labels every pixel: a U-Net, a loss per pixel, and mean IoU instead of accuracy.

    python examples/segmentation.py
    python examples/segmentation.py --data fashion-mnist

The pictures are real handwritten digits, four to a scene, each in a quarter of its own. A pixel's label is the digit
that stands there, or the background: the masks are the images' own foreground.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassJaccardIndex

import dnal

BUDGET = "macs<=30%"
CLASSES = 11  # the background, then the ten classes of the data
FOREGROUND = 0.4  # of the brightest value: what is brighter belongs to the object


class UNet(nn.Module):
    """(N, 1, H, W) -> logits (N, 11, H, W): down twice, up twice, and what was there on the way down beside it."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.down1 = convolutions(1, width)
        self.down2 = convolutions(width, 2 * width)
        self.bottom = convolutions(2 * width, 4 * width)
        self.up2 = convolutions(4 * width + 2 * width, 2 * width)
        self.up1 = convolutions(2 * width + width, width)
        self.head = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = self.down1(x)
        middle = self.down2(F.max_pool2d(high, 2))
        low = self.bottom(F.max_pool2d(middle, 2))
        middle = self.up2(torch.cat([F.interpolate(low, scale_factor=2.0), middle], dim=1))
        high = self.up1(torch.cat([F.interpolate(middle, scale_factor=2.0), high], dim=1))
        return self.head(high)


def convolutions(inputs: int, outputs: int) -> nn.Module:
    """Two of them, each with its norm."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
        *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
    )


def make_network() -> nn.Module:
    """Your network."""
    return UNet()


def scenes(part: dnal.data.dataset.Part, count: int, seed: int) -> TensorDataset:
    """Scenes (count, 1, 2 H, 2 W) of four images each, and the class of every pixel (count, 2 H, 2 W)."""
    drawn = torch.randint(len(part), (count * 4,), generator=torch.Generator().manual_seed(seed))
    images, labels = part.batch(drawn, seed=0)
    dark, bright = images.amin(), images.amax()
    inside = images[:, 0] > dark + FOREGROUND * (bright - dark)
    masks = torch.where(inside, labels[:, None, None] + 1, 0)
    return TensorDataset(_tiled(images), _tiled(masks[:, None])[:, 0])


def _tiled(images: Tensor) -> Tensor:
    """(4 N, C, H, W) -> (N, C, 2 H, 2 W): four images in a square."""
    scene = images.view(-1, 2, 2, *images.shape[1:])
    return scene.permute(0, 3, 1, 4, 2, 5).reshape(-1, images.shape[1], 2 * images.shape[2], 2 * images.shape[3])


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Per pixel; most are background, which so counts less."""
    weight = logits.new_tensor([0.3] + [1.0] * (CLASSES - 1))
    return F.cross_entropy(logits, masks, weight)


def mean_iou(network: nn.Module, loader: DataLoader) -> float:
    """Intersection over union, the mean over the classes: what ``dnal.learn`` states for every network."""
    device = next(network.parameters()).device
    meter = MulticlassJaccardIndex(CLASSES).to(device)
    training = network.training
    network.eval()
    with torch.inference_mode():
        for images, masks in loader:
            meter.update(network(images.to(device)).argmax(1), masks.to(device))
    network.train(training)
    return float(meter.compute())


def draw(networks: list[tuple[str, nn.Module]], data: TensorDataset, path: Path) -> None:
    """Some scenes, their masks, and what the networks make of them."""
    from matplotlib.figure import Figure

    images, masks = data[:4]
    rows = [("image", images[:, 0]), ("mask", masks)]
    with torch.inference_mode():
        rows += [(name, network.cpu().eval()(images).argmax(1)) for name, network in networks]
    figure = Figure(figsize=(6, 1.6 * len(rows)))
    for axes, (name, pictures) in zip(figure.subplots(len(rows), len(images)), rows, strict=True):
        colours = {"cmap": "gray"} if name == "image" else {"cmap": "tab20", "vmin": 0, "vmax": 19}
        for cell, picture in zip(axes, pictures, strict=True):
            cell.imshow(picture, **colours)
            cell.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name)
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a smaller network that labels every pixel.")
    parser.add_argument("--data", default="digits", help="of one channel and ten classes: digits, fashion-mnist, ...")
    parser.add_argument("--scenes", type=int, default=2000, help="how many to train on")
    parser.add_argument("--epochs", type=int, default=6, help="of each of the three phases")
    parser.add_argument("--out", type=Path, default=Path("runs/segmentation"), help="folder for the compact network")
    args = parser.parse_args()
    torch.manual_seed(0)
    source = dnal.data.load(args.data, augment=False)
    train = DataLoader(scenes(source.train, args.scenes, seed=1), batch_size=32, shuffle=True, drop_last=True)
    val, test = (DataLoader(scenes(part, 400, seed=2), batch_size=64) for part in (source.val, source.test))

    # The loss and the metric are all in which a segmentation network differs from a classifier. A loss of
    # one's own leaves distillation out, which is for logits (N, classes).
    network = make_network()
    learned = dnal.learn(
        network, train, val, test, budget=BUDGET, epochs=(args.epochs,) * 3, loss=loss, metric=mean_iou
    )

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(learned.network.state_dict(), args.out / "model.safetensors")
    learned.architecture.save(args.out / "architecture.json")
    draw([("base", network), ("compact", learned.network)], test.dataset, args.out / "masks.png")

    print(f"{'':10}{'MACs':>12}{'parameters':>12}{'mean IoU':>10}")
    for name, figures in (("base", learned.figures.base), ("compact", learned.figures.compact)):
        print(f"{name:10}{figures.macs:>12,}{figures.params:>12,}{figures.metric:>10.1%}")


if __name__ == "__main__":
    main()
