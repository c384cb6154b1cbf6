"""Every study: its tiny size runs, goes on, and says what its rows decide; its page, its committed rows."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from cli_program import Program
from dnal.studies import STUDIES
from dnal.studies.page import page
from dnal.studies.run import Outcome, run_study
from dnal.studies.study import Sized, Study, sized
from dnal.studies.table import RESULTS, read_rows, values_of
from dnal.studies.verdicts import FOLDER, committed, described

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "benchmarks" / "studies"
OURS = [name for name in STUDIES.names() if STUDIES.is_ours(name)]

Ran = tuple[str, Sized, Path, Outcome]


@pytest.fixture(scope="module", params=OURS)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The tiny size in two parts: it is stopped after the first job, and goes on."""
    name = request.param
    study, out = sized(STUDIES.of(name), "tiny"), tmp_path_factory.mktemp(name)
    ended: list[str] = []
    first = run_study(study, out, at_once=1, stop=lambda: bool(ended), on_end=lambda what, why: ended.append(why))
    assert first.rows, first.failed
    before = told(out)
    whole = run_study(study, out, at_once=1)
    assert before
    assert all(row in told(out) for row in before), "no row is made twice"
    return name, study, out, whole


def told(out: Path) -> list[dict[str, str]]:
    """The rows of a table as text; one that was made later may have brought a column."""
    return [{name: text for name, text in row.items() if text} for row in read_rows(out / RESULTS)]


def test_its_rows_are_all_made(ran: Ran) -> None:
    _, study, _, outcome = ran
    assert (outcome.failed, outcome.left) == ({}, 0)
    plan = study.rows()
    assert len(outcome.rows) == len(plan) == len({(*setting.items(), seed) for setting, seed in plan})
    for (setting, seed), row in zip(plan, outcome.rows, strict=True):
        assert row.items() >= {**setting, "seed": seed}.items()


def test_its_checks_are_decided_by_its_rows(ran: Ran) -> None:
    """What is imagined to hold does, check by check, and the opposite does not."""
    name, study, _, outcome = ran
    assert all(check.verdict for check in study.study.checks(outcome.rows))
    small = sized(STUDIES.of(name), "small").study  # which made those that are committed
    for own, rows in ((study.study, outcome.rows), (small, rows_of(name))):
        for holds, verdict in ((True, "holds"), (False, "does not hold")) if rows else ():
            checks = own.checks([own.imagined(row, holds) for row in rows])
            assert checks
            assert {check.claim: check.verdict for check in checks} == {check.claim: verdict for check in checks}


def test_it_says_nothing_of_one_row_and_does_not_fail(ran: Ran) -> None:
    _, study, _, outcome = ran
    for rows in (outcome.rows[:1], outcome.rows[:2]):
        assert {check.verdict for check in study.study.checks(rows)} <= {"holds", "does not hold", "cannot be told"}
        assert study.study.figure(rows).height > 0


def test_its_page_shows_claim_checks_figure_and_rows(ran: Ran) -> None:
    name, study, _, outcome = ran
    text = page(name, study, outcome.rows)
    for words in (study.study.claim, study.study.source.title, study.study.needs, study.study.differs):
        assert words.replace("'", "&#39;") in text
    assert all(
        check.claim.replace("<", "&lt;").replace("'", "&#39;") in text for check in study.study.checks(outcome.rows)
    )
    assert f"dnal study {name} --size tiny" in text
    figure = study.study.figure(outcome.rows)
    assert json.dumps(figure.specification())
    assert figure.caption
    assert figure.alt
    assert figure.table is not None
    assert all(len(row) == len(figure.table.headings) for row in figure.table.rows)


@pytest.mark.parametrize("name", OURS)
def test_it_states_what_it_must(name: str) -> None:
    study = STUDIES.of(name)
    assert study.ours().endswith(".")
    assert all(getattr(study, field) for field in ("claim", "source", "needs", "differs", "sizes"))
    assert study.source.facts
    assert all(size.seeds > 0 and size.costs for size in study.sizes)
    assert {field.name for field in fields(study)} >= {key for size in study.sizes for key in size.options}
    for size in study.sizes._fields:
        rows = sized(study, size).rows()
        assert rows
        assert len({tuple(setting) for setting, _ in rows}) == 1, "the same names in each setting"


@pytest.mark.parametrize("name", OURS)
def test_its_verdict_is_that_of_its_committed_rows(name: str, dnal: Program) -> None:
    """`python benchmarks/verdicts.py` writes it; the digits of scipy's releases may differ."""
    known, rows = committed(name), rows_of(name)
    assert (known is None) == (not rows), f"commit the rows of {name} and what `benchmarks/verdicts.py {name}` writes"
    if known is None:  # neither rows nor verdict: `dnal study` lists it as one without rows
        (entry,) = (one for one in json.loads(dnal("study", "--json").out)["studies"] if one["name"] == name)
        assert (entry["verdict"], entry["rows"], entry["checks"]) == (None, 0, [])
        (line,) = (line for line in dnal("study").out.splitlines() if line.split()[:1] == [name])
        assert "no rows yet" in line
        return
    found = described(name, study_of(name), rows)
    for check, other in zip(found.pop("checks"), known.pop("checks"), strict=True):
        numbers = ("value", "low", "high")
        assert [check.pop(one) for one in numbers] == [
            None if one is None else pytest.approx(one, rel=1e-6, abs=1e-9)
            for one in (other.pop(key) for key in numbers)
        ]
        assert check == other
    assert found | {"dnal": ""} == known | {"dnal": ""}


def test_every_committed_file_belongs_to_a_study() -> None:
    import dnal.studies

    verdicts = Path(dnal.studies.__file__).parent / FOLDER
    assert (
        {path.stem for path in COMMITTED.glob("*.csv")} == {path.stem for path in verdicts.glob("*.json")} <= set(OURS)
    )


def study_of(name: str) -> Study:
    return sized(STUDIES.of(name), "small").study


def rows_of(name: str) -> list[dict[str, str | int | float]]:
    path = COMMITTED / f"{name}.csv"
    return [values_of(row) for row in read_rows(path)] if path.exists() else []
