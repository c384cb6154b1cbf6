"""`dnal resume`: whatever ended a run, it goes on, and ends as the run that was never ended."""

from __future__ import annotations

import json
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from killed import Processes

from cli_program import Program
from dnal.base.errors import UserError
from dnal.cli.resume import jobs_of_runs
from dnal.loggers.names import BOARD, LOGGERS
from dnal.run.files import ARCHITECTURE, CONFIG, LATENCY, LOCK, LOG, MODEL, REPORT, RESULT, TRADE_OFF
from dnal.run.repeat import recorded
from dnal.train.resume.checkpoint import BEFORE, LAST, Checkpoints
from holder import holder

JOB = ["learn", "--epochs", "2,2,2", "--limit-train", "200", "--checkpoint-every", "2"]  # 4 steps an epoch
STEPS = 24
EVERY = 2


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def whole(processes: Processes) -> Path:
    """The run that nothing ended."""
    assert processes([*JOB, "--out", "whole"]).status == 0
    return processes.folder / "whole"


def same(run: Path, whole: Path) -> None:
    for name in (ARCHITECTURE, MODEL, CONFIG):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    records, expected = (
        [{**json.loads(line), "seconds": 0} for line in (folder / LOG).read_text().splitlines()]
        for folder in (run, whole)
    )
    assert records == expected
    assert {entry.name for entry in run.iterdir()} == {entry.name for entry in whole.iterdir()}


def reached(run: Path) -> int:
    """The steps that the checkpoint has."""
    tree = Checkpoints(run).load()
    assert tree is not None
    before = {"base": 0, "architecture": 8, "retrain": 16}[tree["phase"]]
    return before + 4 * tree["position"]["epoch"] + tree["position"]["step"]


@pytest.mark.slow
def test_killed_at_eight_random_moments(processes: Processes, whole: Path) -> None:
    draw = random.Random(0)
    for kill in range(8):
        run = f"killed{kill}"
        ended = processes([*JOB, "--out", run], at=1 + kill * STEPS // 8 + draw.randrange(3), delay=draw.random() / 30)
        assert ended.status == -signal.SIGKILL
        folder = whole.parent / run
        kept = reached(folder)
        assert ended.steps - kept <= EVERY + 1  # the step that was under way counts too
        resumed = processes(["resume", run])
        assert (resumed.status, resumed.err, resumed.steps) == (0, "", STEPS - kept)
        same(folder, whole)


@pytest.mark.slow
def test_killed_while_it_goes_on(processes: Processes, whole: Path) -> None:
    processes([*JOB, "--out", "again"], at=5)
    for _ in range(3):
        assert processes(["resume", "again"], at=6).status == -signal.SIGKILL
    assert processes(["resume", "again"]).status == 0
    same(whole.parent / "again", whole)


@pytest.mark.parametrize(
    ("number", "status", "at"),
    [
        (signal.SIGINT, 130, 3),
        (signal.SIGTERM, 143, 13),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((signal.SIGTERM, 143, 3), (signal.SIGINT, 130, 13))),
    ],
)
def test_a_signal_keeps_the_state_and_tells_how_to_go_on(
    number: int, status: int, at: int, processes: Processes, whole: Path
) -> None:
    run = f"signal{number}at{at}"
    ended = processes([*JOB, "--out", run], at=at, number=number)
    assert ended.status == status
    assert ended.err.count("\n") == 1
    assert f"`dnal resume {run}` goes on" in ended.err
    assert reached(whole.parent / run) == ended.steps  # nothing is lost
    assert processes(["resume", run]).status == 0
    same(whole.parent / run, whole)


def test_a_trade_off_goes_on_with_what_is_left(processes: Processes) -> None:
    budgets = ["--budget", "macs<=60%", "--budget", "macs<=30%"]
    assert processes([*JOB, *budgets, "--out", "curve"]).status == 0
    ended = processes([*JOB, *budgets, "--out", "killed_curve"], at=32)
    assert ended.status == -signal.SIGKILL
    assert processes(["resume", "killed_curve"]).status == 0
    for name in ("macs60pct", "macs30pct"):
        same(processes.folder / "killed_curve" / name, processes.folder / "curve" / name)


