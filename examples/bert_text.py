"""Learn a smaller BERT on text of your own: batches as Hugging Face's collators give them, the network's own loss.

    pip install transformers
    python examples/bert_text.py reviews.tsv

Each line of the file is a text, a tab and the number of its class. Nothing is downloaded: the words of the training
texts are the vocabulary, and BERT starts from a configuration; ``from_pretrained`` and its tokenizer do as well.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification

import dnal

BUDGET = "macs<=30%"
PADDING, UNKNOWN = 0, 1
Rows = list[tuple[list[str], int]]


def read(path: Path) -> Rows:
    """The words of each text, and its class."""
    lines = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line]
    return [(text.lower().split(), int(label)) for text, label in lines]


class Tokenizer:
    """Words to numbers: those that the training texts have at least twice."""

    def __init__(self, rows: Rows, length: int) -> None:
        counts = Counter(word for words, _ in rows for word in words)
        known = [word for word, count in counts.items() if count > 1]
        self.numbers = {word: number for number, word in enumerate(known, start=UNKNOWN + 1)}
        self.length = length

    def __len__(self) -> int:
        return len(self.numbers) + UNKNOWN + 1

    def __call__(self, rows: Rows) -> dict[str, Tensor]:
        """A batch: all texts cut or padded to one length."""
        words = torch.full((len(rows), self.length), PADDING)
        for row, (text, _) in zip(words, rows, strict=True):
            numbers = [self.numbers.get(word, UNKNOWN) for word in text[: self.length]]
            row[: len(numbers)] = torch.tensor(numbers, dtype=torch.long)
        labels = torch.tensor([label for _, label in rows])
        return {"input_ids": words, "attention_mask": (words != PADDING).long(), "labels": labels}


def make_network(words: int, classes: int, length: int) -> nn.Module:
    """Your network."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=words, num_labels=classes, max_position_embeddings=length,
            hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        )
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn a smaller BERT on text of your own.")
    parser.add_argument("file", type=Path, help="a text, a tab and the number of its class in each line")
    parser.add_argument("--length", type=int, default=32, help="words of a text that count")
    parser.add_argument("--epochs", type=int, default=4, help="of each of the three phases")
    parser.add_argument("--out", type=Path, default=Path("runs/bert_text"), help="folder for the compact network")
    args = parser.parse_args()
    torch.manual_seed(0)
    rows = read(args.file)
    random.Random(0).shuffle(rows)
    tenth = max(1, len(rows) // 10)
    parts = rows[2 * tenth :], rows[:tenth], rows[tenth : 2 * tenth]
    tokenizer = Tokenizer(parts[0], args.length)
    train, val, test = (
        DataLoader(part, batch_size=32, shuffle=part is parts[0], collate_fn=tokenizer)  # type: ignore[arg-type]
        for part in parts
    )

    # The network takes the labels with the words, and computes its loss; its logits are measured, and taught.
    network = make_network(len(tokenizer), max(label for _, label in rows) + 1, args.length)
    learned = dnal.learn(
        network, train, val, test, budget=BUDGET, epochs=(args.epochs,) * 3, optimizer="adamw", lr=1e-3
    )

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(learned.network.state_dict(), args.out / "model.safetensors")
    learned.architecture.save(args.out / "architecture.json")

    print(f"{'':10}{'MACs':>12}{'parameters':>12}{'accuracy':>10}")
    for name, figures in (("base", learned.figures.base), ("compact", learned.figures.compact)):
        print(f"{name:10}{figures.macs:>12,}{figures.params:>12,}{figures.metric:>10.1%}")


if __name__ == "__main__":
    main()
