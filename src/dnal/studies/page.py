"""report.html of a study: the claim, the checks, the figure and every row."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from dnal.base.atomic import write_text
from dnal.base.options import options_of, word_of
from dnal.report.frame import check_place, rendered
from dnal.studies.check import DOES_NOT, HOLDS, Check, verdict_of
from dnal.studies.study import Row, Sized
from dnal.studies.table import text_of

REPORT = "report.html"
MARKS = {HOLDS: ("holds", "✓"), DOES_NOT: ("broken", "✗")}


def write_page(file: Path, name: str, sized: Sized, rows: Sequence[Row], *, left: int = 0) -> None:
    """Writes the page.

    Args:
        name: the study, as on the command line. rows: one or more. left: how many are still to be made.

    Raises:
        UserError: something else is at ``file``, or the disk refuses.
    """
    check_place(file)
    write_text(file, page(name, sized, rows, left=left))


def page(name: str, sized: Sized, rows: Sequence[Row], *, left: int = 0) -> str:
    """Its HTML, which opens from the disk without a network."""
    study = sized.study
    checks = study.checks(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return rendered(
        "study.html",
        "dnal.studies",
        title=f"dnal study: {name}",
        name=name,
        study=study,
        verdict=marked(verdict_of(checks)),
        checks=[(check.claim, check.statistic, check.asked, result(check), marked(check.verdict)) for check in checks],
        figures=[study.figure(rows)],
        paragraphs=[part.replace("\n", " ") for part in study.told().split("\n\n") if part],
        left=left,
        options=[(one.name, word_of(getattr(study, one.name)), one.help) for one in options_of(type(study))],
        size=sized,
        command=command(name, sized),
        columns=columns,
        rows=[[text_of(row.get(column, "")) for column in columns] for row in rows],
    )


def marked(verdict: str) -> tuple[str, str, str]:
    """A verdict with its class in the style sheet and its sign."""
    return (*MARKS.get(verdict, ("what", "?")), verdict)  # type: ignore[call-overload]


def result(check: Check) -> str:
    """The statistic with its interval, in words."""
    found = check.found
    if math.isnan(found.value):
        return "too few values"
    if math.isnan(found.low):
        return f"{shown(found.value)}; too few values for an interval"
    return (
        f"{shown(found.value)}, {100 * found.confidence:g} % {shown(found.low)} to {shown(found.high)} ({found.how}, "
        f"n = {found.number})"
    )


def shown(value: float) -> str:
    """A number of a result."""
    return f"{value:.3g}".replace("-", "−")


def command(name: str, sized: Sized) -> str:
    """What makes these rows again."""
    size = sized.study.sizes.of(sized.size)
    found = {one.name: getattr(sized.study, one.name) for one in options_of(type(sized.study))}
    usual = {one.name: size.options.get(one.name, one.default) for one in options_of(type(sized.study))}
    said = ",".join(f"{key}={word_of(value)}" for key, value in found.items() if value != usual[key])
    words = ["dnal", "study", f"{name}:{said}" if said else name, "--size", sized.size]
    if sized.seeds != size.seeds:
        words += ["--seeds", str(sized.seeds)]
    return shlex.join(words)
