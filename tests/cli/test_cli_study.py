"""`dnal study`: the list, a run, what is refused; nothing that takes long is imported for the list."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli_program import Program
from dnal.studies import STUDIES

COIN = Path(__file__).parents[1] / "studies" / "coin.py"


@pytest.fixture
def coin(here: Path) -> str:
    """A study of the user's own, from where they are."""
    shutil.copy(COIN, here / "my_coin.py")
    return "my_coin:Coin"


def test_the_list_has_the_committed_verdicts(dnal: Program) -> None:
    answer = dnal("study", "--json")
    assert (answer.status, answer.err) == (0, "")
    listed = json.loads(answer.out)["studies"]
    assert [one["name"] for one in listed] == STUDIES.names()
    without = [one for one in listed if not one["rows"]]
    assert all((one["verdict"], one["checks"]) == (None, []) for one in without)
    for one in listed:
        assert one["ours"] == STUDIES.of(one["name"]).ours()
        assert not one["rows"] or one["verdict"] in ("holds", "does not hold", "cannot be told")
    shown = dnal("study").out
    assert shown.count("no rows yet") == len(without)
    assert all(one["name"] in shown and one["ours"] in shown for one in listed)


def test_the_list_imports_nothing_that_takes_long() -> None:
    script = (
        "import sys\nfrom dnal.cli.app import app\n"
        "try:\n    app(['study'])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "print(sorted({'torch', 'scipy', 'plotly', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_study_of_my_own_runs_goes_on_and_is_shown_again(dnal: Program, here: Path, coin: str) -> None:
    answer = dnal("study", coin, "--size", "tiny", "--seeds", 2, "--out", "out")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith("4 rows; size tiny: no time\nside heads, seed 0: done\n")
    assert "A coin falls on the side that is asked for." in answer.out
    assert f"report: {Path('out') / 'report.html'}" in answer.out
    assert len(list(csv.DictReader((here / "out" / "results.csv").open()))) == 4
    page = here / "out" / "report.html"
    assert "dnal study my_coin:Coin --size tiny --seeds 2" in page.read_text()
    page.unlink()

    again = dnal("study", coin, "--size", "tiny", "--out", "out", "--json")
    found = json.loads(again.out)
    assert again.err.count("done") == 4, "two seeds more"
    assert (found["rows"], found["left"], found["failed"], len(found["table"])) == (8, 0, [], 8)
    assert found["verdict"] in ("holds", "cannot be told")
    page.unlink()
    only = dnal("study", coin, "--size", "tiny", "--out", "out", "--report-only", "--quiet")
    assert (only.status, only.out) == (0, f"{Path('out') / 'report.html'}\n")
    assert page.exists()


def test_options_of_a_study(dnal: Program, here: Path, coin: str) -> None:
    answer = dnal("study", f"{coin}:throws=1", "--size", "tiny", "--seeds", 1)
    assert answer.status == 0
    folder = here / "runs" / "study-my_coin.Coin-tiny"
    assert json.loads((folder / "study.json").read_text())["options"]["throws"] == 1
    assert "my_coin:Coin:throws=1 --size tiny" in (folder / "report.html").read_text()
    other = dnal("study", coin, "--size", "tiny")
    assert other.status == 2
    assert "this one with other options; choose another with --out" in other.err


def test_what_failed_is_told_and_the_rest_is_there(dnal: Program, here: Path, coin: str) -> None:
    answer = dnal("study", f"{coin}:trouble=refuse", "--size", "tiny")
    assert answer.status == 1
    assert "side tails, seed 3 failed: this coin stands on its edge." in answer.out
    assert answer.err == (
        "dnal: 1 row is missing; side tails, seed 3: this coin stands on its edge; the same command tries them again.\n"
    )
    assert "1 rows are still to be made" in (here / "runs" / "study-my_coin.Coin-tiny" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["random-serch"], "unknown study 'random-serch'; did you mean 'random-search'?"),
        (["random-search", "--size", "smal"], "unknown size 'smal'; did you mean 'small'?"),
        (["random-search", "--seeds", "0"], "--seeds is 1 or more"),
        (["random-search", "--jobs", "0"], "--jobs is 1 or more"),
        (["random-search:candidate=3"], "has no option 'candidate'; did you mean 'candidates'?"),
        (["random-search:candidates=0"], "candidates is 1 or more, not 0."),
        (["random-search", "--report-only"], "there are no rows in"),
        (["os:path"], "write the study as package.module:function"),
        (["pathlib:Path"], "is no study: it must be a class under dnal.studies.study.Study"),
    ],
)
def test_what_cannot_be_done_is_told(dnal: Program, here: Path, arguments: list[str], sentence: str) -> None:
    answer = dnal("study", *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert sentence in answer.err
    assert answer.err.count("\n") == 1
    assert not list(here.iterdir())


def test_rows_that_say_nothing_are_one_sentence(dnal: Program, here: Path, coin: str) -> None:
    """A column is missing, or it holds no numbers; the study's own line is named."""
    assert dnal("study", coin, "--size", "tiny", "--out", "out").status == 0
    table = here / "out" / "results.csv"
    for damaged, kind in ((table.read_text().replace("share", "other"), "KeyError"),
                          ("side,seed,share\nheads,0,x\n", "ValueError")):  # fmt: skip
        table.write_text(damaged)
        answer = dnal("study", coin, "--size", "tiny", "--out", "out", "--report-only")
        assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert "cannot tell anything from the rows in 'out' (my_coin.py, line " in answer.err
        assert kind in answer.err


def test_a_file_of_mine_is_not_replaced(dnal: Program, here: Path, coin: str) -> None:
    assert dnal("study", coin, "--size", "tiny", "--out", "out").status == 0
    (here / "out" / "report.html").write_text("mine")
    answer = dnal("study", coin, "--size", "tiny", "--out", "out")
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "is no report" in answer.err
    assert (here / "out" / "report.html").read_text() == "mine"
