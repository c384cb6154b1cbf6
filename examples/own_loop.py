"""Learn a smaller network inside a training loop of your own, in plain PyTorch.

    python examples/own_loop.py

Network, data, augmentation, loss, optimizers and loop are yours. The phase that learns the architecture is your loop
with a gate on every channel and one more line; before and after it nothing of dnal runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

import dnal

BUDGET = "macs<=30%"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        return (x + self.norm2(self.conv2(y))).relu()


def make_network() -> nn.Module:
    """Your network, of your classes: nothing in it knows of dnal."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), Block(32), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), Block(64)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )


def loss_of(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Your augmentation (a shift of up to one pixel, and noise) and your loss."""
    down, right = torch.randint(-1, 2, (2,)).tolist()
    images = images.roll((down, right), dims=(2, 3)) + 0.1 * torch.randn_like(images)
    return F.cross_entropy(network(images.to(DEVICE)), labels.to(DEVICE), label_smoothing=0.1)


def train(network: nn.Module, data: DataLoader, epochs: int, lr: float) -> None:
    """Your training, as ever: of the base, and again of what is left of it."""
    optimizer = torch.optim.AdamW(network.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * len(data))
    network.train()
    for _ in range(epochs):
        for images, labels in data:
            loss_of(network, images, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def learn_architecture(
    network: nn.Module, space: dnal.Space, limits: dict[str, float], data: DataLoader, epochs: int
) -> dnal.Architecture:
    """The phase in between: weights and gates learn together, from one loss and one backward pass."""
    gated = dnal.Gated(network, space, start=1.0).to(DEVICE)  # every gate open
    search = dnal.BudgetSearch(gated, space, limits, steps=epochs * len(data))
    # The search has its own optimizer of the gates, so yours gets the network's parameters and not those of ``gated``.
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    gated.train()
    for _ in range(epochs):
        for images, labels in data:
            loss_of(gated, images, labels).backward()
            optimizer.step()
            search.step()  # with the gradient that the same backward pass has left at the gates
            optimizer.zero_grad()
    return dnal.Architecture.of(space, dnal.select(space, gated.s, limits))


@torch.no_grad()
def accuracy(network: nn.Module, data: DataLoader) -> float:
    network.eval()
    right = [network(images.to(DEVICE)).argmax(1).cpu() == labels for images, labels in data]
    return float(torch.cat(right).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a smaller network in a loop of your own.")
    parser.add_argument("--epochs", type=int, default=10, help="of each of the three phases")
    parser.add_argument("--out", type=Path, default=Path("runs/own_loop"), help="folder for the compact network")
    args = parser.parse_args()
    torch.manual_seed(0)
    data, _, test = dnal.data.loaders(dnal.data.load("digits", augment=False), 64)
    network = make_network().to(DEVICE)
    example = next(iter(test))[0][:2].to(DEVICE)

    # What may vary, and what it may cost: known before anything is trained.
    space = dnal.Space.of(network, example)
    limits = dnal.Budget.parse(BUDGET).limits(space.full_cost)

    train(network, data, args.epochs, lr=3e-3)
    rows = [("base", network, accuracy(network, test))]
    architecture = learn_architecture(network, space, limits, data, args.epochs)
    small = dnal.compact(network, architecture)  # the same classes with smaller tensors
    train(small, data, args.epochs, lr=2e-3)  # so any optimizer is a new one: the old one owns the old tensors
    rows.append(("compact", small, accuracy(small, test)))
    assert dnal.macs(small, example) <= limits["macs"]

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(small.state_dict(), args.out / "model.safetensors")
    architecture.save(args.out / "architecture.json")

    # Elsewhere: your class, without the channels that went, with the weights of those that stay.
    again = dnal.compact(make_network(), dnal.Architecture.load(args.out / "architecture.json"))
    again.load_state_dict(load_file(args.out / "model.safetensors"))
    assert torch.equal(again.to(DEVICE).eval()(example), small(example))

    print(f"{'':10}{'MACs':>12}{'parameters':>12}{'accuracy':>10}")
    for name, module, right in rows:
        size = sum(p.numel() for p in module.parameters())
        print(f"{name:10}{dnal.macs(module, example):>12,}{size:>12,}{right:>10.1%}")


if __name__ == "__main__":
    main()
