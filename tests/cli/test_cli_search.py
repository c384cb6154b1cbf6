"""`dnal search`, as a user types it, and what other commands do with what it found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cli_program import Program
from dnal.base.errors import UserError
from dnal.cli.found import config_of
from dnal.run.files import CANDIDATES, CONFIG, RESULT, SEARCH

JOB = [
    "--space", "layers:channels=6,depth=5,units=12", "--sampler", "random:round=2", "--budget", "params<=4k",
    "--evaluations", "2", "--epochs", "1", "--final-epochs", "1", "--limit-train", "80",
]  # fmt: skip


@pytest.fixture
def run(here: Path, dnal: Program) -> Path:
    answer = dnal("search", *JOB, "--out", "found")
    assert answer.status == 0, answer.err
    assert "found" in answer.out
    return here / "found"


def test_what_it_found_is_a_model_of_other_commands(run: Path, dnal: Program) -> None:
    model = (run / "genome.txt").read_text().strip()
    page = (run / "report.html").read_text()
    assert model in page
    again = json.loads(dnal("search", *JOB, "--out", "found", "--json").out)  # finished: it is told again
    assert again["model"] == model
    assert again["figures"]["params"] <= 4000
    assert len(again["candidates"]) == 2
    assert json.loads(dnal("eval", run, "--json").out)["differs"] == []
    answer = dnal(
        "learn", "--model", run, "--weights", "pretrained", "--budget", "macs<=60%", "--epochs", "0,1,1",
        "--limit-train", "80", "--out", "learnt", "--quiet", "--no-report",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    shutil.rmtree(run)  # the run that comes of it needs it no more
    assert json.loads(dnal("eval", "learnt", "--json").out)["differs"] == []
    assert f"model: {model}\n" in Path("learnt", CONFIG).read_text()


def test_the_next_command_takes_the_data_of_the_search(here: Path, dnal: Program) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 2
    np.savez("mine.npz", x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    smaller = ["--evaluations", "1", "--limit-train", "20", "--no-report", "--out", "found"]
    answer = dnal("search", *JOB, *smaller, "--data", "mine.npz", "--input", "1,8,8")
    assert answer.status == 0, answer.err
    assert answer.out.splitlines()[-1].strip() == "next: dnal learn --model found --data mine.npz --input 1,8,8"


@pytest.mark.parametrize(
    ("budget", "said"),
    [("macs<=30%", "is a share of a network"), ("params<=10", "is below the least that a network of this space has")],
)
def test_a_budget_that_no_search_takes_leaves_no_folder(budget: str, said: str, here: Path, dnal: Program) -> None:
    answer = dnal("search", *JOB, "--budget", budget, "--out", "found")
    assert answer.status == 2
    assert said in answer.err
    assert not (here / "found").exists()


def test_looking_at_what_it_found_takes_its_own_input(run: Path, dnal: Program) -> None:
    told = json.loads(dnal("space", "--model", run, "--json").out)
    assert told["params"] == json.loads((run / RESULT).read_text())["compact"]["params"]


def test_a_search_that_is_not_finished_is_a_sentence(run: Path, dnal: Program) -> None:
    for name in (RESULT, CONFIG, "report.html"):
        (run / name).unlink()
    for arguments in (("learn", "--model", run), ("eval", run), ("space", "--model", run)):
        answer = dnal(*arguments)
        assert answer.status == 2
        assert "is not finished; the same `dnal search` goes on with it" in answer.err
    assert dnal("report", run).status == 0
    assert "This search is not finished" in (run / "report.html").read_text()
    assert dnal("search", *JOB, "--out", "found").status == 0
    assert "This search is not finished" not in (run / "report.html").read_text()  # the page of the whole search
    (run / RESULT).unlink()
    (run / CANDIDATES).unlink()
    assert "was trained yet" in dnal("report", run).err
    (run / SEARCH).write_text("[]")
    assert "is not as a search writes it" in dnal("report", run).err


def test_a_run_that_is_not_whole_is_no_model(here: Path, dnal: Program) -> None:
    (here / "other").mkdir()
    (here / "other" / CONFIG).write_text("model: vgg_small\n")
    answer = dnal("learn", "--model", "other")
    assert answer.status == 2
    assert "is not a run's configuration" in answer.err


def test_the_name_of_a_model_is_no_folder_that_is_called_so_too(here: Path) -> None:
    (here / "vgg_small").mkdir()
    (here / "vgg_small" / CONFIG).write_text("model: dagnn\n")
    assert config_of("vgg_small") is None
    with pytest.raises(UserError, match="is not a run's configuration"):
        config_of("./vgg_small")


def test_a_folder_of_anybody_names_layers_and_no_more_than_its_files_tell_of(here: Path, dnal: Program) -> None:
    (here / "theirs.py").write_text("open('ran', 'w')\n\n\ndef build(): ...\n")
    folder = here / "anybodys"
    folder.mkdir()
    for name in (SEARCH, RESULT):
        (folder / name).write_text("{}")
    rest = "dnal: '1'\ntorch: '2'\ninput: [1, 8, 8]\nclasses: 10\ndata: digits\nbatch_size: 64\nseed: 0\n"
    for model, said in (
        ("theirs:build", "no list of layers"),
        ("timm/resnet18", "no list of layers"),
        ("layers/conv_512_15-conv_512_15", "are believed of a folder"),
    ):
        (folder / CONFIG).write_text(f"model: {model}\n{rest}")
        for command in ("learn", "space"):
            answer = dnal(command, "--model", folder)
            assert answer.status == 2
            assert said in answer.err
    assert not (here / "ran").exists()
