"""Do shared blocks with experts and norms of their own do as well as a transformer of other blocks?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric import Fabric
from torch import nn

from dnal.analyses.routing import routing_of
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.data.dataset import Dataset
from dnal.data.load import load
from dnal.data.loader import loaders as loaders_of
from dnal.models.widenet.images import WideNet
from dnal.models.widenet.text import TextWideNet
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.images import dataset_of
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.train.batch import InPairs, Reading
from dnal.train.evaluate import accuracy
from dnal.train.optimizers import optimizer_of
from dnal.train.outputs import task_loss
from dnal.train.phase import Context, Phase, run_phase

if TYPE_CHECKING:
    from dnal.report.figure import Figure

OURS = "WideNet"
NETWORKS: dict[str, dict[str, Any]] = {
    "transformer": {"shared": False, "experts": 1},
    "all shared": {"experts": 1, "own_norms": False},
    "experts, shared norms": {"own_norms": False},
    OURS: {},
}
"""What differs from WideNet."""
SIZE: dict[str, int] = {"width": 64, "layers": 6, "heads": 4, "hidden": 128}
WORDS, LENGTH = 4096, 32
MARGIN = 1.0
"""Points."""


@dataclass(frozen=True)
class WiderInsteadOfDeeper(Study):
    """Blocks that share attention and experts, with norms of their own, do as well as blocks of their own, with less.

    Four encoders of six blocks: of blocks of their own (a ViT, or for text a transformer's encoder), of one block six
    times over, of one attention and one mixture of experts with shared norms, and WideNet, whose norms are its own.
    Each sees the same examples in the same order. The row says how equally the experts are used and how many tokens go
    to other experts than in the block before.
    """

    claim = (
        "Sharing parameters across blocks and replacing their networks by a mixture of experts, with individual "
        "layer norms, is better than a ViT with .72 times the parameters; sharing the norms too hurts."
    )
    source = Source(
        "F. Xue, Z. Shi, F. Wei, Y. Lou, Y. Liu, Y. You, Go Wider Instead of Deeper (AAAI 2022)",
        "2107.11817",
        "Network, capacity, balance loss and sizes are verified with the authors' code; the tables of results and that "
        "shared norms hurt are recalled.",
    )
    needs = (
        "CIFAR-10, by `dnal data` or as a file (`images=cifar10.npz`), and SST-2 as a folder of train.tsv, val.tsv and "
        "test.tsv (`texts=FOLDER`). The tiny size takes scikit-learn's digits and generated sentences."
    )
    differs = (
        "Encoders of width 64 with 6 blocks on 4,000 images of 16x16 and 3,000 sentences, for 10 and 8 epochs of AdamW "
        "with one cosine, instead of width 768 with 12 and more on ImageNet-1k and a pretraining of text."
    )
    sizes = Sizes(
        tiny=Size(
            2,
            "seconds",
            {"images": "digits", "texts": "negation", "side": 8, "limit_images": 64, "limit_texts": 64, "epochs": 1},
        ),
        small=Size(3, "25 minutes"),
        paper=Size(5, "weeks", {"side": 32, "limit_images": 45_000, "limit_texts": 6_920, "epochs": 100}),
    )
    images: str = option("cifar10", "A name of `dnal data`, or a file.")
    texts: str = option("sst2", "A folder of labelled sentences, or a name of `dnal data`.")
    side: int = option(16, "Height and width of the images.", least=8)
    limit_images: int = option(4000, "For training.", least=64)
    limit_texts: int = option(3000, "For training.", least=64)
    epochs: int = option(10, "Of training on images; on text four fifths of them.", least=1)
    lr: float = option(0.002, "Peak learning rate.", above=0)

    def settings(self) -> Sequence[Setting]:
        return [{"data": kind, "network": network} for kind in ("images", "texts") for network in NETWORKS]

    def row(self, seed: int, data: str, network: str) -> dict[str, Any]:
        found = self._data(data)
        torch.manual_seed(seed)
        made = _made(found, data, network, self.side)
        loaders = loaders_of(found, 64, seed=seed, eval_batch_size=500)
        train = InPairs(loaders.train, Reading())  # texts come as mappings
        epochs = self.epochs if data == "images" else max(1, round(0.8 * self.epochs))
        history: list[dict[str, Any]] = []
        around = Context(Fabric(accelerator="cpu", devices=1), train, task_loss, history=history)
        run_phase(Phase("base", epochs, self.lr, 0.1, optimizer=optimizer_of("adamw")), made, around)
        row: dict[str, Any] = {
            "accuracy": round(accuracy(made.eval(), loaders.test), 4), "loss": round(history[-1]["loss"], 4),
            "params": sum(parameter.numel() for parameter in made.parameters()),
            "params_of_encoder": sum(parameter.numel() for parameter in made.encoder.parameters()),
            "seconds_of_training": round(sum(record["seconds"] for record in history), 2),
        }  # fmt: skip
        routed = routing_of(made, loaders.test)
        if routed is not None:
            row |= {f"entropy_{block}": round(value, 4) for block, value in enumerate(routed.entropy.tolist(), start=1)}
            row["changed"] = round(float(routed.changed.mean()), 4)
        return row

    def _data(self, kind: str) -> Dataset:
        if kind == "images":
            return dataset_of(self.images, self.limit_images, self.side)
        return _texts(self.texts, self.limit_texts)

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(network: str, column: str = "accuracy") -> dict[Any, float]:
            own = [row for row in rows if row["network"] == network]
            return {(row["data"], row["seed"]): 100 * float(row[column]) for row in own}

        checks = [
            Check(
                "not worse by a point than blocks of their own", "accuracy, WideNet minus transformer, points",
                paired(of(OURS), of("transformer")), above=-MARGIN,
            )
        ]  # fmt: skip
        checks += [
            Check(f"better than {words}", f"accuracy, WideNet minus {network}, points",
                  paired(of(OURS), of(network)), above=0.0)
            for network, words in (("all shared", "one block six times"), ("experts, shared norms", "shared norms"))
        ]  # fmt: skip
        checks.append(
            Check(
                "norms of their own send tokens elsewhere",
                "tokens that go to other experts than in the block before, own norms minus shared, points",
                paired(of(OURS, "changed"), of("experts, shared norms", "changed")), above=0.0,
            )
        )  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(rows, ["data", "network"], "accuracy", what="accuracy on the test data")

    def imagined(self, row: Row, holds: bool) -> Row:
        noise, own = 0.001 * (int(row["seed"]) % 3), row["network"] == OURS
        made = row | {"accuracy": (0.7 if own == holds else 0.6) + noise}
        if "changed" in row:
            made |= {"changed": (0.5 if own == holds else 0.2) + noise}
        return made


def _made(found: Dataset, kind: str, network: str, side: int) -> WideNet | TextWideNet:
    changes = {**SIZE, **NETWORKS[network]}
    made: nn.Module
    if kind == "images":
        channels = found.input_shape[0]
        made = WideNet(classes=found.classes, in_channels=channels, side=side, patch=side // 4, **changes)
    else:
        made = TextWideNet(tokens=WORDS, length=LENGTH, classes=found.classes, embedding=32, **changes)
    return made


@lru_cache(maxsize=2)
def _texts(name: str, limit: int) -> Dataset:
    return load(name, input_shape=(LENGTH, WORDS), limit_train=limit, kind="text")
