"""The help: an example for every command, which the command understands; what a call that makes no sense is told."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cli_program import Program
from dnal.cli.app import COMMANDS, app
from dnal.cli.examples import EXAMPLES, PROGRAM

group = typer.main.get_command(app)


def test_every_command_has_an_example_in_its_help(dnal: Program) -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()
    for name, examples in {**EXAMPLES, "": PROGRAM}.items():
        answer = dnal(*([name] if name else []), "--help")
        assert (answer.status, answer.err) == (0, "")
        shown = " ".join(answer.out.split())
        assert all(" ".join(example.split()) in shown for example in examples)
        assert "\x1b" not in answer.out


@pytest.mark.parametrize("example", [example for own in (*EXAMPLES.values(), PROGRAM) for example in own])
def test_examples_are_understood_by_their_command(example: str) -> None:
    program, name, *arguments = shlex.split(example)
    assert program == "dnal"
    if arguments == ["--help"]:
        return
    command = group.commands[name]  # type: ignore[attr-defined]
    command.make_context(name, arguments)


def test_names_in_the_examples_exist() -> None:
    from dnal import data, models
    from dnal.bench.suite import suite_of
    from dnal.costs.budget import Budget
    from dnal.export.formats import FORMATS
    from dnal.predictors import PREDICTORS
    from dnal.settings import BACKENDS

    words = [shlex.split(example) for own in (*EXAMPLES.values(), PROGRAM) for example in own]

    def given(option: str, *commands: str) -> list[str]:
        return [own[own.index(option) + 1] for own in words if option in own and own[1] in (commands or COMMANDS)]

    assert set(given("--model", *COMMANDS.keys() - {"predict"})) <= set(models.names())
    assert all(PREDICTORS.read(name) for name in given("--model", "predict"))
    assert set(given("--data", "learn")) <= {name for name, _, _ in data.names()}
    assert set(given("--to")) <= FORMATS.keys()
    assert set(given("--backend")) <= BACKENDS.keys()
    assert [suite_of(name).name for name in given("--suite")] == given("--suite")
    assert all(Budget.parse(budget) for budget in given("--budget"))


def test_without_a_command_it_is_the_help(dnal: Program) -> None:
    alone, asked = dnal(), dnal("--help")
    assert (alone.status, alone.err) == (0, "")
    assert alone.out.split() == asked.out.split()


WRONG = {
    "command": (["lern"], "there is no command 'lern'; did you mean 'learn'?"),
    "command unlike any": (["xyz"], "`dnal --help` lists all"),
    "option of the program": (["--verson"], "did you mean '--version'?"),
    "option": (["learn", "--budgt", "macs<=30%"], "did you mean '--budget'?"),
    "option that turns off": (["learn", "--no-prune-block"], "did you mean '--no-prune-blocks'?"),
    "option unlike any": (["learn", "--xyz"], "`dnal learn --help` lists all"),
    "short option": (["learn", "-m", "vgg_small"], "there is no option '-m'"),
    "value": (["learn", "--lr", "fast"], "--lr is a number"),
    "no value": (["learn", "--lr"], "'--lr'"),
    "no argument": (["eval"], "missing argument 'RUN'; `dnal eval --help`"),
    "one argument too many": (["eval", "a", "b"], "`dnal eval --help`"),
}


@pytest.mark.parametrize(("arguments", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_call_is_one_sentence(dnal: Program, arguments: list[str], expected: str) -> None:
    answer = dnal(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("dnal: ")
    assert answer.err.count("\n") == 1
    assert expected in answer.err


NEAREST = {
    "model without its source": (["learn", "--model", "resnt50"], "'torchvision/resnet50' or 'timm/resnet50'"),
    "model of torchvision": (["space", "--model", "torchvision/resnt50"], "'torchvision/resnet50'"),
    "model of timm": (["profile", "--model", "timm/mobilenetv3_smal_100"], "'timm/mobilenetv3_small_100'"),
    "data": (["learn", "--data", "cfar10"], "'cifar10'"),
    "method": (["learn", "--method", "magnitud"], "'magnitude'"),
    "option of a method": (["learn", "--method", "tas:tau_strat=3"], "'tau_start'"),
    "technique": (["learn", "--with", "emma"], "'ema'"),
    "schedule": (["learn", "--schedule", "cosin"], "'cosine'"),
    "optimizer": (["learn", "--optimizer", "adamv"], "'adam'"),
    "cost": (["learn", "--budget", "parameters<=1M"], "'params'"),
    "backend": (["profile", "--backend", "onnxruntime"], "'onnxruntime-cpu'"),
    "precision": (["learn", "--precision", "bf16mixed"], "'bf16-mixed'"),
    "strategy": (["learn", "--devices", "2", "--strategy", "ddpp"], "'ddp'"),
    "logger": (["learn", "--log-to", "tensorbord"], "'tensorboard'"),
    "format": (["export", "run", "--to", "onx"], "'onnx'"),
    "suite": (["bench", "--suite", "smok"], "'smoke'"),
    "part of a suite": (["bench", "--suite", "cpu", "--only", "magnitud"], "'magnitude'"),
    "parameter": (["space", "--explain", "features.0.weigth"], "'features.0.weight'"),
    "pattern": (["learn", "--exclude", "features.00"], "'features.0'"),
    "run": (["eval", "my_rum"], "'my_run'"),
    "key of a configuration": (["learn", "--like", "my_run"], "'batch_size'"),
    "key of a sweep": (["sweep", "sweep.yaml"], "'job'"),
}


@pytest.mark.parametrize(("arguments", "right"), NEAREST.values(), ids=NEAREST.keys())
def test_a_wrong_name_is_told_the_nearest_right_one(
    here: Path, finished: Path, dnal: Program, arguments: list[str], right: str
) -> None:
    (here / "my_run").mkdir()
    config = (finished / "config.yaml").read_text()
    (here / "my_run" / "config.yaml").write_text(f"{config}batchsize: 3\n")
    (here / "sweep.yaml").write_text("jobb: {model: vgg_small}\ngrid: {seed: [0, 1]}\n")
    answer = dnal(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert f"did you mean {right}?" in answer.err
    assert answer.err.count("\n") == 1


SHOWN = {
    "help": "from dnal.cli import main; main()",
    "table": "from dnal.cli.display import table; table([('heading', False)], [('value',)])",
}


@pytest.mark.parametrize("code", SHOWN.values(), ids=SHOWN.keys())
@pytest.mark.parametrize("forced", ["GITHUB_ACTIONS", "FORCE_COLOR"])
def test_no_colour_in_a_pipe_whatever_forces_it(code: str, forced: str) -> None:
    environment = {**os.environ, forced: "1"}
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, check=True, env=environment)
    assert done.stdout
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize("code", SHOWN.values(), ids=SHOWN.keys())
@pytest.mark.parametrize("wanted", [True, False])
def test_colour_on_a_terminal_unless_it_is_not_wanted(code: str, wanted: bool) -> None:
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "" if wanted else "1"}
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code, "--help"], stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: _some(ours), b""))
    os.close(ours)
    assert process.returncode == 0
    assert (b"\x1b[" in shown) == wanted


def _some(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has the other end any more
        return b""
