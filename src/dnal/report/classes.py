"""Which classes the compact network tells apart worse or better than the base."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from dnal.report.colours import BASE, COMPACT, SCALE
from dnal.report.figure import Figure, Table, chart, labels, plain
from dnal.report.gates import TICKS
from dnal.report.source import Source
from dnal.run.details import Details

DRAWN = 60
"""A matrix of more classes cannot be read; the pairs that are confused most often are listed instead."""
WRITTEN = 12
"""A matrix of so many classes has its counts in it."""
CHANGED = 15
PAIRS = 12
LISTED = 100
"""So many classes, those that changed most, have a row in the table."""
KINDS = ("base", "compact")

Matrix = npt.NDArray[np.int64]


def class_figures(source: Source) -> list[Figure]:
    """The classes that changed most, and who is taken for whom."""
    if source.details is None:
        return []
    names = _names(source.config.class_names, source.details.classes)
    matrices = {kind: matrix for kind in KINDS if (matrix := _matrix(source.details, kind)) is not None}
    figures, those = [], source.config.of_kind.classified
    if len(matrices) == 2 and (np.diag(matrices["base"]) != np.diag(matrices["compact"])).any():
        figures.append(_changed(matrices["base"], matrices["compact"], names, source.word, those))
    return [*figures, *(_confusion(kind, matrix, names, source.word, those) for kind, matrix in matrices.items())]


def confused(matrix: Matrix, names: Sequence[str]) -> Table:
    """The pairs that are confused most often."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(place), len(matrix)) for place in order if wrong.flat[place]]
    return Table(
        ["class", "taken for", "times"],
        [[names[row], names[column], str(wrong[row, column])] for row, column in pairs],
        1,
    )


def _changed(base: Matrix, compact: Matrix, names: Sequence[str], word: str, those: str) -> Figure:
    before, after = _shares(base), _shares(compact)
    change = np.where(np.isfinite(before) & np.isfinite(after), after - before, 0.0)
    most = [i for i in np.argsort(-abs(change), kind="stable")[:CHANGED].tolist() if change[i]]
    chosen = sorted(most, key=lambda i: (change[i], i))
    shown = labels([names[i] for i in chosen])
    joined: list[tuple[float | None, str | None]] = []
    for i, label in zip(chosen, shown, strict=True):
        joined += [(100 * before[i], label), (100 * after[i], label), (None, None)]
    traces: list[object] = [
        go.Scatter(
            x=[x for x, _ in joined], y=[y for _, y in joined], mode="lines", showlegend=False, hoverinfo="skip",
            line={"color": BASE, "width": 2},
        )
    ]  # fmt: skip
    for name, shares, colour, symbol in (
        ("base", before, BASE, "circle-open"),
        (word, after, COMPACT, "diamond"),
    ):
        traces.append(
            go.Scatter(
                name=name, x=[100 * shares[i] for i in chosen], y=shown, mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2, "color": colour}},
                customdata=[f"<b>{plain(names[i])}</b><br>base {100 * before[i]:.1f} %<br>{word} {100 * after[i]:.1f} "
                            f"% ({100 * change[i]:+.1f} points)" for i in chosen],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
    listed = sorted(np.argsort(-abs(change), kind="stable")[:LISTED].tolist())
    worst, best = chosen[0], chosen[-1]
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    said = f"{better} of {len(names)} classes are recognised better than by the base, {worse} worse"
    return Figure(
        "classes",
        "The classes that changed most",
        f"Share of each class that is recognised. {said[0].upper()}{said[1:]}.",
        f"Pairs of points: {said}; most changed are {names[worst]} ({100 * change[worst]:+.1f} points) and "
        f"{names[best]} ({100 * change[best]:+.1f} points).",
        chart(
            traces,
            height=110 + 26 * len(chosen),
            xaxis={"title": "% recognised"},
            yaxis={"type": "category", "categoryorder": "array", "categoryarray": shown, "dtick": 1},
            showlegend=True,
        ),
        Table(
            ["class", those, "base", word, "change, points"],
            [
                [
                    names[i], str(int(base[i].sum())), f"{100 * before[i]:.1f} %", f"{100 * after[i]:.1f} %",
                    f"{100 * change[i]:+.1f}",
                ]
                for i in listed
            ],
            4,
        ),
        wide=True,
    )  # fmt: skip


