"""Does a graph network see far without making all nodes alike, where its hops are apart from its layers?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dnal.analyses.smoothness import smoothness_of
from dnal.base.options import option
from dnal.base.statistics import paired
from dnal.models.graphs.appnp import APPNP, SGC
from dnal.models.graphs.dagnn import DAGNN
from dnal.models.graphs.gcn import GCN
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.nodes import Nodes, Rule, nodes_of, share_right, trained
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

NETWORKS = (
    ("DAGNN", 2), ("DAGNN", 10), ("DAGNN", 20), ("GCN", 2), ("GCN", 8), ("GCN", 16), ("GCN with norms", 16),
    ("APPNP", 10), ("SGC", 2),
)  # fmt: skip
"""Each with its layers, or its hops."""
OF_PAPER = {"citeseer": (0.02, 0.5)}
"""Weight decay and dropout of DAGNN for a data set, where they are others than these."""
ELSE = (0.005, 0.8)
COLLAPSE = -10.0
"""Points."""


@dataclass(frozen=True)
class HopsApartFromLayersMayBeMany(Study):
    """A graph network whose hops are apart from its layers gains from many hops, where one with as many layers fails.

    All networks are trained by one rule: Adam, at most so many epochs, the weights of the lowest validation loss. GCNs
    start from Glorot's weights, and the deep one is there with batch norms too, so that its failure is not one of the
    start alone. Smoothness is half the mean distance of two nodes' directions, 0 where all are alike: of what the
    network makes of each node before the first hop, after the last one, and of its logits.
    """

    claim = (
        "Several layers of graph convolution make nodes alike because transformation and propagation are entangled; "
        "apart from each other, and with neighbourhoods of every size weighed node by node, depth helps."
    )
    source = Source(
        "M. Liu, H. Gao, S. Ji, Towards Deeper Graph Neural Networks (KDD 2020)",
        "2007.09296",
        "Network, training rule and its numbers for each data set are verified with the authors' code; the measure of "
        "smoothness and the accuracies (84.4 % on Cora, 73.3 % on CiteSeer) are recalled.",
    )
    needs = (
        "Cora and CiteSeer: by name, downloaded by torch_geometric (the extra `[graphs]`), or as cora.npz and "
        "citeseer.npz in a folder (`root=FOLDER`). The tiny size takes a generated graph."
    )
    differs = (
        "At most 600 epochs instead of 1,000, three seeds instead of 100 runs; APPNP drops no edges, and the settings "
        "of GCN, APPNP and SGC are usual ones that were not tuned here."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"graphs": "blocks", "epochs": 4}),
        small=Size(3, "25 minutes"),
        paper=Size(20, "a day", {"epochs": 1000}),
    )
    graphs: str = option("cora,citeseer", "Names of `dnal data`, with commas between them.")
    root: str | None = option(None, "Folder of the data; default: dnal's own.")
    epochs: int = option(600, "At most.", least=2)

    def settings(self) -> Sequence[Setting]:
        graphs = [name.strip() for name in self.graphs.split(",")]
        return [
            {"data": data, "network": network, "depth": depth} for data in graphs for network, depth in NETWORKS
        ]  # fmt: skip

    def row(self, seed: int, data: str, network: str, depth: int) -> dict[str, Any]:
        nodes = nodes_of(data, self.root)
        torch.manual_seed(seed)
        made, rule = _made(nodes, data, network, depth, self.epochs)
        epochs = trained(made, nodes, rule)
        with torch.no_grad():
            logits = made(**nodes.inputs)
            found = {
                "accuracy": round(share_right(logits, nodes.test), 4),
                "validation": round(share_right(logits, nodes.val), 4), "epochs_done": epochs,
                "smoothness": round(float(smoothness_of(logits[0].T).mean()), 4),
            }  # fmt: skip
            if isinstance(made, DAGNN):
                hops = made.neighbourhoods(**nodes.inputs)
                gates = made.gates(hops)[0, :, :, 0].mean(0)
                found |= {
                    "smoothness_before": round(float(smoothness_of(hops[0, :, 0]).mean()), 4),
                    "smoothness_after": round(float(smoothness_of(hops[0, :, -1]).mean()), 4),
                    "first_gate": round(float(gates[0]), 4), "last_gate": round(float(gates[-1]), 4),
                }  # fmt: skip
        return found

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        def of(network: str, depth: int, column: str = "accuracy", times: float = 100.0) -> dict[Any, float]:
            own = [row for row in rows if (row["network"], row["depth"]) == (network, depth)]
            return {(row["data"], row["seed"]): times * float(row[column]) for row in own}

        return [
            Check(
                "more hops help", "accuracy of DAGNN, 20 hops minus 2, points",
                paired(of("DAGNN", 20), of("DAGNN", 2)), above=0.0,
            ),
            Check(
                "better than a shallow GCN", "accuracy, DAGNN of 10 hops minus GCN of 2 layers, points",
                paired(of("DAGNN", 10), of("GCN", 2)), above=0.0,
            ),
            Check(
                "a deep GCN fails", "accuracy of GCN, 16 layers minus 2, points",
                paired(of("GCN", 16), of("GCN", 2)), below=COLLAPSE,
            ),
            Check(
                "and is behind with norms too", "accuracy, GCN with norms of 16 layers minus DAGNN of 20 hops, points",
                paired(of("GCN with norms", 16), of("DAGNN", 20)), below=0.0,
            ),
            Check(
                "hops make nodes alike", "smoothness behind the last of 20 hops, minus that before the first",
                paired(of("DAGNN", 20, "smoothness_after", 1), of("DAGNN", 20, "smoothness_before", 1)), below=0.0,
            ),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(rows, ["data", "network", "depth"], "accuracy", what="accuracy on the test nodes")

    def imagined(self, row: Row, holds: bool) -> Row:
        network, depth = str(row["network"]), int(row["depth"])
        noise, sign = 0.001 * (int(row["seed"]) % 3), 1 if holds else -1
        better = {("DAGNN", 20): 0.84, ("DAGNN", 10): 0.83, ("GCN", 16): 0.3, ("GCN with norms", 16): 0.6}
        worse = {("DAGNN", 20): 0.6, ("DAGNN", 10): 0.7, ("GCN", 16): 0.79, ("GCN with norms", 16): 0.8}
        made = row | {"accuracy": (better if holds else worse).get((network, depth), 0.8) + noise}
        if network == "DAGNN":
            made |= {"smoothness_before": 0.6, "smoothness_after": 0.6 - 0.2 * sign + noise}
        return made


def _made(nodes: Nodes, data: str, network: str, depth: int, epochs: int) -> tuple[nn.Module, Rule]:
    """A network and how it is trained."""
    sizes: dict[str, int] = {"features": nodes.features, "classes": nodes.classes}
    if network == "DAGNN":
        decay, dropout = OF_PAPER.get(data, ELSE)
        return DAGNN(**sizes, hops=depth, dropout=dropout), Rule(weight_decay=decay, epochs=epochs)
    if network == "APPNP":
        return APPNP(**sizes, hops=depth), Rule(epochs=epochs)
    if network == "SGC":
        return SGC(**sizes, hops=depth), Rule(lr=0.2, weight_decay=1e-5, epochs=epochs)
    made = GCN(**sizes, layers=depth, dropout=0.5, norms=network == "GCN with norms")
    for layer in made.layers:
        assert isinstance(layer, nn.Linear)
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return made, Rule(weight_decay=5e-4, epochs=epochs)
