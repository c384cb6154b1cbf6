"""`dnal report`, and the report at the end of `dnal learn`."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from cli_program import SHORT, Program
from dnal.run.files import ARCHITECTURE, CONFIG, DETAILS, MODEL, REPORT, RESULT


def test_a_run(finished: Path, here: Path, dnal: Program) -> None:
    run = shutil.copytree(finished, here / "run")
    (run / REPORT).unlink()
    answer = dnal("report", "run")
    assert (answer.status, answer.out, answer.err) == (0, "run/report.html\n", "")
    assert (run / REPORT).is_file()
    assert not list(run.glob("*.tmp"))


def test_several_runs_and_a_folder_of_runs(finished: Path, here: Path, dnal: Program) -> None:
    for name in ("a", "b"):
        shutil.copytree(finished, here / "curve" / name)
    assert dnal("report", "curve").out == "curve/report.html\n"
    assert dnal("report", "curve/a", "curve/b").out == "report.html\n"
    document = json.loads(dnal("report", "curve", "curve/a", "--out", "all.html", "--json").out)
    assert document == {"report": "all.html", "runs": ["curve/a", "curve/b"]}
    assert (here / "all.html").read_bytes()[:4096] == (here / "curve" / REPORT).read_bytes()[:4096]


def test_wrong_folders(finished: Path, here: Path, dnal: Program) -> None:
    (here / "empty").mkdir()
    for arguments, says in (
        (["nowhere"], "there is no run 'nowhere'"),
        (["empty"], "it is no run and holds none"),
        ([finished, "--out", "empty"], "'empty' is a folder"),
    ):
        answer = dnal("report", *arguments)
        assert answer.status == 2
        assert says in answer.err
        assert len(answer.err.splitlines()) == 1


def test_a_run_that_is_not_finished_is_drawn_beside_others(finished: Path, here: Path, dnal: Program) -> None:
    for name in ("a", "b"):
        shutil.copytree(finished, here / "curve" / name)
    (here / "curve" / "b" / RESULT).unlink()
    assert dnal("report", "curve/b").out == "curve/b/report.html\n"
    assert "This run is not finished" in (here / "curve" / "b" / REPORT).read_text()
    document = json.loads(dnal("report", "curve", "--json").out)
    assert document == {"report": "curve/report.html", "runs": ["curve/a", "curve/b"]}


def test_a_report_that_cannot_be_made_fails_no_run(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a hole in the page")

    monkeypatch.setattr("dnal.report.page.page", broken)
    monkeypatch.setattr("dnal.run.writer.details_of", broken)
    answer = dnal("learn", *SHORT, "--method", "uniform", "--out", "run")
    assert answer.status == 0
    assert "details.json' was not written (a hole in the page)" in answer.err
    assert "`dnal report run --out run/report.html` tries again" in answer.err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert dnal("report", "run").status == 0


def test_the_command_makes_the_same_run(finished: Path, here: Path, dnal: Program) -> None:
    from dnal.report.command import learn_command
    from dnal.report.source import read_source

    threads, program, *arguments = shlex.split(learn_command(read_source(finished)))
    assert threads.startswith("OMP_NUM_THREADS=")
    assert program == "dnal"
    assert dnal(*arguments, "--out", "again").status == 0
    for name in (CONFIG, ARCHITECTURE, MODEL, DETAILS):
        assert (here / "again" / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--recipe", "paper", "--lambda", "0.01"],
        ["--method", "uniform"],
        ["--method", "tas"],
        ["--model", "supernet/tiny"],
        ["--model", "cifar/resnet20", "--input", "1,16,16"],
        ["--budget", "latency<=90%"],
    ],
)
def test_every_kind_of_run_has_one(here: Path, dnal: Program, options: list[str]) -> None:
    answer = dnal("learn", *SHORT, *options, "--out", "run")
    assert answer.status == 0, answer.err
    assert "not written" not in answer.err
    assert "not shown" not in (here / "run" / REPORT).read_text()[-400_000:]


def test_none_where_none_is_wanted(here: Path, dnal: Program) -> None:
    answer = dnal("learn", *SHORT, "--method", "uniform", "--out", "run", "--no-report")
    assert answer.status == 0
    assert not (here / "run" / REPORT).exists()
    assert "see:" not in answer.out
    assert dnal("report", "run").status == 0
