"""The command of a trial is what its run was."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from dnal.base.errors import UserError
from dnal.cli.sweep import _trials
from dnal.run.files import CONFIG
from dnal.sweep.configuration import sweep_of
from dnal.sweep.trial import Trial


@pytest.mark.parametrize("timed", [False, True])
def test_the_command_has_the_threads_of_the_run_and_what_timing_decided(finished: Path, timed: bool) -> None:
    trial = Trial("trial-0", {}, ["--budget", "macs<=30%"], [], timed, finished)
    threads, *words = shlex.split(trial.command(64))
    assert threads == f"OMP_NUM_THREADS={yaml.safe_load((finished / CONFIG).read_text())['threads']}"
    arguments = ["--like", str(finished)] if timed else ["--budget", "macs<=30%"]
    assert words == ["dnal", "learn", *arguments]


def test_before_it_is_begun_it_is_what_was_asked(tmp_path: Path) -> None:
    trial = Trial("trial-0", {}, ["--divisor", "auto"], [], True, tmp_path / "trial-0")
    assert shlex.split(trial.command(3)) == ["OMP_NUM_THREADS=3", "dnal", "learn", "--divisor", "auto"]


def test_a_damaged_configuration_is_told(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "trial-0"
    run.mkdir()
    config = yaml.safe_load((finished / CONFIG).read_text())
    for damage in ({"threads": "two"}, {"precision": None}, {"device": [1]}):
        (run / CONFIG).write_text(yaml.safe_dump(config | damage))
        with pytest.raises(UserError, match=re.escape(str(run / CONFIG))):
            Trial("trial-0", {}, [], [], True, run).command(1)
    (run / CONFIG).write_text("[]")
    with pytest.raises(UserError, match=re.escape(str(run / CONFIG))):
        Trial("trial-0", {}, [], [], True, run).command(1)


def test_a_trial_goes_on_with_what_the_sweep_names(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so with nothing else that its folder says."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "swept_method.py").write_text(
        "from dataclasses import dataclass\n"
        "from dnal.methods.uniform import Uniform\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Uniform):\n    pass\n"
    )
    job = "{model: 'own.network:net', method: 'swept_method:Mine', input: '1,8,8'}"
    text = f"job: {job}\ngrid: {{seed: [0], budget: ['latency<=50%']}}"  # what is timed is not said by the options
    (trial,) = _trials(sweep_of(text, "sweep.yaml"), tmp_path / "study")
    packages = [word for name in ("own", "swept_method") for word in ("--trust", name)]
    assert trial.task(1).resume[-7:-1] == [*packages, "--trust", "digits"]
    shutil.copytree(finished, trial.run)
    assert trial.command(1).endswith(f"--like {trial.run} {' '.join(packages)}")
    (trial,) = _trials(sweep_of("job: {model: timm/resnet18}\ngrid: {seed: [0]}", "sweep.yaml"), tmp_path / "study")
    assert trial.task(1).resume[-5:-1] == ["--trust", "timm/resnet18", "--trust", "digits"]
