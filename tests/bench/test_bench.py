"""Runs side by side: dependencies, parts, a process that is killed, a stop."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_suite import TINY

from dnal.bench.bench import Outcome, minutes_over, rates_of, run_suite
from dnal.bench.ground import DataFolders
from dnal.bench.jobs import Run, WorkItem, leader, runs
from dnal.bench.results import read_results
from dnal.bench.suite import Suite, only
from dnal.bench.table import document

SUITE = replace(
    TINY, networks=(replace(TINY.networks[0], shares=(30.0,), epochs=(1, 1, 1)),), entries=TINY.entries[1:3]
)


def quiet(job: WorkItem, failure: str, outcome: Outcome) -> None:
    assert not failure


def run(suite: Suite, out: Path, **more: object) -> Outcome:
    settings = {"folders": DataFolders(), "at_once": 2, "stop": lambda: False, "on_end": quiet} | more
    return run_suite(suite, out, runs(SUITE), **settings)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_killed_process_costs_no_row_that_is_there(tmp_path: Path) -> None:
    def kill(job: WorkItem, failure: str, outcome: Outcome) -> None:
        if isinstance(job, Run):
            multiprocessing.active_children()[0].kill()

    first = run(SUITE, tmp_path, on_end=kill)
    assert first.killed
    kept = read_results(tmp_path)
    assert kept
    assert first.left == len(runs(SUITE)) - len(first.rows) > 0
    second = run(SUITE, tmp_path)
    assert (second.killed, second.left, second.failed) == (False, 0, {})
    assert list(read_results(tmp_path)) == runs(SUITE)
    assert {job: second.rows[job] for job in kept} == kept
    for job, row in second.rows.items():
        first_of = leader(SUITE, job)
        assert bool(row["rates_tried"]) == (job == first_of)
        assert row["rate"] == second.rows[first_of]["rate"]
        assert rates_of(SUITE, job, second.rows) == (() if job == first_of else (float(row["rate"]),))


@pytest.mark.slow
def test_rows_that_cannot_be_made_are_not_tried_again(tmp_path: Path) -> None:
    """The rest is made, and the table says why they are missing."""
    suite = replace(SUITE, entries=SUITE.entries[:1], rates=(1e30,))  # which diverges
    heard: list[str] = []
    settings = {"folders": DataFolders(), "at_once": 1, "stop": lambda: False}
    first = run_suite(suite, tmp_path, runs(suite), on_end=lambda job, why, outcome: heard.append(why), **settings)  # type: ignore[arg-type]
    assert (first.rows, first.failed, first.left) == ({}, {}, 0)
    assert set(first.impossible) == set(runs(suite))
    for job, why in first.impossible.items():
        leads = leader(suite, job)
        assert ("diverges at every learning rate of 1e+30" in why) == (job == leads)
        assert (leads.name in why) == (job != leads or "diverges" in why)
    assert sum(bool(why) for why in heard) == len({leader(suite, job) for job in runs(suite)})
    again = run_suite(suite, tmp_path, runs(suite), on_end=quiet, **settings)  # type: ignore[arg-type]
    assert again.impossible == first.impossible
    text = document({}, "dnal bench", 0, first.impossible)
    assert f"{len(runs(suite))} rows cannot be made:" in text
    assert "diverges at every" in text


@pytest.mark.slow
def test_a_part_and_then_the_whole(tmp_path: Path) -> None:
    part = run(only(SUITE, ("random",)), tmp_path)
    assert {job.entry for job in part.rows} == {"random"}
    row = tmp_path / "jobs" / next(iter(part.rows)).name / "row.json"
    row.unlink()  # the table alone says what is done
    whole = run(SUITE, tmp_path)
    assert list(whole.rows) != []
    assert {job: whole.rows[job] for job in part.rows} == part.rows
    assert not row.exists()


def test_asked_to_stop_it_begins_nothing(tmp_path: Path) -> None:
    found = run(SUITE, tmp_path, stop=lambda: True)
    assert (found.rows, found.left) == ({}, len(runs(SUITE)))
    assert minutes_over(1e-9)()
    assert not minutes_over(None)()
