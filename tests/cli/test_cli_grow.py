"""`dnal grow`, as a user types it: the job of `dnal learn` with a method that adds neurons."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from killed import Processes
from torch import nn

import dnal as library
from cli_program import Program
from dnal.base.errors import UserError
from dnal.changes.growth import Growth
from dnal.run.change import read_change
from dnal.run.files import MANIFEST, MODEL
from dnal.run.loading import load, read_result

DIGITS = [
    "grow", "--budget", "params<=200%", "--rounds", "2", "--epochs", "1,2,1", "--limit-train", "192", "--no-report",
]  # fmt: skip
JOB = ["--model", "mlp/small", "--data", "wine", "--epochs", "1,2,1", "--limit-train", "100"]


@pytest.fixture
def run(here: Path, dnal: Program) -> Path:
    answer = dnal("grow", "--budget", "params<=125%", *JOB, "--out", "run")
    assert answer.status == 0, answer.err
    return here / "run"


def test_it_is_learn_with_a_method_that_adds_neurons(run: Path, dnal: Program, here: Path) -> None:
    answer = dnal("learn", "--method", "tiny", "--budget", "params<=125%", *JOB, "--out", "same", "--quiet")
    assert answer.status == 0, answer.err
    for name in ("config.yaml", MODEL, MANIFEST, Growth.file):
        assert (run / name).read_bytes() == (here / "same" / name).read_bytes(), name
    _keeps_and_uses_its_budget(run)
    assert json.loads(dnal("eval", run, "--json").out)["differs"] == []
    page = (run / "report.html").read_text()
    assert "while the network grew" in page
    assert "new channels joined" in page
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    base, *between, last = [record.get("params") for record in log]
    assert base is None
    assert last is None
    assert read_result(run)["base"]["params"] < between[0] < between[1] < read_result(run)["compact"]["params"]


def test_a_grown_run_is_a_model_of_other_commands_and_so_is_what_comes_of_it(
    run: Path, dnal: Program, here: Path
) -> None:
    grown = load(run)
    told = json.loads(dnal("space", "--model", run, "--json").out)
    assert told["params"] == sum(parameter.numel() for parameter in grown.parameters())
    same = ["--data", "wine", "--limit-train", "100", "--quiet", "--no-report"]
    answer = dnal(
        "learn", "--model", run, "--weights", "pretrained", "--budget", "params<=60%", "--epochs", "0,1,1", *same,
        "--out", "learnt",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    begun = library.run.load_base(here / "learnt").state_dict()
    assert all(torch.equal(value, begun[name]) for name, value in grown.state_dict().items())
    shutil.rmtree(run)  # the run that comes of it needs it no more
    assert json.loads(dnal("eval", "learnt", "--json").out)["differs"] == []
    answer = dnal("grow", "--model", "learnt", "--budget", "params<=120%", "--epochs", "1,2,1", *same, "--out", "more")
    assert answer.status == 0, answer.err
    left, more = read_result(here / "learnt")["compact"]["params"], read_result(here / "more")
    assert more["base"]["params"] == left < more["compact"]["params"] <= 1.2 * left
    assert json.loads(dnal("eval", "more", "--json").out)["differs"] == []
    answer = dnal("sparsify", "--model", "more", "--keep", "50%", "--epochs", "1,2,1", *same, "--out", "sparse")
    assert answer.status == 0, answer.err
    assert dnal("export", "sparse", "--to", "pt2", "--quiet").status == 0


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 5, 8, 11])
def test_on_the_digits_it_goes_on_where_it_was_killed_with_the_same_bytes(at: int, digits: Processes) -> None:
    """Three steps of the base, three in each of two growths, three of the last phase: killed in each of them."""
    job = [*DIGITS, "--out", f"killed-{at}", "--checkpoint-every", "1"]
    assert digits(job, at=at).status == -signal.SIGKILL
    resumed = digits(["resume", f"killed-{at}", "--no-report"])
    assert resumed.status == 0, resumed.err
    assert 12 - at <= resumed.steps <= 13 - at  # the step in which it was killed may be kept or not
    for name in ("config.yaml", MODEL, MANIFEST, Growth.file):
        whole, run = ((digits.folder / folder / name).read_bytes() for folder in ("whole", f"killed-{at}"))
        assert whole == run, name


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    """A run that nothing disturbs, and where others are killed."""
    processes = Processes(tmp_path_factory.mktemp("digits"))
    whole = processes([*DIGITS, "--out", "whole"])
    assert whole.status == 0, whole.err
    assert whole.steps == 12
    _keeps_its_budget(processes.folder / "whole", 2.0)
    return processes


def _keeps_its_budget(run: Path, times: float) -> None:
    result = read_result(run)
    assert result["base"]["params"] < result["compact"]["params"] <= times * result["base"]["params"]


def _keeps_and_uses_its_budget(run: Path) -> None:
    network, result = load(run), read_result(run)
    params = sum(parameter.numel() for parameter in network.parameters())
    assert params == result["compact"]["params"]
    assert 0.99 * 1.25 * result["base"]["params"] <= params <= 1.25 * result["base"]["params"]
    change = read_change(run)
    assert isinstance(change, Growth)
    assert change.left("0.weight") == tuple(network.get_parameter("0.weight").shape)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds", "0"], "--rounds is 1 or more"),
        (["--method", "uniform"], "'uniform' adds no neurons; grow has tiny, gradmax, random-neurons"),
        (["--method", "tinny"], "did you mean 'tiny'"),
        (["--method", "tiny:x=1"], "has no option 'x'"),
        (["--budget", "latency<=9ms"], "grows to a number of params, macs or both"),
        (["--budget", "params<=50%"], "is not above what this network has before it grows"),
        (["--budget", "params<=100.1%", "--epochs", "0,2,0"], "leaves no room for a single channel more"),
        (["--rounds", "9", "--epochs", "1,2,1"], "8 or more for the second"),
    ],
)
def test_what_cannot_be_is_a_sentence(arguments: list[str], said: str, dnal: Program, here: Path) -> None:
    answer = dnal("grow", "--model", "mlp/small", "--data", "wine", "--quiet", *arguments)
    assert (answer.status, answer.err.count("\n")) == (2, 1), answer.err
    assert said in answer.err


def test_in_python_it_returns_what_learn_does_and_is_learnt_further() -> None:
    data = library.data.loaders(library.data.load("digits", limit_train=100), 48)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU(), torch.nn.Conv2d(3, 4, 3, bias=False),
        torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 10),
    )  # fmt: skip
    grown = library.grow(network, *data, budget="macs<=300%", rounds=2, samples=48, epochs=(1, 1, 1))
    assert isinstance(grown.change, Growth)
    assert grown.settings["method"] == {"name": "tiny", "rounds": 2, "samples": 48}
    assert 0.9 * 3 * grown.figures.base.macs < grown.figures.compact.macs <= 3 * grown.figures.base.macs
    learnt = library.learn(
        grown.network, *data, budget="macs<=40%", method="magnitude", epochs=(0, 0, 1), base_is_trained=True
    )
    assert learnt.figures.compact.macs <= 0.4 * grown.figures.compact.macs
    data = library.data.loaders(library.data.load("digits", limit_train=64), 32)
    with pytest.raises(UserError, match="leaves no room for a single channel more"):
        library.grow(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 10)), *data,
                     budget="params<=101%", epochs=(0, 2, 1))  # fmt: skip
    with pytest.raises(UserError, match="unknown method 'zz' of grow"):
        library.grow(nn.Linear(64, 4), *data, method="zz")
    with pytest.raises(UserError, match="rounds is 1 or more"):
        library.grow(network, *data, rounds=0)
