"""The trade-off as a picture: accuracy against the share of the MACs."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

from dnal.base.atomic import write_bytes
from dnal.base.rows import Row
from dnal.base.statistics import estimate
from dnal.bench.jobs import Run
from dnal.bench.results import metric_of
from dnal.bench.suite import OURS
from dnal.bench.table import accuracies, teaching_of


def draw(rows: Mapping[Run, Row], path: Path) -> None:
    """A panel per network and table; bars are standard errors over seeds, the dashed line is the base. Writes a PNG."""
    from matplotlib.figure import Figure

    networks, teaching = list(dict.fromkeys(run.network for run in rows)), teaching_of(rows.values())
    figure = Figure(figsize=(11, 4.2 * len(networks)), layout="constrained")
    panels = figure.subplots(len(networks), len(teaching), squeeze=False, sharey="row")
    entries = list(dict.fromkeys(run.entry for run in rows))
    for row_of_panels, network in zip(panels, networks, strict=True):
        base = [100 * float(row["base_accuracy"]) for run, row in rows.items() if run.network == network]
        metric = next(metric_of(row) for run, row in rows.items() if run.network == network)
        shares = sorted({run.share for run in rows if run.network == network})
        for panel, (taught, title) in zip(row_of_panels, teaching, strict=True):
            cells = {share: accuracies(rows, network, share, taught) for share in shares}
            for number, entry in enumerate(entries):
                found = {share: estimate(cell[entry].values()) for share, cell in cells.items() if entry in cell}
                panel.errorbar(
                    list(found),
                    [each.mean for each in found.values()],
                    yerr=[0.0 if math.isnan(each.error) else each.error for each in found.values()],
                    label=entry, color=f"C{number % 10}", marker="os^vDPX*"[number % 8], capsize=3,
                    linewidth=2.5 if entry == OURS else 1.0, linestyle="-" if number < 10 else ":",
                )  # fmt: skip
            panel.axhline(statistics.fmean(base), linestyle="--", color="grey", linewidth=1)
            panel.set(title=f"{network}, {title}", xlabel="MACs, % of the base", ylabel=f"test {metric}, %")
            panel.grid(alpha=0.3)
    panels[0][0].legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_bytes(path, picture.getvalue())
