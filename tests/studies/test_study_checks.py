"""Verdicts, from the ends of an interval and the bounds."""

from __future__ import annotations

import itertools
import math

import pytest

from dnal.base.statistics import Interval, equivalence, mean
from dnal.studies import STUDIES
from dnal.studies.check import Check, Verdict, verdict_of
from dnal.studies.study import sized
from dnal.studies.verdicts import claim_at

NONE = math.inf


def check(low: float, high: float, above: float = -NONE, below: float = NONE) -> Check:
    return Check("c", "s", Interval((low + high) / 2, low, high, 5, 0.95, "how"), above, below)


@pytest.mark.parametrize(
    ("low", "high", "above", "below", "verdict"),
    [
        (0.1, 0.3, 0, NONE, "holds"), (-0.1, 0.3, 0, NONE, "cannot be told"), (-0.3, -0.1, 0, NONE, "does not hold"),
        (0.1, 0.3, -NONE, 0, "does not hold"), (-0.3, -0.1, -NONE, 0, "holds"), (0, 0, 0, NONE, "does not hold"),
        (-0.5, 0.5, -1, 1, "holds"), (0.5, 1.5, -1, 1, "cannot be told"), (1.2, 1.5, -1, 1, "does not hold"),
        (-2, 2, -1, 1, "cannot be told"), (-1.5, -1.2, -1, 1, "does not hold"),
        (math.nan, math.nan, 0, NONE, "cannot be told"), (math.nan, math.nan, -1, 1, "cannot be told"),
    ],
)  # fmt: skip
def test_verdicts(low: float, high: float, above: float, below: float, verdict: Verdict) -> None:
    assert check(low, high, above, below).verdict == verdict


@pytest.mark.parametrize("gaps", [[0.1, -0.2, 0.3, 0.0], [0.9, 1.1, 0.7, 1.0], [3.0, 3.1, 2.9, 3.0], [5.0, -5.0, 1.0]])
def test_between_bounds_it_is_the_test_of_equivalence(gaps: list[float]) -> None:
    one = Check("equal within a point", "points", mean(gaps, 0.9), -1.0, 1.0)
    assert (one.verdict == "holds") == (equivalence(gaps, 1.0) < 0.05)


def test_a_study_holds_where_all_its_checks_do() -> None:
    kinds: dict[Verdict, Check] = {
        "holds": check(1, 2, 0), "does not hold": check(-2, -1, 0), "cannot be told": check(-1, 1, 0),
    }  # fmt: skip
    for first, second in itertools.product(kinds, repeat=2):
        found = verdict_of([kinds[first], kinds[second]])
        worst = "does not hold" if "does not hold" in (first, second) else "cannot be told"
        assert found == ("holds" if first == second == "holds" else worst)
    assert verdict_of([]) == "cannot be told"


def test_as_a_document_it_has_no_number_that_is_none() -> None:
    document = check(math.nan, math.nan, above=0.0).document()
    assert (document["low"], document["below"], document["above"], document["verdict"]) == (
        None, None, 0.0, "cannot be told",
    )  # fmt: skip
    assert document["asked"] == "above 0"
    assert check(0, 0, below=2).asked == "below 2"
    assert check(0, 0, -1, 1).asked == "between -1 and 1"


def test_claims_are_read_without_an_import() -> None:
    ours = [name for name in STUDIES.names() if STUDIES.is_ours(name)]
    assert len(ours) > 5
    assert all(claim_at(STUDIES.place(name)) == STUDIES.of(name).ours() for name in ours)


def test_rows_of_which_others_are_missing_decide_what_they_can() -> None:
    study = sized(STUDIES.of("activate-while-pruning"), "tiny").study
    rows = [study.imagined({**setting, "seed": seed}, True) for setting, seed in study.rows(3)]
    left = [row for row in rows if row["kind"] != "negative" or row["seed"] != 2]
    assert len(left) < len(rows)
    whole, found = study.checks(rows), study.checks(left)
    assert {check.verdict for check in found} == {"holds"}
    assert sum(check.found.number for check in found) == sum(check.found.number for check in whole) - 4
