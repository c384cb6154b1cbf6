"""The figures of the site, drawn while it is built: of real Spaces, of a short real run, of result files.

``![what it shows](figures/NAME.svg)`` in a page becomes two images, one for each colour scheme.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mkdocs.structure.files import File
from torch import Tensor, nn

import dnal
from dnal.gates.functions import sigmoid_gates
from dnal.methods.dnal.search import MET, WAIT, limits_at
from dnal.studies.claims.overtraining import LAST, SNR
from dnal.theory.linear_dynamics import test_error

SCHEMES = {"light": "#333333", "dark": "#dddddd"}
IMAGE = re.compile(r"!\[([^\]]*)\]\(figures/(\w+)\.svg\)")
# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ["#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"]
FIXED = "#999999"


def on_files(files: Any, config: Any) -> Any:
    for name, draw in FIGURES.items():
        for scheme, ink in SCHEMES.items():
            files.append(File.generated(config, f"figures/{name}-{scheme}.svg", content=_svg(draw, ink)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return IMAGE.sub(lambda m: "\n".join(f"![{m[1]}](figures/{m[2]}-{s}.svg#only-{s})" for s in SCHEMES), markdown)


@cache
def _svg(draw: Callable[[], Figure], ink: str) -> str:
    """A figure on a transparent ground; equal code draws equal files."""
    style = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink)
    with matplotlib.rc_context({**style, "svg.hashsalt": "dnal", "font.size": 10, "legend.framealpha": 0}):
        text = io.StringIO()
        draw().savefig(text, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    return text.getvalue()


class Small(nn.Module):
    """A residual block between two convolutions, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.block1 = nn.Conv2d(12, 16, 3, padding=1)
        self.block2 = nn.Conv2d(16, 12, 3, padding=1)
        self.wide = nn.Conv2d(12, 20, 3, padding=1)
        self.classifier = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.block2(self.block1(x).relu())).relu()
        return self.classifier(self.wide(x).relu().mean((2, 3)))


@cache
def _small() -> tuple[nn.Module, dnal.Space]:
    torch.manual_seed(0)
    network = Small()
    return network, dnal.Space.of(network, torch.randn(2, 3, 16, 16))


def space() -> Figure:
    """Every layer's weight as a matrix, outputs down and inputs across; at its edges the group of every channel."""
    network, found = _small()
    architecture = dnal.Architecture.random(found, keep=0.5, seed=3)
    closed = ~architecture.open
    group_of = {int(v): number for number, group in enumerate(found.groups) for v in group.variables}
    small = dict(dnal.compact(network, architecture).named_parameters())
    layers = [name for name, p in network.named_parameters() if p.dim() > 1]
    figure = Figure(figsize=(9, 4))
    rows = figure.subplots(2, len(layers), height_ratios=(26, 16))
    for (whole, cut), name in zip(rows.T, layers, strict=True):
        shape, sources = found.shapes[name], found.sources[name]
        _matrix(whole, shape, sources, group_of, closed, name.removesuffix(".weight"))
        left = [None if ids is None else ids[~closed[ids]] for ids in sources]
        _matrix(cut, tuple(small[name].shape), left, group_of, torch.zeros_like(closed), "")
        for axes, height in ((whole, 21), (cut, 11)):
            axes.set(xlim=(-5, 21), ylim=(height, -5), aspect="equal")
    rows[0, 0].set_ylabel("before: hatched\nchannels close")
    rows[1, 0].set_ylabel("after removal")
    for number, group in enumerate(found.groups):
        first = group.name.removesuffix(".weight")
        rows[1, 0].plot([], [], "s", color=COLOURS[number], label=f"{group.width} channels that '{first}' makes")
    rows[1, 0].plot([], [], "s", color=FIXED, label="fixed: the network's inputs and outputs")
    figure.legend(loc="lower center", ncols=2, bbox_to_anchor=(0.5, -0.12))
    return figure


