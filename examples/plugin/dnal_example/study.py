"""A study: a claim, and how it is tested."""

from dataclasses import dataclass

import torch

from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.studies import Check, Size, Sizes, Source, Study
from dnal.studies.figures import dots
from dnal_example.data import stripes


@dataclass(frozen=True)
class MeansTellNothing(Study):
    """The mean of an image of stripes tells its class no better than a coin."""

    claim = "Stripes differ in their direction alone."
    source = Source("The description of the data", "", "Verified with their code.")
    needs = "The stripes of this package."
    differs = "Nothing."
    sizes = Sizes(
        tiny=Size(4, "seconds", {"images": 100}), small=Size(10, "seconds"), paper=Size(30, "seconds", {"images": 400})
    )
    images: int = option(300, "Of each row.", least=10)

    def settings(self):
        return [{"by": by} for by in ("mean", "coin")]

    def row(self, seed, by):
        arrays = stripes()
        draw = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(arrays.y_train), generator=draw)[: self.images]
        labels = torch.as_tensor(arrays.y_train)[chosen] == 1
        means = torch.as_tensor(arrays.x_train)[chosen].float().flatten(1).mean(1)
        said = means > means.median() if by == "mean" else torch.rand(len(labels), generator=draw) < 0.5
        return {"accuracy": float((said == labels).float().mean())}

    def checks(self, rows):
        mean, coin = ({row["seed"]: row["accuracy"] for row in rows if row["by"] == by} for by in ("mean", "coin"))
        return [Check("no better than a coin", "accuracy, mean minus coin", paired(mean, coin), below=0.1)]

    def figure(self, rows):
        return dots(rows, ["by"], "accuracy", what="accuracy")

    def imagined(self, row, holds):
        return row | {"accuracy": 0.5 + (row["by"] == "mean") * (not holds) * 0.4 + 0.01 * (row["seed"] % 2)}
