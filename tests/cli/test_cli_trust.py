"""`dnal learn --like` and `dnal resume` of a folder that may be anybody's: what it names is not done unasked."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from killed import Processes

from cli_program import SHORT, Program
from dnal.base.errors import UserError
from dnal.report.command import like_command
from dnal.report.source import read_source
from dnal.run.believed import check_believed
from dnal.run.config import read_config
from dnal.run.files import ARCHITECTURE, CONFIG, MODEL, RESULT, TRADE_OFF
from dnal.run.trust import going_on

HARM = "import os\nos.mkdir('executed')\n"
"""A module that shows that it was imported."""
OWN = """
from dataclasses import dataclass
from torch import nn
from dnal.methods.uniform import Uniform
from dnal.techniques.label_smoothing import LabelSmoothing

def net(classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3),
                         nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, classes))

@dataclass(frozen=True)
class Mine(Uniform):
    pass

@dataclass
class Smooth(LabelSmoothing):
    pass
"""
GIANT = "torchvision/regnet_y_128gf"
COMMANDS = {"like": ("learn", "--like", "run", "--out", "again"), "resume": ("resume", "run")}
either = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture
def run(finished: Path, here: Path) -> Path:
    """A run that is not finished, beside a module that does harm."""
    run = Path(shutil.copytree(finished, here / "run"))
    (run / RESULT).unlink()
    (here / "theirs.py").write_text(HARM)
    return run


def forged(run: Path, **values: Any) -> None:
    document = yaml.safe_load((run / CONFIG).read_text())
    (run / CONFIG).write_text(yaml.safe_dump({**document, **values}, sort_keys=False))


@either
@pytest.mark.parametrize(
    "named",
    [
        {"model": "theirs:net"},
        {"method": {"name": "theirs:Method"}},
        {"techniques": [{"name": "theirs:Technique"}]},
        {"techniques": [{"name": "ema"}, {"name": "theirs.deeper:Technique", "amount": 1}]},
    ],
    ids=["model", "method", "technique", "second technique"],
)
def test_code_that_a_folder_names_is_not_run(
    command: tuple[str, ...], named: dict[str, Any], run: Path, here: Path, dnal: Program
) -> None:
    forged(run, **named)
    before = sorted(run.iterdir())
    answer = dnal(*command)
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert "add --trust theirs " in answer.err
    assert dnal(*command, "--trust", "their", "--trust", "theirs.other", "--trust", "os").status == 2
    assert not (here / "executed").exists()
    assert sorted(run.iterdir()) == before
    assert not (here / "again").exists()


@pytest.fixture
def ours(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of the user's own."""
    (here / "ours.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(here))
    yield
    sys.modules.pop("ours", None)


@pytest.mark.usefixtures("ours")
def test_what_is_given_takes_the_place_of_it_unread(run: Path, here: Path, dnal: Program) -> None:
    forged(run, method={"name": "theirs:Method"}, techniques=[{"name": "theirs:Technique"}], model="theirs:net")
    given = ("--model", "ours:net", "--method", "uniform", "--epochs", "1,0,1")
    answer = dnal("learn", "--like", "run", *given, "--out", "again")
    assert answer.status == 0, answer.err
    assert not (here / "executed").exists()
    config = yaml.safe_load((here / "again" / CONFIG).read_text())
    assert (config["model"], config["method"]) == ("ours:net", {"name": "uniform"})


@pytest.mark.usefixtures("ours")
def test_a_run_of_ones_own_code_goes_on_and_repeats_where_it_is_trusted(here: Path, dnal: Program) -> None:
    own = ("--model", "ours:net", "--method", "ours:Mine", "--with", "ours:Smooth:amount=0.1")
    assert dnal("learn", *SHORT, "--epochs", "1,0,1", *own, "--out", "run").status == 0
    whole = {name: (here / "run" / name).read_bytes() for name in (ARCHITECTURE, MODEL)}
    (here / "run" / RESULT).unlink()
    hint = "dnal resume run --trust ours"
    assert going_on(Path("run")) == hint
    for refused in (dnal("eval", "run"), dnal("learn", *own, "--out", "run")):
        assert refused.status == 2
        assert f"`{hint}` goes on" in refused.err
    source = read_source("run")
    assert hint in source.missing[0]
    assert like_command(source).endswith("dnal learn --like run --trust ours")
    for command in (hint, "dnal learn --like run --trust ours --out again"):
        answer = dnal(*command.split()[1:])
        assert answer.status == 0, answer.err
    for folder in ("run", "again"):
        assert {name: (here / folder / name).read_bytes() for name in whole} == whole


def test_a_finished_run_needs_no_trust_to_say_so(run: Path, finished: Path, here: Path, dnal: Program) -> None:
    shutil.copy(finished / RESULT, run / RESULT)
    forged(run, method={"name": "theirs:Method"})
    answer = dnal("resume", "run")
    assert (answer.status, "is finished" in answer.out) == (0, True)
    assert not (here / "executed").exists()


@either
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"model": GIANT, "input": [3, 64, 64]}, "bytes, more than the"),
        ({"batch_size": 2**22, "input": [1, 512, 512]}, "numbers, more than the"),
    ],
    ids=["network", "batch"],
)
def test_a_job_much_larger_than_its_folder_takes_no_memory(
    command: tuple[str, ...], values: dict[str, Any], expected: str, run: Path, dnal: Program
) -> None:
    forged(run, **values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = dnal(*command)
    assert answer.status == 2
    assert expected in answer.err
    remedy = "--model" if command[0] == "learn" else "--trust"
    assert f"say {remedy} {values.get('model', 'vgg_small')} if that is meant" in answer.err
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB; the network has 2.4 GiB


def test_a_size_is_believed_of_a_model_that_is_trusted_and_of_files_that_have_it(run: Path) -> None:
    forged(run, model="torchvision/resnet50", input=[3, 64, 64])  # 94 MB
    config = read_config(run)
    with pytest.raises(UserError, match="torchvision/resnet50"):
        check_believed(config, [run], (), "")
    check_believed(config, [run], ("torchvision/resnet50",), "")
    with (run / MODEL).open("ab") as file:
        file.write(bytes(2**24))
    check_believed(config, [run], (), "")


@either
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"data": "cifar100"}, "CIFAR100 is not in"),
        (
            {"weights": "pretrained", "model": "torchvision/squeezenet1_1", "input": [3, 64, 64]},
            "not on this machine",
        ),
        ({"weights": "pretrained", "model": "timm/test_resnet", "input": [3, 64, 64]}, "pretrained weights"),
    ],
    ids=["data", "torch.hub", "the Hugging Face Hub"],
)
def test_nothing_is_downloaded_for_a_folder(
    command: tuple[str, ...],
    values: dict[str, Any],
    expected: str,
    run: Path,
    here: Path,
    dnal: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def connect(*told: object, **_: object) -> None:
        asked.append(told)
        raise OSError("no network")

    for name in ("HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(here))
    for function in ("connect", "connect_ex", "getaddrinfo"):
        owner = "socket.socket" if function.startswith("connect") else "socket"
        monkeypatch.setattr(f"{owner}.{function}", connect)
    forged(run, **values, data_sha256=None)
    answer = dnal(*command)
    assert answer.status == 2
    assert expected in answer.err
    assert not asked
    assert not list(here.glob(".cache/dnal*"))
    assert not list(here.rglob("*.pth"))


def test_a_link_among_the_runs_of_a_trade_off_leads_nowhere(run: Path, here: Path, dnal: Program) -> None:
    (here / "elsewhere").mkdir()
    curve = here / "curve"
    curve.mkdir()
    (curve / "one").symlink_to(here / "elsewhere")
    (curve / TRADE_OFF).write_text(json.dumps({"one": (run / CONFIG).read_text()}))
    assert dnal("resume", "curve").status == 2
    assert not list((here / "elsewhere").iterdir())
    (curve / TRADE_OFF).unlink()
    shutil.copy(run / CONFIG, here / "elsewhere" / CONFIG)
    answer = dnal("resume", "curve")
    assert (answer.status, "is a link" in answer.err) == (2, True)
    assert [entry.name for entry in (here / "elsewhere").iterdir()] == [CONFIG]


def test_trust_without_a_folder_says_nothing(here: Path, dnal: Program) -> None:
    answer = dnal("learn", "--trust", "ours")
    assert (answer.status, "--like" in answer.err) == (2, True)


def test_a_signal_names_the_command_that_goes_on_with_ones_own_code(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    (tmp_path / "ours.py").write_text(OWN)
    job = ("learn", *SHORT, "--model", "ours:net", "--out", "run")
    ended = processes([*job], at=2, number=signal.SIGTERM)
    assert ended.status == 128 + signal.SIGTERM, ended.err
    assert "`dnal resume run --trust ours` goes on" in ended.err