def _matrix(
    axes: Any, shape: tuple[int, ...], sources: Any, group_of: dict[int, int], closed: Tensor, title: str
) -> None:
    ink = matplotlib.rcParams["text.color"]
    axes.add_patch(Rectangle((0, 0), shape[1], shape[0], facecolor="none", edgecolor=ink, linewidth=0.8))
    for dim in (0, 1):
        ids = torch.full((shape[dim],), -1) if sources[dim] is None else sources[dim]
        for place, variable in enumerate(ids.tolist()):
            off = variable >= 0 and bool(closed[variable])
            colour = FIXED if variable < 0 else COLOURS[group_of[variable]]
            edge = ((-3.2, place), 2.4, 1) if dim == 0 else ((place, -3.2), 1, 2.4)
            inside = ((0, place), shape[1], 1) if dim == 0 else ((place, 0), 1, shape[0])
            axes.add_patch(Rectangle(*edge, facecolor=colour, alpha=0.25 if off else 1, linewidth=0))
            if off:
                axes.add_patch(
                    Rectangle(*inside, facecolor="none", edgecolor=ink, hatch="////", linewidth=0, alpha=0.4)
                )
    axes.set_title(f"{title}\n{shape[0]} x {shape[1]}" if title else f"{shape[0]} x {shape[1]}", fontsize=10)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


@cache
def _run() -> tuple[list[Tensor], list[float], list[float]]:
    """A short real search on the digits: after every step the gates, the MACs, and the budget of the moment."""
    torch.manual_seed(0)
    train, _, _ = dnal.data.loaders(dnal.data.load("digits"), 64)
    network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for images, labels in (batch for _ in range(2) for batch in train):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    found = dnal.Space.of(network, torch.randn(2, 1, 8, 8))
    limits = dnal.Budget.parse("macs<=30%").limits(found.full_cost)
    gated = dnal.Gated(network, found, start=1.0)
    batches = [batch for _ in range(12) for batch in train]
    search = dnal.BudgetSearch(gated, found, limits, steps=len(batches))
    gates, macs, asked = [], [], []
    for images, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(gated(images), labels).backward()
        optimizer.step()
        search.step()
        gates.append(sigmoid_gates(gated.s.detach(), gated.delta))
        macs.append(found.cost_of(gated.s > 0)["macs"] / found.full_cost["macs"])
        asked.append(limits_at(search.progress, found.full_cost, limits)["macs"] / found.full_cost["macs"])
    return gates, macs, asked


def sigmoid() -> Figure:
    """The scaled sigmoid on its way to a step."""
    figure = Figure(figsize=(6, 2.8))
    axes = figure.subplots()
    s = torch.linspace(-1, 1, 401)
    for delta, colour in zip((2, 10, 100, 1000), COLOURS, strict=False):
        axes.plot(s, sigmoid_gates(s, delta), color=colour, label=f"delta = {delta}")
    axes.set(xlabel="architecture parameter s", ylabel="gate sigmoid(delta s)")
    axes.legend()
    return figure


def gates() -> Figure:
    """How the gates of all channels decide, and how the MACs follow the budget of the moment."""
    found, macs, asked = _run()
    figure = Figure(figsize=(8, 5))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    progress = np.linspace(0, 1, len(found))
    shares = np.stack([np.histogram(g.numpy(), bins=24, range=(0, 1))[0] / g.numel() for g in found], axis=1)
    image = above.pcolormesh(progress, np.linspace(0, 1, 25), shares[:, 1:], cmap="viridis", rasterized=True)
    figure.colorbar(image, ax=[above, below], label="share of the channels")
    above.set(ylabel="gate sigmoid(delta s)")
    below.plot(progress, asked, color=COLOURS[0], label="budget of the moment", linewidth=3)
    below.plot(progress, macs, color=COLOURS[3], label="MACs of {s > 0}")
    below.set(xlabel="progress of the phase", ylabel="share of the MACs", ylim=(0, 1.05), xlim=(0, 1))
    for moment, what in ((WAIT, "the budget begins\nto tighten"), (MET, "the budget is met,\ndelta grows to 1,000")):
        for axes in (above, below):
            axes.axvline(moment, color=matplotlib.rcParams["text.color"], linestyle=":", linewidth=1)
        below.annotate(what, (moment, 0.08), (4, 0), textcoords="offset points", fontsize=9)
    below.legend(loc="upper right")
    return figure