def test_a_trade_off_goes_on_with_a_run_that_was_only_recorded(processes: Processes, dnal: Program) -> None:
    """Killed when the first of its runs was begun, and the other one not."""
    budgets = ["--budget", "macs<=60%", "--budget", "macs<=30%"]
    whole = processes.folder / "curve"
    if not whole.exists():
        assert processes([*JOB, *budgets, "--out", "curve"]).status == 0
    half = processes.folder / "half"
    texts = {run.name: (run / CONFIG).read_text() for run in whole.iterdir() if run.is_dir()}
    assert len(texts) == 2
    (half / "macs60pct").mkdir(parents=True)
    (half / "macs60pct" / CONFIG).write_text(texts["macs60pct"])
    (half / TRADE_OFF).write_text(json.dumps(texts))
    refused = dnal("learn", *JOB[1:], *budgets, "--out", half)
    assert refused.status == 2
    assert f"`dnal resume {half}` goes on with it" in refused.err
    assert dnal("resume", half, "--checkpoint-every", 2).status == 0
    for name in texts:
        same(half / name, whole / name)
    assert {entry.name for entry in half.iterdir()} == {*texts, REPORT}


@pytest.fixture
def stopped(processes: Processes, whole: Path, tmp_path: Path) -> Path:
    """A run that was stopped in its second phase."""
    if not (whole.parent / "stopped").exists():
        processes([*JOB, "--out", "stopped"], at=11, number=signal.SIGTERM)
    return Path(shutil.copytree(whole.parent / "stopped", tmp_path / "stopped"))


def test_a_finished_run_says_so(whole: Path, dnal: Program) -> None:
    answer = dnal("resume", whole)
    assert (answer.status, answer.err) == (0, "")
    assert "is finished" in answer.out


def test_a_finished_run_gets_what_a_kill_kept_from_it(whole: Path, tmp_path: Path, dnal: Program) -> None:
    for number, gone in enumerate(([REPORT], [], [REPORT])):
        run = Path(shutil.copytree(whole, tmp_path / f"run{number}"))
        for name in gone:
            (run / name).unlink()
        (run / LAST).write_bytes(b"of its last step")
        (run / f"{REPORT}.{'0' * 16}.tmp").write_bytes(b"torn")
        (run / LOCK).touch()
    (run / f"{RESULT}.{'0' * 16}.tmp").write_bytes(b"torn")
    for number in range(3):
        answer = dnal("resume", tmp_path / f"run{number}")
        assert (answer.status, answer.err) == (0, "")
        same(tmp_path / f"run{number}", whole)


def test_another_process_that_works_there_is_told(stopped: Path, whole: Path, dnal: Program) -> None:
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    with holder(stopped) as process:
        for arguments in (["resume", stopped], [*JOB, "--overwrite", "--out", stopped], [*JOB, "--out", stopped]):
            answer = dnal(*arguments)
            assert answer.status == 2
            assert answer.err == f"dnal: another `dnal` works in '{stopped}'; wait for its end, or stop it.\n"
        assert {path.name: path.read_bytes() for path in stopped.iterdir()} == {**before, LOCK: b""}
        assert dnal("report", stopped).status == 0  # who only reads is not kept from it
        process.kill()
        process.join()
        assert dnal("resume", stopped).status == 0  # what a killed one held is free
    same(stopped, whole)


def test_a_start_that_was_killed_is_begun_by_the_same_command(here: Path, dnal: Program) -> None:
    run = here / "runs" / "vgg_small-digits-macs30pct-s0"
    run.mkdir(parents=True)
    for name in (LOCK, LATENCY, f"{CONFIG}.{'0' * 16}.tmp"):
        (run / name).touch()
    answer = dnal("resume", run)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "nothing was begun" in answer.err
    assert "the same `dnal learn` as before begins it" in answer.err
    assert dnal(*JOB, "--quiet").out == "runs/vgg_small-digits-macs30pct-s0\n"
    assert not {LOCK, LATENCY} & {path.name for path in run.iterdir()}


