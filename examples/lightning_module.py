"""Learn a smaller network with Lightning: three modules, three fits.

    python examples/lightning_module.py
    python examples/lightning_module.py --devices 2        # DDP; on a machine without GPUs, two processes and gloo

The base and the compact network are trained by a module of yours. The module in between learns the architecture: it
optimises by hand, because one backward pass serves two optimizers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dnal

BUDGET = "macs<=25%,params<=30%"


def make_network() -> nn.Module:
    """Your network."""
    return dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))


class Classifier(L.LightningModule):
    """Your module, as ever: it trains the base, and again what is left of it."""

    def __init__(self, network: nn.Module, lr: float) -> None:
        super().__init__()
        self.network, self.lr = network, lr

    def training_step(self, batch: Any, index: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.network(images), labels)

    def test_step(self, batch: Any, index: int) -> None:
        images, labels = batch
        right = self.network(images).argmax(1) == labels
        self.log("accuracy", right.float().mean(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), self.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class ArchitectureSearch(L.LightningModule):
    """The phase in between: weights and gates learn together, from one loss and one backward pass."""

    def __init__(self, network: nn.Module, space: dnal.Space, limits: dict[str, float]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.gated = dnal.Gated(network, space, start=1.0)  # every gate open
        self.space, self.limits = space, limits

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # The network's parameters, not self.parameters(): the search has its own optimizer of the gates.
        return torch.optim.SGD(self.gated.network.parameters(), lr=0.02, momentum=0.9)

    def on_fit_start(self) -> None:
        # By now the gates are on their device, and the length of the phase is known.
        steps = int(self.trainer.estimated_stepping_batches)
        self.search = dnal.BudgetSearch(self.gated, self.space, self.limits, steps)

    def training_step(self, batch: Any, index: int) -> None:
        images, labels = batch
        weights = self.optimizers()
        weights.zero_grad()
        self.manual_backward(F.cross_entropy(self.gated(images), labels))
        weights.step()
        self.search.step()  # with the gradient at the gates, which DDP has averaged like all others

    def on_train_end(self) -> None:
        everyones = self.all_gather(self.gated.s.detach())
        assert bool((everyones == self.gated.s).all()), "all processes have learnt the same architecture"

    def architecture(self) -> dnal.Architecture:
        return dnal.Architecture.of(self.space, dnal.select(self.space, self.gated.s, self.limits))


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a smaller network with Lightning.")
    parser.add_argument("--epochs", type=int, default=10, help="of each of the three fits")
    parser.add_argument("--devices", type=int, default=1, help="more than one: DDP")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/lightning_module"), help="folder for the compact network"
    )
    args = parser.parse_args()
    L.seed_everything(0)
    digits = dnal.data.load("digits", augment=False)
    train, test = (TensorDataset(*part.batch(torch.arange(len(part)), seed=0)) for part in (digits.train, digits.test))
    train_loader = DataLoader(train, batch_size=64 // args.devices, shuffle=True, drop_last=True)
    test_loader = DataLoader(test, batch_size=64)
    example = test[:2][0]

    def trainer() -> L.Trainer:
        return L.Trainer(
            max_epochs=args.epochs, devices=args.devices, strategy="ddp" if args.devices > 1 else "auto", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

    def fitted(network: nn.Module, lr: float) -> float:
        """Trains a network in place and says how often it is right."""
        classifier = Classifier(network, lr)
        own = trainer()
        own.fit(classifier, train_loader)
        return own.test(classifier, test_loader, verbose=False)[0]["accuracy"]

    network = make_network()
    space = dnal.Space.of(network, example)  # of the bare network: Lightning wraps it later
    limits = dnal.Budget.parse(BUDGET).limits(space.full_cost)

    base_accuracy = fitted(network, lr=0.1)
    search = ArchitectureSearch(network, space, limits)
    trainer().fit(search, train_loader)
    architecture = search.architecture()
    small = dnal.compact(network, architecture)
    accuracy = fitted(small, lr=0.05)

    rows = [("base", network, base_accuracy), ("compact", small, accuracy)]
    costs = {
        name: (dnal.macs(module, example), sum(p.numel() for p in module.parameters())) for name, module, _ in rows
    }
    assert costs["compact"][0] <= limits["macs"]
    assert costs["compact"][1] <= limits["params"]
    if search.global_rank == 0:
        args.out.mkdir(parents=True, exist_ok=True)
        save_file(small.state_dict(), args.out / "model.safetensors")
        architecture.save(args.out / "architecture.json")
        print(f"{'':10}{'MACs':>12}{'parameters':>12}{'accuracy':>10}")
        for name, _, right in rows:
            print(f"{name:10}{costs[name][0]:>12,}{costs[name][1]:>12,}{right:>10.1%}")


if __name__ == "__main__":
    main()
