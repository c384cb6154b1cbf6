"""`dnal learn` in two processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from killed import Processes, ended

import dnal as package
from cli_program import Program
from dnal.run.files import CONFIG, LOG, RESULT

JOB = ["learn", "--epochs", "2,2,2", "--limit-train", "200", "--checkpoint-every", "2", "--devices", "2"]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("two"))


def environments() -> list[dict[str, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return [{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": str(rank)} for rank in range(2)]


def test_fabric_starts_them_and_one_makes_the_run(here: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "dnal", *JOB, "--out", "run"],
        cwd=here, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("run:  run") == 1
    config = yaml.safe_load((here / "run" / CONFIG).read_text())
    assert config["processes"] == 2
    assert len((here / "run" / LOG).read_text().splitlines()) == 6
    result = json.loads((here / "run" / RESULT).read_text())
    assert all(row["holds"] for row in result["constraints"])
    assert package.load(here / "run")


def test_when_one_is_killed_the_other_ends_with_a_sentence_and_one_alone_goes_on(
    processes: Processes, dnal: Program
) -> None:
    first, second = environments()
    alive = processes.start([*JOB, "--out", "run"], environment=first)
    killed = processes.start([*JOB, "--out", "run"], environment=second, at=11)
    assert ended(*killed).status == -signal.SIGKILL
    end = ended(*alive)
    assert end.status not in (0, None)
    assert "another process of the job is gone. `dnal resume run` goes on." in end.err
    answer = dnal("resume", processes.folder / "run")
    assert answer.status == 0
    assert "processes 1 instead of 2" in answer.err
    assert all(row["holds"] for row in json.loads((processes.folder / "run" / RESULT).read_text())["constraints"])


def test_a_signal_to_one_stops_both(processes: Processes) -> None:
    first, second = environments()
    one = processes.start([*JOB, "--out", "stopped"], environment=first)
    other = processes.start([*JOB, "--out", "stopped"], environment=second, at=6, number=signal.SIGTERM)
    ends = ended(*one), ended(*other)
    assert {end.status for end in ends} == {143}
    assert "`dnal resume stopped` goes on" in ends[0].err
    assert len({end.steps for end in ends}) == 1


def test_a_batch_too_small_for_all_is_told_once_and_nothing_is_begun(here: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "dnal", *JOB, "--batch-size", "3", "--out", "run"],
        cwd=here, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert answer.stderr.startswith("dnal: a batch of 3 is too small for 2 processes")
    assert "a --batch-size of 4 or more" in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert list(here.iterdir()) == []