def test_a_logger_whose_log_was_not_opened_yet_is_told_all_the_same(stopped: Path, dnal: Program) -> None:
    pytest.importorskip("tensorboard")
    (stopped / LOGGERS).write_text('{"tensorboard": ""}')
    assert dnal("resume", stopped).status == 0
    assert json.loads((stopped / LOGGERS).read_text()) == {"tensorboard": BOARD}
    assert list((stopped / BOARD).iterdir())


def test_what_is_not_finished_names_the_command_that_goes_on(stopped: Path, dnal: Program) -> None:
    for arguments in (["eval", stopped], ["export", stopped, "--to", "pt2"], [*JOB, "--out", stopped]):
        answer = dnal(*arguments)
        assert (answer.status, answer.err.count("\n")) == (2, 1)
        assert f"`dnal resume {stopped}` goes on with it" in answer.err


def test_a_run_without_a_checkpoint_starts(stopped: Path, whole: Path, dnal: Program) -> None:
    for name in (LAST, BEFORE, LOG):
        (stopped / name).unlink()
    assert dnal("resume", stopped).status == 0
    same(stopped, whole)


def test_a_torn_checkpoint_is_left_aside(stopped: Path, whole: Path, dnal: Program) -> None:
    content = (stopped / LAST).read_bytes()
    (stopped / LAST).write_bytes(content[: len(content) // 2])
    answer = dnal("resume", stopped)
    assert answer.status == 0
    assert "is damaged; the one before it is used" in answer.err
    same(stopped, whole)


def test_two_torn_checkpoints_are_a_sentence(stopped: Path, dnal: Program) -> None:
    for name in (LAST, BEFORE):
        (stopped / name).write_bytes((stopped / name).read_bytes()[:100])
    answer = dnal("resume", stopped)
    assert answer.status == 2
    assert "delete them to begin again" in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["nowhere"], ["empty"]])
def test_what_is_no_run_is_refused(arguments: list[str], here: Path, dnal: Program) -> None:
    (here / "empty").mkdir()
    answer = dnal("resume", *arguments)
    assert answer.status == 2
    assert answer.err.count("\n") == 1


def test_data_that_changed_are_refused(here: Path, dnal: Program) -> None:
    draw = np.random.default_rng(0)
    arrays = {
        "x_train": draw.integers(0, 255, (60, 8, 8, 1), dtype=np.uint8), "y_train": np.arange(60) % 3,
        "x_test": draw.integers(0, 255, (30, 8, 8, 1), dtype=np.uint8), "y_test": np.arange(30) % 3,
    }  # fmt: skip
    np.savez(here / "mine.npz", **arrays)
    assert dnal("learn", "--data", "mine.npz", "--epochs", "1,1,1", "--out", "run").status == 0
    (here / "run" / RESULT).unlink()
    arrays["y_train"][5] = (arrays["y_train"][5] + 1) % 3
    np.savez(here / "mine.npz", **arrays)
    answer = dnal("resume", "run")
    assert answer.status == 2
    assert "are not those that the run began with" in answer.err


def test_runs_whose_widths_a_bound_on_the_latency_decided_are_of_one_job(finished: Path) -> None:
    document = recorded(finished)
    timed = replace(document, budget="latency<=80%", options={**document.options, "divisor": 8})
    jobs = jobs_of_runs(finished, {finished: document, finished.parent: timed})
    assert [(job.widths.divisor, job.budgets) for job in jobs] == [(None, ("macs<=30%",)), (None, ("latency<=80%",))]
    given = replace(document, options={**document.options, "divisor": "auto"})  # for both, and decided for one
    jobs = jobs_of_runs(finished, {finished: given, finished.parent: timed})
    assert [job.widths.divisor for job in jobs] == ["auto", "auto"]
    other = replace(document, options={**document.options, "divisor": 8})
    with pytest.raises(UserError, match="differ in more than their budgets"):
        jobs_of_runs(finished, {finished: document, finished.parent: other})