def _confusion(kind: str, matrix: Matrix, names: Sequence[str], word: str, those: str) -> Figure:
    pairs = confused(matrix, names)
    wrong, images = int(matrix.sum() - np.trace(matrix)), int(matrix.sum())
    first = f"; most often {pairs.rows[0][0]} for {pairs.rows[0][1]}, {pairs.rows[0][2]} times" if pairs.rows else ""
    said = f"{wrong:,} of {images:,} {those} are taken for another class{first}"
    title = f"Confusion of the {word} network" if kind == "compact" else "Confusion of the base"
    if len(names) > DRAWN:
        rows = pairs.rows[::-1]
        shown = labels([f"{a} → {b}" for a, b, _ in rows], 40)
        bars = go.Bar(
            y=shown, x=[int(n) for *_, n in rows], orientation="h",
            marker={"color": COMPACT if kind == "compact" else BASE},
            hovertemplate="%{y}: %{x}<extra></extra>",
        )  # fmt: skip
        drawn = chart(
            [bars], height=110 + 22 * len(rows), xaxis={"title": those}, yaxis={"type": "category", "dtick": 1}
        )
        return Figure(
            f"confusion-{kind}", title, "The pairs that are confused most often: class → taken for.",
            f"Bars: {said}.", drawn, pairs,
        )  # fmt: skip
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axis = labels(names, 12)
    heat = go.Heatmap(
        x=axis, y=axis, z=[[math.sqrt(share) or None for share in row] for row in shares.tolist()], zmin=0, zmax=10,
        colorscale=SCALE, xgap=1, ygap=1,
        customdata=[
            [f"<b>{plain(a)}</b> taken for <b>{plain(b)}</b><br>{matrix[i, j]} {those}, {shares[i, j]:.1f} %"
             for j, b in enumerate(names)] for i, a in enumerate(names)
        ],
        hovertemplate="%{customdata}<extra></extra>",
        colorbar={
            "title": {"text": "% of the class", "side": "right"}, "thickness": 12,
            "tickvals": [math.sqrt(t) for t in TICKS], "ticktext": [str(t) for t in TICKS],
        },
        **(
            {"text": [[str(n) if n else "" for n in row] for row in matrix.tolist()], "texttemplate": "%{text}"}
            if len(names) <= WRITTEN else {}
        ),
    )  # fmt: skip
    return Figure(
        f"confusion-{kind}",
        title,
        "Rows are the classes, columns what they are taken for; the scale is that of square roots, so that few errors "
        "show.",
        f"Heat map: {said}.",
        chart(
            [heat],
            height=min(720, 140 + max(26, 320 // len(names)) * len(names)),
            xaxis={"title": "taken for", "type": "category", "showgrid": False, "dtick": 1},
            yaxis={"title": "class", "type": "category", "autorange": "reversed", "showgrid": False, "dtick": 1},
        ),
        pairs,
    )


def _matrix(details: Details, kind: str) -> Matrix | None:
    entries = details.confusion.get(kind)  # type: ignore[call-overload]
    if not entries:
        return None
    matrix = np.zeros((details.classes, details.classes), dtype=np.int64)
    for row, column, times in entries:
        matrix[row, column] = min(times, 2**53)
    return matrix


def _shares(matrix: Matrix) -> npt.NDArray[np.float64]:
    """The share of each class that is recognised; NaN where there is no image of it."""
    counts = matrix.sum(axis=1)
    found: npt.NDArray[np.float64] = np.where(counts > 0, np.diag(matrix) / np.maximum(counts, 1), np.nan)
    return found


def _names(given: Sequence[str], classes: int) -> list[str]:
    return list(given) if len(given) == classes else [str(number) for number in range(classes)]
