"""The gallery of studies: a page for each with committed rows, made from them while the site is built.

``<!-- the gallery of studies -->`` becomes the list of all. The chart of a page is that of the study's report.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plotly.offline
from mkdocs.structure.files import File, InclusionLevel

from dnal.report.colours import themes
from dnal.studies import STUDIES
from dnal.studies.check import verdict_of
from dnal.studies.page import marked, result
from dnal.studies.study import Row, Study, sized
from dnal.studies.table import read_rows, values_of

GALLERY = "<!-- the gallery of studies -->"
ROWS = Path("benchmarks", "studies")
DRAW = """
(() => {
  const node = document.querySelector(".study-chart");
  const template = () => study.themes[document.body.dataset.mdColorScheme === "slate" ? "dark" : "light"];
  const buttons = [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]];
  const options = { responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "" };
  const layout = { ...study.chart.layout, template: template() };
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
  Plotly.newPlot(node, study.chart.data, layout, { ...options, modeBarButtons: buttons });
  new MutationObserver(() => Plotly.relayout(node, { template: template() }))
    .observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
})();
"""


def on_files(files: Any, config: Any) -> Any:
    found = _committed(Path(config.docs_dir).parent)
    for name, (study, rows) in found.items():
        chart = {"chart": study.figure(rows).specification(), "themes": themes()}
        text = f"const study = {json.dumps(chart)};\n{DRAW}"
        files.append(File.generated(config, f"studies/{name}.js", content=text))
        page = File.generated(
            config, f"studies/{name}.md", content=_page(name, study, rows), inclusion=InclusionLevel.NOT_IN_NAV
        )  # fmt: skip
        files.append(page)
    files.append(File.generated(config, "studies/plotly.js", content=plotly.offline.get_plotlyjs()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    if GALLERY not in markdown:
        return markdown
    return markdown.replace(GALLERY, _gallery(_committed(Path(config.docs_dir).parent)))


def _committed(root: Path) -> dict[str, tuple[Study, list[Row]]]:
    """Every study with rows, and these."""
    return {
        name: (
            sized(STUDIES.of(name), "small").study,
            [values_of(row) for row in read_rows(root / ROWS / f"{name}.csv")],
        )
        for name in STUDIES.names()
        if (root / ROWS / f"{name}.csv").is_file()
    }


def _gallery(found: dict[str, tuple[Study, list[Row]]]) -> str:
    lines = ["| study | what is claimed | verdict | rows |", "|---|---|---|---|"]
    for name, (study, rows) in found.items():
        verdict = _verdict(verdict_of(study.checks(rows)))
        lines.append(f"| [{name}](studies/{name}.md) | {_cell(study.ours())} | {verdict} | {len(rows)} |")
    return "\n".join(lines)


def _page(name: str, study: Study, rows: list[Row]) -> str:
    checks = study.checks(rows)
    figure = study.figure(rows)
    assert figure.table is not None
    paper = f", [arXiv {study.source.arxiv}](https://arxiv.org/abs/{study.source.arxiv})" if study.source.arxiv else ""
    return f"""# {study.ours()}

{_verdict(verdict_of(checks))}, by [{len(rows)} rows](../../benchmarks/studies/{name}.csv).

> {study.claim}

{study.source.title}{paper}. {study.source.facts}

{study.told()}

## The checks

{_table(["what holds then", "statistic", "must lie", "found", "verdict"], [
    (check.claim, check.statistic, check.asked, result(check), _verdict(check.verdict)) for check in checks
])}

## {figure.title}

<div class="study-chart" role="group" tabindex="0" aria-label="{figure.alt}" style="height: {figure.height}px"></div>
<script src="../plotly.js"></script>
<script src="../{name}.js"></script>

{figure.caption}

??? note "The numbers"

{_indented(_table(figure.table.headings, figure.table.rows))}

## How to make it again

```sh
dnal study {name} --jobs 2
```

{_table(["size", "seeds", "time on two cores"], [
    (size, str(one.seeds), one.costs) for size, one in study.sizes._asdict().items()
])}

What differs from the paper: {study.differs}

Data: {study.needs}

[All studies](../studies.md)
"""  # fmt: skip


def _table(headings: Any, rows: Any) -> str:
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _verdict(verdict: Any) -> str:
    _, sign, words = marked(verdict)
    return f"**{sign} {words}**"
