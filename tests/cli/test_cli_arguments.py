"""Options in a file mean what they mean on the command line."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from cli_program import Program
from dnal.base.errors import UserError
from dnal.cli.arguments import PLACES, arguments_of, job_of
from dnal.cli.job import JobRequest
from dnal.cli.learn import learn

EVERY: dict[str, Any] = {
    "model": "cifar/resnet20", "weights": None, "input": [3, 32, 32], "classes": 10, "data": "digits", "root": "-dir",
    "budget": "macs<=50%,params<=60%", "min_width": 0.1, "divisor": "auto", "prune_blocks": False,
    "deploy_batch_size": 8, "backend": "torch-cpu", "epochs": "1,2,3", "lr": 0.1 + 0.2, "optimizer": "adamw",
    "schedule": "step", "schedule_over": "phase",
    "batch_size": 32, "workers": 0, "accumulate": 4, "include": ["layer1.*", "layer2.*"], "exclude": "*.conv2",
    "norms": "open", "uniform_layers": True,
    "seed": 7, "limit_train": 300, "precision": "32-true", "memory_format": "contiguous", "checkpoint_every": 3,
    "method": "random-search:candidates=5", "with": ["ema:decay=0.9", "clipping"], "without": "distillation",
    "reinitialize": True, "log_to": ["tensorboard"],
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[JobRequest]:
    """The jobs that `dnal learn` would do."""
    jobs: list[JobRequest] = []
    monkeypatch.setattr("dnal.cli.running.run", lambda wanted, *others, **named: jobs.extend(wanted))
    return jobs


@pytest.mark.parametrize(
    "settings",
    [
        {},
        EVERY,
        {"method": "paper:penalty=1e-5"},
        {"epochs": 6, "min_width": 4, "divisor": 8, "prune_blocks": True},
        {"epochs": [1, 2, 3], "lr": "1e-3"},
    ],
    ids=["none", "every", "paper", "numbers", "lists"],
)
def test_the_job_is_the_one_that_the_command_does(
    settings: dict[str, Any], asked: list[JobRequest], dnal: Program, here: object
) -> None:
    arguments = arguments_of(settings)
    answer = dnal("learn", *arguments)
    assert answer.status == 0, answer.err
    assert asked == [job_of(arguments)]


def test_every_option_has_its_name() -> None:
    options = {name.rstrip("_").removeprefix("as_") for name in inspect.signature(learn).parameters} - {"ctx"}
    assert options == EVERY.keys() | PLACES.keys()


BAD = {
    "unknown": ({"epoch": 3}, "did you mean 'epochs'"),
    "unlike any": ({"zzz": 3}, "--help"),
    "out": ({"out": "x"}, "names the folders"),
    "devices": ({"devices": 2}, "one process"),
    "no number": ({"seed": "x"}, "--seed is a whole number"),
    "truth as a number": ({"seed": True}, "--seed is a whole number"),
    "number as truth": ({"prune_blocks": 1}, "true or false"),
    "range": ({"lr": -1}, "--lr is more than 0"),
    "budget": ({"budget": "macs<30%"}, "no budget"),
    "method": ({"method": "papre"}, "did you mean 'paper'"),
    "option of the method": ({"method": "tas:tau=3"}, "did you mean 'tau_start'|has no option"),
    "epochs": ({"epochs": [1, 2]}, "--epochs"),
}


@pytest.mark.parametrize(("settings", "remedy"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_one_sentence(settings: dict[str, Any], remedy: str) -> None:
    with pytest.raises(UserError, match=remedy) as raised:
        job_of(arguments_of(settings))
    assert "\n" not in str(raised.value)
