"""What goes wrong in the middle of a job: a sentence, a status that is not 0, and a state to go on from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from killed import Processes

from cli_program import Program
from dnal.cli.failures import sentence_of
from dnal.run.files import RESULT
from dnal.train.resume.checkpoint import Checkpoints

JOB = ["learn", "--epochs", "2,2,2", "--limit-train", "200", "--checkpoint-every", "2"]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("failures"))


@pytest.mark.parametrize(
    ("trouble", "options", "words"),
    [
        ("disk", [], "File too large"),
        ("memory", ["--batch-size", "180"], "not enough memory for a batch; lower --batch-size"),
        ("worker", ["--workers", "1"], "a process that prepares images died"),
    ],
)
def test_trouble_is_a_sentence_and_the_run_goes_on_after_it(
    trouble: str, options: list[str], words: str, processes: Processes, dnal: Program
) -> None:
    end = processes([*JOB, *options, "--out", trouble], at=3, number=trouble)
    assert end.status == 2
    assert end.err.count("\n") == 1, end.err
    assert words in end.err
    assert f"`dnal resume {trouble}` goes on" in end.err
    run = processes.folder / trouble
    assert not list(run.glob("*.tmp"))
    assert Checkpoints(run).load() is not None
    assert dnal("resume", run).status == 0
    assert (run / RESULT).exists()


def test_a_folder_that_is_removed_is_told_at_the_next_write_and_not_made_again(processes: Processes) -> None:
    end = processes([*JOB, "--out", "folder"], at=3, number="folder")
    assert (end.status, end.steps) == (2, 4)  # a checkpoint every 2 steps
    assert end.err.count("\n") == 1, end.err
    assert "'folder' was removed, moved or replaced while this job worked in it" in end.err
    assert "resume" not in end.err
    assert not (processes.folder / "folder").exists()


def test_a_full_disk_at_the_end_leaves_no_finished_run(processes: Processes, tmp_path: Path, dnal: Program) -> None:
    end = processes([*JOB, "--out", "late"], at=24, number="disk")
    assert end.status == 2
    run = Path(shutil.copytree(processes.folder / "late", tmp_path / "late"))
    assert not (run / RESULT).exists()
    assert not list(run.glob("*.tmp"))
    assert "not finished" in dnal("eval", run).err


def test_other_errors_are_nobody_elses() -> None:
    assert sentence_of(RuntimeError("shapes cannot be multiplied")) is None
    assert sentence_of(KeyError("weight")) is None
