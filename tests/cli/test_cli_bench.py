"""`dnal bench`: what it refuses, that it goes on, and that learnt widths do not lose to random ones."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli_program import Program


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "results.csv").open()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "smok"], "unknown suite 'smok'; did you mean 'smoke'?"),
        (["--only", "magnitud"], "the suite 'smoke' has no 'magnitud'; did you mean 'magnitude'?"),
        (["--jobs", "0"], "--jobs is 1 or more and at most 2147483647, not 0."),
        (["--minutes", "-1"], "--minutes is more than 0 and at most 1e+30, not -1.0."),
        (["--data", "cifar10"], "--data is a data set and where it is, such as cifar10=cifar10.npz, not 'cifar10'."),
        (["--model", "vgg_small"], "--model is the folder of a finished run, which tells the data too, and not 'vgg_s"),
        (["--data", "cifar10=a.npz"], "the suite 'smoke' does not use the data 'cifar10', but digits."),
    ],
)
def test_what_cannot_be_done_is_told(dnal: Program, here: Path, arguments: list[str], sentence: str) -> None:
    answer = dnal("bench", *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert sentence in answer.err
    assert answer.err.count("\n") == 1
    assert not list(here.iterdir())


def test_a_folder_of_something_else_is_refused(dnal: Program, here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").touch()
    answer = dnal("bench", "--out", "mine")
    assert answer.status == 2
    assert "exists and is no benchmark" in answer.err
    (here / "other").mkdir()
    (here / "other" / "suite.json").write_text(json.dumps({"name": "older"}))
    answer = dnal("bench", "--out", "other")
    assert answer.status == 2
    assert "holds another suite" in answer.err
    (here / "other" / "suite.json").write_text("{")
    assert "is damaged" in dnal("bench", "--out", "other").err


def test_data_that_are_not_there_fail_the_base_and_nothing_else_is_tried(dnal: Program, here: Path) -> None:
    answer = dnal("bench", "--data", "digits=nowhere.npz", "--out", "out", "--only", "uniform")
    assert answer.status == 1
    assert "2 jobs failed; base_vgg-small_seed0" in answer.err
    assert "nowhere.npz" in answer.err


@pytest.mark.slow
def test_the_smoke_suite(dnal: Program, here: Path) -> None:
    """In parts, killed in between; and learnt widths do not lose to random ones by more than 3 points."""
    out = here / "out"
    command = [sys.executable, "-m", "dnal", "bench", "--out", str(out), "--jobs", "2"]
    bench = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert bench.stdout is not None
    for line in bench.stdout:
        if "uniform_seed0" in line:
            break
    bench.kill()
    bench.wait()
    kept = rows_of(out)
    assert kept
    bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert bench.stdout is not None
    assert bench.stdout.readline()
    bench.send_signal(signal.SIGINT)
    _, told = bench.communicate(timeout=120)
    assert bench.returncode == 130
    assert "interrupted; the same command goes on." in told
    assert [row for row in rows_of(out) if row in kept] == kept

    answer = dnal("bench", "--out", out, "--jobs", 2)
    assert (answer.status, answer.err) == (0, "")
    rows = rows_of(out)
    assert [row for row in rows if row in kept] == kept
    assert len(rows) == 16
    assert len({row["samples"] for row in rows}) == 1
    assert all(0.97 <= float(row["used"]) <= 1 for row in rows)
    table = (out / "table.md").read_text()
    assert "missing" not in table
    assert (out / "trade_off.png").exists()
    again = dnal("bench", "--out", out)
    assert (again.status, again.out) == (0, f"table: {out / 'table.md'}\n")
    for taught in "01":
        means = {
            entry: sum(float(row["accuracy"]) for row in rows if (row["entry"], row["taught"]) == (entry, taught)) / 2
            for entry in ("dnal", "random")
        }
        assert means["dnal"] >= means["random"] - 0.03, means


@pytest.mark.slow
def test_the_network_of_a_run_is_compared_and_a_kill_changes_no_row(dnal: Program, here: Path) -> None:
    answer = dnal(
        "search", "--space", "layers:channels=32,depth=5,units=48", "--sampler", "random:round=2", "--budget",
        "params<=60k", "--evaluations", "2", "--epochs", "2", "--final-epochs", "3", "--limit-train", "400", "--out",
        "found", "--no-report",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    words = ["bench", "--model", "found", "--only", "uniform", "--only", "magnitude", "--out"]
    with subprocess.Popen(
        [sys.executable, "-m", "dnal", *words, "killed"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "uniform_seed0" in line:
                process.kill()
    assert 0 < len(rows_of(here / "killed")) < 8
    for out in ("killed", "whole"):
        answer = dnal(*words, out)
        assert (answer.status, answer.err) == (0, "")
    timed = ("seconds", "memory")
    whole, killed = (
        [{name: value for name, value in row.items() if not name.endswith(timed)} for row in rows_of(here / out)]
        for out in ("whole", "killed")
    )
    assert len(whole) == 8
    assert whole == killed
    assert {row["network"] for row in whole} == {"found"}
    assert "dnal bench --suite smoke --model found" in (here / "whole" / "table.md").read_text()
    assert "holds another suite" in dnal("bench", "--out", "whole").err
