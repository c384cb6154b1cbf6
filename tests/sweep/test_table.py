"""trials.csv holds everything that result.json says."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from dnal.base.errors import UserError
from dnal.run.files import RESULT
from dnal.sweep.table import csv_of, row_of


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_figure_of_a_run(finished: Path, tmp_path: Path) -> None:
    log = tmp_path / "trial-0.log"
    log.write_text("$ OMP_NUM_THREADS=1 dnal learn\nhalf\n$ OMP_NUM_THREADS=1 dnal resume\nall of it\n")
    settings = {"budget": "macs<=30%", "lr": 0.1 + 0.2, "distil": False, "include": ["a", "b"], "depth": None}
    done = row_of("trial-0", settings, "runs/trial-0", log, finished / RESULT, "dnal learn --model 'a b'", over=True)
    waiting = row_of("trial-1", settings, "x", tmp_path / "none.log", tmp_path / "none.json", "y", over=False)
    text = csv_of([done, waiting], tuple(settings))
    first, second = rows_of(text)
    result = json.loads((finished / RESULT).read_text())
    for network in ("base", "compact"):
        for figure, value in result[network].items():
            assert float(first[f"{network}_{figure}"]) == value
            assert second[f"{network}_{figure}"] == ""
    for phase, seconds in result["seconds"].items():
        assert float(first[f"seconds_{phase}"]) == seconds
    (bound,) = result["constraints"]
    assert (float(first["asked_macs"]), float(first["got_macs"])) == (bound["asked"], bound["got"])
    assert (first["holds"], second["holds"]) == ("true", "")
    assert (first["status"], first["attempts"], first["error"]) == ("finished", "2", "")
    assert (second["status"], second["attempts"]) == ("waiting", "0")
    assert first["command"] == "dnal learn --model 'a b'"
    assert (first["budget"], float(first["lr"]), first["distil"]) == ("macs<=30%", 0.1 + 0.2, "false")
    assert (first["include"], first["depth"]) == ("a,b", "")
    assert text.partition("\n")[0].startswith("trial,budget,lr,distil,include,depth,status,attempts,base_macs")


@pytest.mark.parametrize(("over", "status"), [(True, "failed"), (False, "waiting")])
def test_a_trial_that_ended_early_says_why(tmp_path: Path, over: bool, status: str) -> None:
    log = tmp_path / "trial-0.log"
    log.write_text("$ dnal learn\nsome table\ndnal: the budget is below the least possible.\n")
    row = row_of("trial-0", {"seed": 1}, "x", log, tmp_path / "none.json", "dnal learn", over=over)
    (found,) = rows_of(csv_of([row], ("seed",)))
    assert found["error"] == "the budget is below the least possible."
    assert found["status"] == status


def test_a_killed_process_said_nothing(tmp_path: Path) -> None:
    log = tmp_path / "trial-0.log"
    log.write_text("$ dnal learn\ndnal: ended by signal 9.\n$ dnal resume\n")
    row = row_of("trial-0", {"seed": 1}, "x", log, tmp_path / "none.json", "dnal learn", over=False)
    assert (row["error"], row["attempts"]) == ("", 2)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", "\xff", '{"base": {}, "compact": {}, "seconds": {}}', '{"base": [], "compact": 1}',
        '{"base": {"macs": "=1"}, "compact": {}, "seconds": {}, "constraints": []}',
        '{"base": {"macs": [1]}, "compact": {}, "seconds": {}, "constraints": []}',
        '{"base": {"macs": NaN}, "compact": {}, "seconds": {}, "constraints": []}',
        '{"base": {}, "compact": {}, "seconds": {}, "constraints": [7]}',
        '{"base": {}, "compact": {}, "seconds": {}, "constraints": [{"cost": "macs"}]}',
        '{"base": {}, "compact": {}, "seconds": {}, "constraints": 7}',
        '{"base":' + "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_result_is_told_with_what_makes_it_again(tmp_path: Path, text: str) -> None:
    run = tmp_path / "trial-0"
    run.mkdir()
    (run / RESULT).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=re.escape(f"'{run / RESULT}'")) as raised:
        row_of("trial-0", {}, run, tmp_path / "trial-0.log", run / RESULT, "", over=True)
    assert f"remove the folder '{run}'" in str(raised.value)


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    log = tmp_path / "trial-0.log"
    log.write_text("$ dnal learn\n=HYPERLINK(1)\n")
    settings = {"model": "@SUM(1)", "lr": -0.5, "budget": "+1", "data": "-x"}
    text = csv_of([row_of("trial-0", settings, "-", log, tmp_path / "none", "=1", over=True)], tuple(settings))
    (row,) = rows_of(text)
    assert (row["error"], row["command"], row["model"], row["data"]) == ("'=HYPERLINK(1)", "'=1", "'@SUM(1)", "'-x")
    assert (row["lr"], row["budget"], row["status"]) == ("-0.5", "+1", "failed")


def test_a_log_that_is_no_file_of_the_sweep_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("$ secret\n")
    log = tmp_path / "trial-0.log"
    log.symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="is a link"):
        row_of("trial-0", {}, "x", log, tmp_path / "none", "", over=True)
