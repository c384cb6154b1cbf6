"""`dnal learn --like RUN`: the same run again, from what its folder recorded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cli_program import SHORT, Program
from dnal.run.files import ARCHITECTURE, CONFIG, LATENCY, MODEL, RESULT

EXACT = (CONFIG, ARCHITECTURE, MODEL)

TINY = """
from torch import nn

def net(classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(4), nn.Flatten(), nn.Linear(256, classes))
"""


def assert_same(one: Path, other: Path, names: tuple[str, ...] = EXACT) -> None:
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def edited(run: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    (run / CONFIG).write_text(yaml.safe_dump(edit(yaml.safe_load((run / CONFIG).read_text())), sort_keys=False))


@pytest.fixture
def run(finished: Path, here: Path) -> Path:
    """A finished run that a test may change, in the current directory."""
    return Path(shutil.copytree(finished, here / "run"))


def test_a_run_and_its_copy_are_equal_byte_for_byte(run: Path, dnal: Program) -> None:
    answer = dnal("learn", "--like", "run", "--out", "again")
    assert (answer.status, answer.err) == (0, "")
    assert_same(run, Path("again"))


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_with_everything_that_was_decided_by_timing(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "tiny_network.py").write_text(TINY)
    asked = ["--budget", "latency<=90%,memory<=90%,macs<=70%", "--divisor", "auto", "--min-width", "2"]
    answer = dnal(
        "learn", "--model", "tiny_network:net", *SHORT, *asked, "--deploy-batch-size", 16, "--exclude", "0.*",
        "--lr", "0.05", "--without", "distillation", "--batch-size", 50, "--seed", 3, "--out", "run",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    config = yaml.safe_load((here / "run" / CONFIG).read_text())
    assert isinstance(config["divisor"], int)
    assert (config["backend"], config["deploy_batch_size"], config["memory_format"]) == (
        "torch-cpu",
        16,
        "channels_last",
    )
    assert (config["precision"], config["threads"]) == ("32-true", torch.get_num_threads())
    # Another timing would decide otherwise.
    monkeypatch.setattr("dnal.latency.fastest_multiple", None)
    monkeypatch.setattr("dnal.latency.profile", None)
    answer = dnal("learn", "--like", "run", "--trust", "tiny_network", "--out", "again")
    assert answer.status == 0, answer.err
    assert_same(here / "run", here / "again", (*EXACT, LATENCY))
    rows = json.loads((here / "run" / RESULT).read_text())["constraints"]
    assert [row["cost"] for row in rows] == ["latency", "memory", "macs"]
    assert dnal("eval", "run", "--trust", "tiny_network").status == 0


def test_a_technique_is_left_out_or_taken_up_again(run: Path, dnal: Program) -> None:
    def acting(name: str) -> list[tuple[str, float | None]]:
        config = yaml.safe_load((Path(name) / CONFIG).read_text())
        return [(one["name"], one.get("weight")) for one in config["techniques"]]

    assert [name for name, _ in acting("run")] == ["distillation"]
    assert dnal("learn", "--like", "run", "--without", "distillation", "--out", "out").status == 0
    assert acting("out") == []
    assert dnal("learn", "--like", "out", "--with", "distillation:weight=0.5", "--out", "again").status == 0
    assert acting("again") == [("distillation", 0.5)]


def test_what_is_given_takes_precedence(run: Path, dnal: Program) -> None:
    assert dnal("learn", "--like", "run", "--seed", 1, "--budget", "macs<=50%", "--out", "other").status == 0
    before, after = (yaml.safe_load((Path(name) / CONFIG).read_text()) for name in ("run", "other"))
    # The seed also draws which of the training images are used.
    drawn = {"data_sha256", "mean", "std"}
    assert {key for key in before if before[key] != after[key]} == {"seed", "budget"} | drawn
    assert dnal("learn", *SHORT, "--seed", 1, "--budget", "macs<=50%", "--out", "plain").status == 0
    assert_same(Path("other"), Path("plain"))


def test_another_method_takes_its_own_defaults(run: Path, dnal: Program) -> None:
    short = ("--epochs", "1,1,1")  # which are a method's own too
    assert dnal("learn", "--like", "run", "--method", "paper:penalty=0.001", *short, "--out", "paper").status == 0
    config = yaml.safe_load(Path("paper", CONFIG).read_text())
    assert (config["method"]["name"], config["method"]["penalty"], config["techniques"]) == ("paper", 0.001, [])
    assert dnal("learn", "--like", "paper", "--out", "again").status == 0
    assert_same(Path("paper"), Path("again"))
    assert dnal("learn", "--like", "paper", "--method", "dnal", *short, "--out", "back").status == 0
    assert yaml.safe_load(Path("back", CONFIG).read_text())["techniques"][0]["name"] == "distillation"


def test_a_trade_off_like_a_run(run: Path, dnal: Program) -> None:
    answer = dnal("learn", "--like", "run", "--budget", "macs<=30%", "--budget", "macs<=60%", "--out", "curve")
    assert answer.status == 0, answer.err
    assert_same(run, Path("curve/macs30pct"))


def test_a_run_that_was_not_finished_can_be_repeated(run: Path, dnal: Program, finished: Path) -> None:
    for name in (RESULT, ARCHITECTURE, MODEL):
        (run / name).unlink()
    assert dnal("learn", "--like", "run", "--out", "again").status == 0
    assert_same(finished, Path("again"))


def test_another_torch_is_said_before_training(run: Path, dnal: Program) -> None:
    edited(run, lambda d: {**d, "torch": "2.0.1", "rates": [0.1, 0.2, 0.3]})
    answer = dnal("learn", "--like", "run", "--out", "again")
    assert answer.status == 0
    assert answer.err.startswith("dnal: note: this is not quite the run 'run': torch ")
    assert "instead of 2.0.1" in answer.err
    assert "rates" in answer.err


BAD: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "a key that no run writes": (lambda d: {**d, "momentum": 0.5}, "momentum: extra"),
    "a key is missing": (lambda d: {k: v for k, v in d.items() if k != "divisor"}, "divisor: field required"),
    "a word for a number": (lambda d: {**d, "divisor": "eight"}, "divisor"),
    "no such method": (lambda d: {**d, "method": {"name": "secret"}}, "unknown method 'secret'"),
    "a divisor of zero": (lambda d: {**d, "divisor": 0}, "divisor"),
    "no such backend": (lambda d: {**d, "backend": "tpu"}, "unknown backend 'tpu'"),
    "no such budget": (lambda d: {**d, "budget": "small"}, "is no budget"),
    "a latency whose model is gone": (lambda d: {**d, "budget": "latency<=90%"}, f"has no {LATENCY}"),
    "too few epochs": (lambda d: {**d, "epochs": [1, 1]}, "epochs"),
    "a negative rate": (lambda d: {**d, "lr": -1.0}, "lr"),
    "a least width of two and a half": (lambda d: {**d, "min_width": 2.5}, "--min-width"),
}


@pytest.mark.parametrize(("edit", "expected"), BAD.values(), ids=BAD.keys())
def test_an_edited_config_is_refused_in_one_sentence(
    run: Path, dnal: Program, edit: Callable[[dict[str, Any]], dict[str, Any]], expected: str
) -> None:
    edited(run, edit)
    answer = dnal("learn", "--like", "run", "--out", "again")
    assert answer.status == 2, answer.err
    assert answer.err.count("\n") == 1
    assert expected in answer.err
    assert not Path("again").exists()


@pytest.mark.slow
def test_the_default_job_is_the_same_in_every_process(tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for run in runs:
        command = [sys.executable, "-c", "from dnal.cli import main; main()", "learn", "--epochs", "2,2,2"]
        subprocess.run([*command, "--out", str(run)], check=True, capture_output=True)
    assert_same(*runs)
