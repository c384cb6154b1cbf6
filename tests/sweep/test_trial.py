"""The command of a trial is what its run was."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from dnal.base.errors import UserError
from dnal.run.files import CONFIG
from dnal.sweep.trial import Trial


@pytest.mark.parametrize("timed", [False, True])
def test_the_command_has_the_threads_of_the_run_and_what_timing_decided(finished: Path, timed: bool) -> None:
    trial = Trial("trial-0", {}, ["--budget", "macs<=30%"], [], timed, finished)
    threads, *words = shlex.split(trial.command(64))
    assert threads == f"OMP_NUM_THREADS={yaml.safe_load((finished / CONFIG).read_text())['threads']}"
    arguments = ["--like", str(finished)] if timed else ["--budget", "macs<=30%"]
    assert words == ["dnal", "learn", *arguments]


def test_before_it_is_begun_it_is_what_was_asked(tmp_path: Path) -> None:
    trial = Trial("trial-0", {}, ["--multiple", "auto"], [], True, tmp_path / "trial-0")
    assert shlex.split(trial.command(3)) == ["OMP_NUM_THREADS=3", "dnal", "learn", "--multiple", "auto"]


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
