"""--json: stdout is one JSON document, whatever else is printed; --quiet: only what a script needs."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_program import SHORT, Program
from dnal.cli.app import COMMANDS
from dnal.cli.display import document_alone, json_document, teller
from dnal.run import read_result
from dnal.run.files import RESULT

NETWORK = """
from torch import nn

print("a network that talks")

def net():
    print("and again")
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
"""


def document(text: str) -> Any:
    """The one document; NaN and Infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_command_has_the_option() -> None:
    import inspect

    without = [name for name, command in COMMANDS.items() if "as_json" not in inspect.signature(command).parameters]
    assert without == []


@pytest.mark.parametrize("command", ["models", "methods", "techniques", "data"])
def test_the_lists(dnal: Program, command: str) -> None:
    from dnal import data, models
    from dnal.methods import METHODS
    from dnal.techniques import TECHNIQUES

    answer = dnal(command, "--json")
    assert (answer.status, answer.err) == (0, "")
    found = document(answer.out)[command]
    if command == "models":
        assert found == models.names()
    else:
        known = {
            "methods": METHODS.names(), "techniques": TECHNIQUES.names(), "data": [name for name, _, _ in data.names()],
        }  # fmt: skip
        assert [each["name"] for each in found] == known[command]
        assert all(each["what"] for each in found)


def test_learn_tells_its_result_and_nothing_else(here: Path, dnal: Program) -> None:
    (here / "talking.py").write_text(NETWORK)
    answer = dnal("learn", *SHORT, "--model", "talking:net", "--out", "run", "--json")
    assert answer.status == 0, answer.err
    assert "a network that talks" in answer.err
    (run,) = document(answer.out)["runs"]
    assert run == {"run": "run", "report": "run/report.html", **read_result("run")}


def test_learn_quietly_tells_the_folder(here: Path, dnal: Program) -> None:
    answer = dnal("learn", *SHORT, "--out", "run", "--quiet")
    assert (answer.status, answer.out, answer.err) == (0, "run\n", "")
    assert (here / "run" / RESULT).is_file()


def test_finished_runs(finished: Path, here: Path, dnal: Program) -> None:
    for name in ("one", "two"):
        shutil.copytree(finished, here / "curve" / name)
    both = document(dnal("resume", "curve", "--json").out)["runs"]
    assert [Path(each["run"]).name for each in both] == ["one", "two"]
    assert all(each["compact"] == read_result(finished)["compact"] for each in both)
    assert dnal("resume", "curve", "--quiet").out.split() == ["curve/one", "curve/two"]
    assert document(dnal("eval", "curve/one", "--json").out)["differs"] == []
    quiet = dnal("eval", "curve/one", "--quiet")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_eval_that_disagrees_is_a_document_and_a_status(finished: Path, here: Path, dnal: Program) -> None:
    shutil.copytree(finished, here / "run")
    result = json.loads((here / "run" / RESULT).read_text())
    result["compact"]["macs"] += 1
    (here / "run" / RESULT).write_text(json.dumps(result))
    answer = dnal("eval", "run", "--json")
    assert answer.status == 1
    assert document(answer.out)["differs"]
    assert answer.err.startswith("dnal: ")


def test_export(finished: Path, here: Path, dnal: Program) -> None:
    shutil.copytree(finished, here / "run")
    answer = dnal("export", "run", "--to", "pt2", "--json")
    found = document(answer.out)
    file = here / "run" / "model.pt2"
    assert (found["path"], found["format"], found["bytes"]) == ("run/model.pt2", "pt2", file.stat().st_size)
    assert all(difference < 1e-4 for difference in found["differences"].values())
    assert dnal("export", "run", "--to", "pt2", "--quiet").out == "run/model.pt2\n"


def test_bad_input_leaves_stdout_empty(here: Path, dnal: Program) -> None:
    answer = dnal("learn", "--model", "resnt50", "--json")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1


def test_numbers_that_json_does_not_know_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    json_document({"a": [float("nan"), 1.5, {"b": float("inf")}], "c": (1, None, True)})
    assert document(capsys.readouterr().out) == {"a": [None, 1.5, {"b": None}], "c": [1, None, True]}


def test_what_others_print_goes_to_stderr_while_a_document_is_awaited(capsys: pytest.CaptureFixture[str]) -> None:
    with document_alone():
        sys.stdout.write("chatter\n")
        json_document({})
    json_document([])
    assert capsys.readouterr() == ("{}\n[]\n", "chatter\n")


@pytest.mark.parametrize(
    ("quiet", "as_json", "out", "err"), [(False, False, "a\n", ""), (False, True, "", "a\n"), (True, True, "", "")]
)
def test_progress_of_long_commands(
    quiet: bool, as_json: bool, out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    teller(quiet=quiet, as_json=as_json)("a")
    assert capsys.readouterr() == (out, err)
