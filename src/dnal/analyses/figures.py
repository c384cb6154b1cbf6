"""The charts of an analysis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor

from dnal.analyses.analysis import Analysis, Corrupted, Looked, Pair
from dnal.analyses.flips import OUTCOMES
from dnal.analyses.likeness import spread
from dnal.report.colours import ASKED, BASE, LEARNT, SCALE, SERIES
from dnal.report.figure import Figure, Table, chart, labels, plain

MARGIN = " A margin is the distance of the last features to the nearest boundary, in units of their median length."
DRAWN = 1500
"""Examples of each outcome in a chart of single ones."""
MOST_CLASSES = 40
MANY = 3
"""So many networks are compared in a heat map, fewer in words."""
DASHES = ("solid", "dash", "dot", "dashdot")
COLOURS = {"fragile": ASKED, "repaired": LEARNT, "right": SERIES[0], "wrong": BASE}
WORDS = {"fragile": "fragile", "repaired": "repaired", "right": "right in both", "wrong": "wrong in both"}


def margin_figure(analysis: Analysis) -> Figure:
    """Which share of the examples has at most which margin, of each network."""
    traces, rows = [], []
    shares = torch.linspace(0, 1, 101, dtype=torch.float64)
    known = all(one.geometry is not None for one in analysis.networks)
    for number, one in enumerate(analysis.networks):
        finite = one.margins[one.margins.isfinite()]
        if not len(finite):
            continue
        traces.append(
            go.Scatter(
                x=finite.quantile(shares).tolist(), y=(100 * shares).tolist(), name=plain(one.name), mode="lines",
                line=_line(analysis.networks, number),
                hovertemplate=f"{plain(one.name)}: %{{y:.0f}} % have at most %{{x:.3g}}<extra></extra>",
            )
        )  # fmt: skip
        quarters = [f"{value:.3g}" for value in finite.quantile(torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9]).double())]
        rows.append([one.name, *quarters, f"{100 * float((one.margins > 0).double().mean()):.1f} %"])
    unit = "margin" if known else "true logit ahead of the next"
    return Figure(
        "margins", "How far from another class",
        "Share of the examples whose margin is at most so large; left of 0 they are wrong."
        + (MARGIN if known else ""),
        f"Lines of {len(traces)} networks; medians " + ", ".join(f"{row[0]} {row[3]}" for row in rows) + ".",
        chart(traces, xaxis={"title": unit, "zeroline": True}, yaxis={"title": "% of examples", "range": [0, 100]},
              showlegend=True),
        Table(["network", "10 %", "25 %", "median", "75 %", "90 %", "above 0"], rows, 6),
    )  # fmt: skip


def calibration_figure(analysis: Analysis) -> Figure:
    """How often each network is right where it is how confident."""
    traces: list[Any] = [
        go.Scatter(
            x=[0, 100], y=[0, 100], mode="lines", line={"color": BASE, "width": 1, "dash": "dot"}, hoverinfo="skip",
            showlegend=False,
        )
    ]  # fmt: skip
    rows = []
    for number, one in enumerate(analysis.networks):
        found = one.calibration
        told = found.counts > 0
        traces.append(
            go.Scatter(
                x=(100 * found.confidence[told]).tolist(), y=(100 * found.accuracy[told]).tolist(),
                name=plain(one.name), mode="lines+markers", line=_line(analysis.networks, number),
                customdata=found.counts[told].tolist(),
                hovertemplate=f"{plain(one.name)}: %{{x:.0f}} % sure, %{{y:.0f}} % right, %{{customdata}} examples"
                "<extra></extra>",
            )
        )  # fmt: skip
        rows.append([one.name, f"{100 * one.accuracy:.1f} %", f"{100 * float(one.confidence.mean()):.1f} %",
                     f"{100 * found.ece:.1f}"])  # fmt: skip
    return Figure(
        "calibration", "How sure, and how often right",
        "Examples in bins of the confidence; on the dotted line a network is as often right as it is sure. ECE is the "
        "mean distance from it, in points.",
        "Lines of confidence against accuracy; ECE " + ", ".join(f"{row[0]} {row[3]}" for row in rows) + ".",
        chart(traces, xaxis={"title": "confidence, %", "range": [0, 101]},
              yaxis={"title": "accuracy, %", "range": [0, 101]}, showlegend=True),
        Table(["network", "accuracy", "mean confidence", "ECE, points"], rows, 3),
    )  # fmt: skip


def routing_figure(analysis: Analysis) -> Figure | None:
    """How equally each network uses its experts, block by block; None where none has any."""
    traces, rows = [], []
    for number, one in enumerate(analysis.networks):
        found = one.routing
        if found is None:
            continue
        traces.append(
            go.Scatter(
                x=list(range(1, len(found.loads) + 1)), y=found.entropy.tolist(), name=plain(one.name),
                mode="lines+markers", line=_line(analysis.networks, number),
                hovertemplate=f"{plain(one.name)}, call %{{x}}: %{{y:.3f}}<extra></extra>",
            )
        )  # fmt: skip
        for call, loads in enumerate(found.loads.tolist()):
            changed = f"{100 * float(found.changed[call - 1]):.1f} %" if call else "–"
            said = ", ".join(f"{100 * load:.0f} %" for load in loads)
            rows.append([one.name, str(call + 1), said, f"{float(found.certainty[call]):.3f}", changed])
    if not traces:
        return None
    return Figure(
        "routing", "Which experts are used",
        "Entropy of the experts' shares of all tokens, call by call of the mixture, which is block by block where they "
        "share it: 1 where all experts are in equal use. The table has the shares, the entropy of a token's own "
        "probabilities, and how many tokens go to other experts than in the call before.",
        f"Lines of {len(traces)} networks over the calls of their mixtures.",
        chart(traces, xaxis={"title": "call"}, yaxis={"title": "entropy over that of equal use", "range": [0, 1.02]},
              showlegend=True),
        Table(["network", "call", "shares", "entropy of a token", "changed"], rows, 2),
    )  # fmt: skip


def smoothness_figure(analysis: Analysis) -> Figure | None:
    """How alike each network has made the nodes; None of data that are no graphs."""
    known = [one for one in analysis.networks if one.smoothness is not None]
    if not known:
        return None
    names = labels([one.name for one in known])
    bars = go.Bar(
        x=[one.smoothness for one in known], y=names, orientation="h", marker={"color": SERIES[0]},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )  # fmt: skip
    return Figure(
        "smoothness", "How alike the nodes are",
        "Mean distance of two nodes' last features, or logits where there are none, by their directions: 0 where all "
        "are alike, which is over-smoothing.",
        f"Bars of {len(known)} networks.",
        chart([bars], height=90 + 40 * len(known), xaxis={"title": "smoothness (SMV)", "range": [0, 1]},
              yaxis={"autorange": "reversed"}),
        Table(["network", "smoothness"], [[one.name, f"{one.smoothness:.4f}"] for one in known], 1),
    )  # fmt: skip


def shift_figure(analysis: Analysis, pair: Pair, name: str) -> Figure | None:
    """What changed in angle and length of each example; None without geometry."""
    before, after = (analysis.networks[number].geometry for number in (pair.base, pair.compact))
    if before is None or after is None:
        return None
    angle = (after.angles - before.angles).rad2deg()
    length = after.lengths / after.scale - before.lengths / before.scale
    traces, rows = [], []
    for outcome in ("right", "wrong", "repaired", "fragile"):  # the few on top of the many
        own = getattr(pair.flips, outcome).nonzero()[:, 0]
        if not len(own):
            continue
        shown = own[spread(len(own), DRAWN)]
        traces.append(
            go.Scatter(
                x=angle[shown].tolist(), y=length[shown].tolist(), name=WORDS[outcome], mode="markers",
                marker={"color": COLOURS[outcome], "size": 8 if outcome in OUTCOMES[:2] else 5,
                        "opacity": 0.9 if outcome in OUTCOMES[:2] else 0.35},
                customdata=[
                    f"example {n}: {plain(analysis.classes[int(analysis.targets[n])])}" for n in shown.tolist()
                ],
                hovertemplate="%{customdata}<br>angle %{x:+.1f}°, length %{y:+.2f}<extra></extra>",
            )
        )  # fmt: skip
        rows.append([WORDS[outcome], str(len(own)), f"{float(angle[own].median()):+.2f}°",
                     f"{float(length[own].median()):+.3f}"])  # fmt: skip
    return Figure(
        name, "What became of angle and length",
        "A point per example: to the right its features turned away from the direction of the true class, upwards they "
        "grew longer, in units of each network's median length.",
        f"Points of {len(analysis.targets)} examples by outcome.",
        chart(traces, height=380, xaxis={"title": "change of the angle, degrees"},
              yaxis={"title": "change of the length"}, showlegend=True),
        Table(["outcome", "examples", "median change of angle", "of length"], rows, 3),
    )  # fmt: skip


def class_figure(analysis: Analysis, pair: Pair, name: str) -> Figure | None:
    """How many examples of each class flip; None where none does."""
    counts = {}
    for number, title in enumerate(analysis.classes):
        own = analysis.targets == number
        fragile, repaired = (int(getattr(pair.flips, one)[own].sum()) for one in OUTCOMES[:2])
        if fragile or repaired:
            counts[title] = (fragile, repaired, int(own.sum()))
    if not counts:
        return None
    most = sorted(counts.items(), key=lambda item: -sum(item[1][:2]))[:MOST_CLASSES][::-1]
    shown = labels([title for title, _ in most])
    traces = [
        go.Bar(
            y=shown, x=[100 * found[place] / found[2] for _, found in most], name=word, orientation="h",
            marker={"color": COLOURS[word]}, customdata=[found[place] for _, found in most],
            hovertemplate=f"%{{y}}: %{{customdata}} {word}, %{{x:.1f}} %<extra></extra>",
        )
        for place, word in enumerate(OUTCOMES[:2])
    ]  # fmt: skip
    return Figure(
        name, "Which classes flip", "Share of each class that is right in the base alone (fragile), and in the "
        f"{analysis.networks[pair.compact].word} network alone (repaired).",
        f"Bars: most flips are in {most[-1][0]}, {sum(most[-1][1][:2])} of {most[-1][1][2]}.",
        chart(traces, height=110 + 34 * len(most), xaxis={"title": "% of the class"},
              yaxis={"type": "category", "dtick": 1}, barmode="group", showlegend=True),
        Table(["class", "fragile", "repaired", "examples"],
              [[title, *map(str, found)] for title, found in most[::-1]], 3),
    )  # fmt: skip


def people_figure(analysis: Analysis) -> Figure | None:
    """How far people disagree on the examples of each outcome; None where it is not known what they say."""
    told = [(analysis.networks[pair.compact].name, pair.people) for pair in analysis.pairs if pair.people is not None]
    if not told:
        return None
    traces = [
        go.Bar(
            x=[WORDS[name] for name in found.means], y=list(found.means.values()), name=plain(title),
            marker={"color": SERIES[number % len(SERIES)]},
            hovertemplate=f"{plain(title)}, %{{x}}: %{{y:.3f}}<extra></extra>",
        )
        for number, (title, found) in enumerate(told)
    ]  # fmt: skip
    rows = [
        [title, *(f"{found.means[name]:.3f}" if name in found.means else "–" for name in OUTCOMES),
         f"{found.flips.value:.2f} [{found.flips.low:.2f}, {found.flips.high:.2f}]",
         f"{found.fragile.value:.2f} [{found.fragile.low:.2f}, {found.fragile.high:.2f}]"]
        for title, found in told
    ]  # fmt: skip
    return Figure(
        "people", "Do people disagree on them too?",
        "Mean disagreement of people on the examples of each outcome: the entropy of their labels, 0 where all agree, "
        "and 1 where all classes are as likely. AUROC says how often an example that flips has more of it than one "
        "that does not; 0.5 is chance.",
        "Bars of mean disagreement by outcome; AUROC " + ", ".join(f"{row[0]} {row[-2]}" for row in rows) + ".",
        chart(traces, yaxis={"title": "people's disagreement", "rangemode": "tozero"}, barmode="group",
              showlegend=len(told) > 1),
        Table(["network", *(WORDS[name] for name in OUTCOMES), "AUROC of flips", "AUROC of fragile"], rows, 6),
    )  # fmt: skip


def corruption_figures(analysis: Analysis) -> list[Figure]:
    """What corruptions do, and which of them say the same."""
    found = analysis.corrupted
    if found is None:
        return []
    return [_accuracies(analysis, found), *_severities(analysis, found), _redundancy(found)]


def likeness_figures(analysis: Analysis) -> list[Figure]:
    """How alike the networks are, each way as a heat map; none of two networks, of which a sentence tells."""
    if len(analysis.networks) < MANY:
        return []
    names = [one.name for one in analysis.networks]
    return [
        _heat(
            f"likeness-{number}",
            title[:1].upper() + title[1:],
            "1 where two networks are alike.",
            names,
            found,
            least=0,
        )
        for number, (title, found) in enumerate(analysis.likeness.items())
    ]


def _accuracies(analysis: Analysis, found: Corrupted) -> Figure:
    """Accuracy under each corruption, over the severities."""
    names = list(found.names)
    shown = labels([name.replace("_", " ") for name in names])
    values = [[_mean(found, number, name, "accuracy") for name in names] for number in range(len(analysis.networks))]
    eces = [[_mean(found, number, name, "ece") for name in names] for number in range(len(analysis.networks))]
    traces = [
        go.Scatter(
            x=[100 * value for value in own], y=shown, name=plain(one.name), mode="markers",
            marker={"color": _colour(analysis.networks, number), "size": 10,
                    "symbol": "circle-open" if one.base else "diamond", "line": {"width": 2}},
            customdata=[100 * value for value in eces[number]],
            hovertemplate=f"{plain(one.name)}, %{{y}}: %{{x:.1f}} %, ECE %{{customdata:.1f}}<extra></extra>",
        )
        for number, (one, own) in enumerate(zip(analysis.networks, values, strict=True))
    ]  # fmt: skip
    apart: dict[str, list[str]] = {name: [] for name in names}
    for one in found.apart:
        low, high = 100 * one.accuracy.low, 100 * one.accuracy.high
        apart[one.corruption].append(f"{100 * one.accuracy.value:+.1f} [{low:+.1f}, {high:+.1f}]")
    for own_apart in apart.values():
        own_apart += ["–"] * (len(analysis.pairs) - len(own_apart))
    rows = [
        [name.replace("_", " "), *(f"{100 * own[place]:.1f} %" for own in values),
         *(f"{100 * own[place]:.1f}" for own in eces), *apart[name]]
        for place, name in enumerate(names)
    ]  # fmt: skip
    titles = [one.name for one in analysis.networks]
    return Figure(
        "corruptions", "Accuracy under corruptions",
        f"The mean over severities {', '.join(map(str, found.severities))}, on {found.images:,} images, the same for "
        "all. The table has the calibration error (ECE) too, and how far networks are from their base, in "
        "points with an interval of 95 % over the images.",
        f"Points of {len(titles)} networks under {len(names) - 1} corruptions.",
        chart(traces, height=120 + 24 * len(names), xaxis={"title": "% right"},
              yaxis={"type": "category", "dtick": 1, "autorange": "reversed"}, showlegend=True),
        Table(["corruption", *titles, *(f"ECE of {title}" for title in titles),
               *(f"{titles[pair.compact]} minus base" for pair in analysis.pairs)], rows,
              2 * len(titles) + len(analysis.pairs)),
        wide=True,
    )  # fmt: skip


def _severities(analysis: Analysis, found: Corrupted) -> list[Figure]:
    """Margin, angle and accuracy over the severity, in the median over the corruptions."""
    known = all(one.geometry is not None for one in analysis.networks)
    steps = (0, *found.severities)
    shares = ("share", "How much of its own accuracy stays", "%", "Accuracy over that without corruption.", 100.0)
    geometric = (
        ("margin", "Margins", "median margin", "In units of each network's median length without corruption.", 1.0),
        ("angle", "Angles", "median angle, °", "To the direction of the true class.", 1.0),
        ("length", "Lengths", "median length", "Of the features, over that without corruption.", 1.0),
    )
    figures = []
    for key, title, unit, what, factor in (shares, *(geometric if known else ())):
        values = [
            [factor * _over(found, number, severity, key) for severity in steps]
            for number in range(len(analysis.networks))
        ]
        traces = [
            go.Scatter(
                x=list(steps), y=own, name=plain(one.name), mode="lines+markers", line=_line(analysis.networks, number),
                hovertemplate=f"{plain(one.name)}, severity %{{x}}: %{{y:.3g}}<extra></extra>",
            )
            for number, (one, own) in enumerate(zip(analysis.networks, values, strict=True))
        ]  # fmt: skip
        rows = [
            [one.name, *(f"{value:.3g}" for value in own)]
            for one, own in zip(analysis.networks, values, strict=True)
        ]  # fmt: skip
        figures.append(
            Figure(
                f"severity-{key}", title,
                f"{what} The mean over the corruptions; severity 0 are the images as they are.",
                f"Lines of {len(rows)} networks over the severity.",
                chart(traces, height=280, xaxis={"title": "severity", "tickvals": list(steps)}, yaxis={"title": unit},
                      showlegend=True),
                Table(["network", *map(str, steps)], rows, len(steps)),
            )
        )  # fmt: skip
    return figures


def _redundancy(found: Corrupted) -> Figure:
    names = [name.replace("_", " ") for name in found.names]
    matrix = found.redundancy
    pairs = [(float(matrix[i, j]), names[j], names[i]) for i in range(1, len(names)) for j in range(1, i)]
    alike = sorted((one for one in pairs if not math.isnan(one[0])), reverse=True)[:12]
    said = f"; the most alike are {alike[0][1]} and {alike[0][2]}, {alike[0][0]:.2f}" if alike else ""
    figure = _heat(
        "redundancy", "Which corruptions say the same",
        "Rank correlation of the images' margins under two corruptions, the mean over the networks: near 1 the second "
        "test says little that the first did not. The first row tells how near each is to the images as they are.",
        names, matrix, least=0,
    )  # fmt: skip
    return Figure(
        figure.name, figure.title, figure.caption, f"Heat map of {len(names)} kinds of images{said}.", figure.chart,
        Table(["corruption", "and", "rank correlation"], [[a, b, f"{value:.3f}"] for value, a, b in alike], 1),
        wide=True,
    )  # fmt: skip


def _heat(name: str, title: str, caption: str, names: Sequence[str], found: Tensor, *, least: float) -> Figure:
    axis = labels(names, 20)
    values = [[None if math.isnan(value) else value for value in row] for row in found.tolist()]
    heat = go.Heatmap(
        x=axis, y=axis, z=values, zmin=least, zmax=1, colorscale=SCALE, xgap=1, ygap=1,
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>", colorbar={"thickness": 12},
    )  # fmt: skip
    rows = [
        [one, *("–" if value is None else f"{value:.3f}" for value in row)]
        for one, row in zip(names, values, strict=True)
    ]
    return Figure(
        name, title, caption, f"Heat map of {len(names)} by {len(names)}.",
        chart([heat], height=max(300, 160 + 22 * len(names)),
              xaxis={"type": "category", "showgrid": False, "dtick": 1, "tickangle": -60},
              yaxis={"type": "category", "autorange": "reversed", "showgrid": False, "dtick": 1}),
        Table(["", *names], rows, len(names)),
    )  # fmt: skip


def _mean(found: Corrupted, network: int, name: str, key: str) -> float:
    values: list[float] = [getattr(row, key) for row in found.rows if row.network == network and row.corruption == name]
    return sum(values) / len(values)


def _over(found: Corrupted, network: int, severity: int, key: str) -> float:
    values = [getattr(row, key) for row in found.rows if row.network == network and row.severity == severity]
    told: list[float] = [value for value in values if value is not None and math.isfinite(value)]
    return sum(told) / len(told) if told else math.nan


def _colour(networks: Sequence[Looked], number: int) -> str:
    if networks[number].base:
        return BASE
    place = sum(not one.base for one in networks[:number])
    return SERIES[place % (len(SERIES) - 1)]  # grey is the base's


def _line(networks: Sequence[Looked], number: int) -> dict[str, Any]:
    same = sum(_colour(networks, other) == _colour(networks, number) for other in range(number))
    return {"color": _colour(networks, number), "width": 2, "dash": DASHES[same % len(DASHES)]}