def lambdas() -> Figure:
    """benchmarks/studies/lambda-curve.csv: three seeds, seven lambdas."""
    file = Path(__file__).parents[2] / "benchmarks" / "studies" / "lambda-curve.csv"
    rows = list(csv.DictReader(file.open(encoding="utf-8")))
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    of_lambda: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        of_lambda[float(row["lambda"])].append((100 * float(row["macs_share"]), 100 * float(row["accuracy"])))
    for axes, number, what in ((left, 0, "MACs left, %"), (right, 1, "accuracy, %")):
        for one, points in of_lambda.items():
            axes.plot([one] * len(points), [point[number] for point in points], "o", color=COLOURS[3], alpha=0.6)
        means = [mean(point[number] for point in points) for points in of_lambda.values()]
        axes.plot(list(of_lambda), means, color=COLOURS[0])
        axes.set(xscale="log", xlabel="lambda", ylabel=what)
    figure.tight_layout()
    return figure


def generalising() -> Figure:
    """Closed forms as lines, the committed rows of the studies overtraining and more-is-better as dots."""
    figure = Figure(figsize=(9, 3.4))
    left, right = figure.subplots(1, 2)
    ratios = np.geomspace(0.12, 17, 121)
    times = np.geomspace(0.01, LAST, 200)
    over = [errors[-1] / errors.min() - 1 for errors in (test_error(times, 1 / ratio, SNR) for ratio in ratios)]
    left.plot(ratios, over, color=COLOURS[0], label="linear: closed form")
    students = {"linear": "linear: simulated", "random features": "random features, MNIST", "network": "network, MNIST"}
    for (student, name), colour in zip(students.items(), (COLOURS[0], COLOURS[3], COLOURS[2]), strict=True):
        own = [row for row in _rows("overtraining") if row["student"] == student and row["start"] == "0"]
        at = [float(row["ratio"]) for row in own], [float(row["overtraining"]) for row in own]
        left.plot(*at, "o", color=colour, alpha=0.5, markersize=4, label=name)
    left.set(xscale="log", yscale="log", ylim=(1e-3, 2e3), xlabel="parameters per sample", ylabel="overtraining")
    ridges = (
        ("tuned ridge", COLOURS[3], "test_by_theory", "expected"),
        ("no ridge", COLOURS[4], "test_no_ridge", "expected_no_ridge"),
    )
    for name, colour, measured, expected in ridges:
        of: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for row in _rows("more-is-better"):
            if row["noise"] == "0.0" and row["samples"] == "200":
                of[int(row["features"])].append((float(row[measured]), float(row[expected])))
        for features, points in of.items():
            right.plot([features] * len(points), [point[0] for point in points], "o", color=colour, alpha=0.5, ms=4)
        right.plot(list(of), [mean(point[1] for point in points) for points in of.values()], color=colour, label=name)
    right.set(xscale="log", yscale="log", xlabel="random features (200 samples of CIFAR-10)", ylabel="test error")
    for axes in (left, right):
        axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


def _rows(study: str) -> list[dict[str, str]]:
    file = Path(__file__).parents[2] / "benchmarks" / "studies" / f"{study}.csv"
    return list(csv.DictReader(file.open(encoding="utf-8")))


FIGURES: dict[str, Callable[[], Figure]] = {
    "space": space, "sigmoid": sigmoid, "gates": gates, "lambdas": lambdas, "generalising": generalising,
}  # fmt: skip
