"""The training examples of a data set by their scores, as a table and as a page with the hardest and easiest ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from dnal.base.cells import inert
from dnal.data.dataset import Dataset
from dnal.report.colours import SERIES
from dnal.report.figure import Figure, Table, chart
from dnal.report.figure import plain as without_markup
from dnal.report.frame import rendered
from dnal.report.pictures import picture_of

SHOWN = 40
"""Examples at each end."""


class Shown(NamedTuple):
    """An example on the page: its number, class and score in words, and its picture, "" where it has none."""

    number: int
    label: str
    score: str
    picture: str


def scores_table(dataset: Dataset, scores: Tensor) -> str:
    """CSV: number of the training example, class, its name, and score; the largest score first.

    Args:
        scores: (N,), of the training part in its order.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["example", "class", "name", "score"])
    for number in torch.sort(scores, descending=True, stable=True).indices.tolist():
        label = int(dataset.train.y[number])
        writer.writerow([number, label, inert(dataset.class_names[label]), f"{float(scores[number]):.6g}"])
    return file.getvalue()


def scores_page(dataset: Dataset, scores: Tensor, score: str, how: str) -> str:
    """The page: the distribution of the scores by class, and the examples at both ends.

    Args:
        scores: (N,). score: its name. how: the scores were made, a sentence.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    return rendered(
        "examples.html", title=f"dnal: {dataset.name}, {score}", name=dataset.name, score=score, how=how,
        count=len(scores), figures=[_by_class(dataset, scores, score)],
        ends=[
            ("The hardest", "The largest scores. What is mislabelled is often among them.",
             _shown(dataset, scores, order[:SHOWN].tolist())),
            ("The easiest", "The least scores, the least first.",
             _shown(dataset, scores, order.flip(0)[:SHOWN].tolist())),
        ],
    )  # fmt: skip


def _shown(dataset: Dataset, scores: Tensor, numbers: Sequence[int]) -> list[Shown]:
    return [
        Shown(number, dataset.class_names[int(dataset.train.y[number])], f"{float(scores[number]):.3g}",
              picture_of(dataset, dataset.train, number))
        for number in numbers
    ]  # fmt: skip


def _by_class(dataset: Dataset, scores: Tensor, score: str) -> Figure:
    finite = scores.isfinite()
    traces, rows = [], []
    for label, name in enumerate(dataset.class_names):
        own = scores[finite & (dataset.train.y == label)].numpy()
        if not len(own):
            continue
        traces.append(
            go.Box(
                x=np.quantile(own, np.linspace(0, 1, 101)), name=without_markup(name), orientation="h", boxpoints=False,
                marker={"color": SERIES[0]}, showlegend=False,
            )
        )  # fmt: skip
        rows.append([name, str(len(own)), f"{np.median(own):.3g}", f"{own.max():.3g}"])
    return Figure(
        "scores", f"{score} by class", "Boxes from the first to the third quartile, with the median.",
        f"Boxes of {len(rows)} classes.",
        chart(
            traces, height=120 + 28 * len(traces), xaxis={"title": score},
            yaxis={"autorange": "reversed", "type": "category", "dtick": 1},
        ),
        Table(["class", "examples", "median", "largest"], rows, 3), wide=True,
    )  # fmt: skip
