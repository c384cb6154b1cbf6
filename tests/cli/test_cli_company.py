"""`--devices 2`, and one of the processes is gone while they start: the other ends, with a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

JOB = ["learn", "--epochs", "1,1,1", "--limit-train", "200", "--devices", "2", "--out", "run"]
LONGEST = 120
"""Seconds, on a machine with other things to do; it was a quarter of an hour."""


def answered(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The job with more options, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "dnal", *JOB, *more], cwd=folder, capture_output=True, text=True, check=False,
        timeout=LONGEST,
    )  # fmt: skip


def started(folder: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dnal", *JOB], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )  # fmt: skip


def other_of(process: subprocess.Popen[str]) -> int:
    """The process that it starts, as soon as that is there."""
    while process.poll() is None:
        for found in Path(f"/proc/{process.pid}/task").glob("*/children"):
            for child in found.read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):  # one that has ended since
                    if b"dnal.base.leash" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
    raise AssertionError(process.communicate())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("first", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["the first", "the other"])
def test_one_of_them_is_killed_as_it_starts(first: bool, tmp_path: Path) -> None:
    process = started(tmp_path)
    other = other_of(process)
    os.kill(process.pid if first else other, signal.SIGKILL)
    # The pipes close when both are gone.
    _, said = process.communicate(timeout=LONGEST)
    assert said.count("\n") == 1, said
    if first:
        assert said == "dnal: the process that started this one is gone.\n"
    else:
        assert process.returncode == 2
        assert "another process of the job is gone; where a run was begun, `dnal resume` goes on with it." in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_who_is_wrong_says_so_once_more_at_most_and_leaves_no_process_behind(tmp_path: Path) -> None:
    """A process that ends on purpose has given the reason, and the other does not say that it is gone."""
    answer = answered(tmp_path, "--data", "none.npz")
    assert answer.returncode == 2
    assert "none.npz" in answer.stderr
    assert " is gone" not in answer.stderr


@pytest.mark.slow
def test_one_that_somebody_else_started_does_not_wait_for_long(tmp_path: Path) -> None:
    process = started(tmp_path, {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"})
    _, said = process.communicate(timeout=2 * LONGEST)  # its own import included
    assert process.returncode == 2
    assert "the 2 processes of this job did not find each other within 50 seconds" in said
    assert said.count("\n") == 1, said


@pytest.mark.slow
def test_a_strategy_that_no_command_can_use_is_refused(tmp_path: Path) -> None:
    answer = answered(tmp_path, "--strategy", "ddp_spawn")
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert "the strategy 'ddp_spawn' cannot be used here" in answer.stderr
