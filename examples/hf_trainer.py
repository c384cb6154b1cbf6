"""Learn a smaller Vision Transformer with Hugging Face's Trainer: attention heads, hidden widths, whole branches.

    pip install '.[hf]'
    python examples/hf_trainer.py

The Trainer stays as it is. In the phase that learns the architecture it trains the gated network, and a callback moves
the gates.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

import dnal

BUDGET = "macs<=50%"


def make_network() -> nn.Module:
    """Your network, here from a configuration; ``from_pretrained`` does as well (then skip the first fit)."""
    return ViTForImageClassification(
        ViTConfig(
            image_size=8, patch_size=4, num_channels=1, num_labels=10, initializer_range=0.1,
            hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=192,
        )
    )  # fmt: skip


class LearnArchitecture(TrainerCallback):
    """The gates move after every step of the weights, before the Trainer clears the gradients."""

    def __init__(self, space: dnal.Space, limits: dict[str, float]) -> None:
        self.space, self.limits = space, limits

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.search = dnal.BudgetSearch(model, self.space, self.limits, state.max_steps)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.search.step()


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a smaller network with Hugging Face's Trainer.")
    parser.add_argument("--epochs", type=int, default=6, help="of each of the three phases")
    parser.add_argument("--out", type=Path, default=Path("runs/hf_trainer"), help="folder for the compact network")
    args = parser.parse_args()
    torch.manual_seed(0)
    digits = dnal.data.load("digits", augment=False)
    train, test = (
        [{"pixel_values": x, "labels": int(y)} for x, y in zip(*part.batch(torch.arange(len(part)), 0), strict=True)]
        for part in (digits.train, digits.test)
    )

    def arguments(**options: Any) -> TrainingArguments:
        return TrainingArguments(
            output_dir=str(args.out), num_train_epochs=args.epochs, per_device_train_batch_size=32,
            per_device_eval_batch_size=64, learning_rate=2e-3, lr_scheduler_type="cosine", warmup_steps=20,
            report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, **options,
        )  # fmt: skip

    def fitted(network: nn.Module) -> float:
        """Trains a network in place, as ever, and says how often it is right."""
        trainer = Trainer(
            network, arguments(), train_dataset=train, eval_dataset=test,
            compute_metrics=lambda found: {"accuracy": (found.predictions.argmax(1) == found.label_ids).mean()},
        )  # fmt: skip
        trainer.train()
        return trainer.evaluate()["eval_accuracy"]

    network = make_network()
    base_accuracy = fitted(network)

    example = {"pixel_values": torch.stack([row["pixel_values"] for row in test[:2]]).to(network.device)}
    space = dnal.Space.of(network, example, depth=True)  # depth: branches of blocks may go as a whole
    limits = dnal.Budget.parse(BUDGET).limits(space.full_cost)
    gated = dnal.Gated(network, space, start=1.0)  # every gate open
    Trainer(
        gated,
        # The gated network takes whatever yours takes, so the Trainer cannot tell from its signature which columns it
        # uses. Clipping would mix the gates' gradient with that of the weights.
        arguments(remove_unused_columns=False, max_grad_norm=0.0),
        train_dataset=train,
        callbacks=[LearnArchitecture(space, limits)],
        # By default the Trainer would optimise the gates too; the search has its own optimizer of them.
        optimizers=(torch.optim.AdamW(network.parameters(), lr=1e-3), None),
    ).train()
    architecture = dnal.Architecture.of(space, dnal.select(space, gated.s, limits))
    small = dnal.compact(network, architecture)
    accuracy = fitted(small)
    assert dnal.macs(small, example) <= limits["macs"]

    # A configuration has one width for all layers, so ``from_pretrained`` cannot rebuild this network (what
    # `dnal learn --model hf/FOLDER --uniform-layers` makes it can: docs/huggingface.md).
    # dnal.compact(make_network(), dnal.Architecture.load(...)) can, and load_state_dict fills it.
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(small.state_dict(), args.out / "model.safetensors")
    architecture.save(args.out / "architecture.json")

    print(f"{'':10}{'MACs':>12}{'parameters':>12}{'accuracy':>10}")
    for name, module, right in (("base", network, base_accuracy), ("compact", small, accuracy)):
        size = sum(p.numel() for p in module.parameters())
        print(f"{name:10}{dnal.macs(module, example):>12,}{size:>12,}{right:>10.1%}")


if __name__ == "__main__":
    main()
