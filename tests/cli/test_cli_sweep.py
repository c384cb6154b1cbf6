"""`dnal sweep`: trials on Ray that survive, and a table whose commands make the same runs again."""

from __future__ import annotations

import csv
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli_program import Program
from dnal.run.files import ARCHITECTURE, CONFIG, MODEL, RESULT
from dnal.sweep.folder import TABLE

# A network that ends a process in its twelfth step of training, half way: itself where there is a file kill_trial, the
# one that started it where there is kill_worker. Each file serves once, whichever trial comes first.
MORTAL = """
import itertools, os, pathlib, signal
from torch import nn

STEPS = itertools.count(1)

class Mortal(nn.Sequential):
    def forward(self, images):
        if self.training and next(STEPS) == 12:
            for name, victim in (("kill_trial", os.getpid()), ("kill_worker", os.getppid())):
                try:
                    pathlib.Path(name).rename(f"{name}_done")
                except FileNotFoundError:
                    continue
                os.kill(victim, signal.SIGKILL)
        return super().forward(images)

def net(classes, in_channels):
    return Mortal(
        nn.Conv2d(in_channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.MaxPool2d(4), nn.Flatten(), nn.Linear(64, classes))
"""
SHARED = {
    "model": "mortal:net", "data": "digits", "limit_train": 200, "epochs": "2,2,2", "checkpoint_every": 2,
}  # fmt: skip
GRID = {"budget": ["macs<=70%", "macs<=50%"], "seed": [0, 1, 2]}
EXACT = (ARCHITECTURE, MODEL)


@pytest.fixture
def there(here: Path) -> Path:
    (here / "mortal.py").write_text(MORTAL)
    return here


def write(name: str, document: object) -> None:
    Path(name).write_text(yaml.safe_dump(document, sort_keys=False))


def swept(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`dnal sweep` in a process of its own, as Ray's is a daemon that outlives a call."""
    return subprocess.run(
        [sys.executable, "-c", "from dnal.cli import main; main()", "sweep", *arguments],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def rows_of(folder: str) -> list[dict[str, str]]:
    return list(csv.DictReader((Path(folder) / TABLE).open()))


def typed(command: str, out: str, tmp_path: Path) -> None:
    """The command of a row, typed into a shell, with another folder."""
    program = tmp_path / "bin" / "dnal"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "from dnal.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(f"{command} --out {out}", shell=True, env=environment, check=True, capture_output=True, timeout=120)


@pytest.mark.slow
def test_six_trials_one_of_them_killed_half_way(there: Path) -> None:
    pytest.importorskip("ray")
    write("grid.yaml", {"job": SHARED, "grid": GRID})
    Path("kill_trial").touch()
    ended = swept("grid.yaml", "--out", "grid", "--trials-at-once", "2")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Path("kill_trial_done").exists()
    rows = rows_of("grid")
    assert [(row["budget"], int(row["seed"])) for row in rows] == [(b, s) for b in GRID["budget"] for s in GRID["seed"]]
    assert {row["status"] for row in rows} == {"finished"}
    assert {row["holds"] for row in rows} == {"true"}
    assert sorted(row["attempts"] for row in rows) == ["1"] * 5 + ["2"]
    (killed,) = (row for row in rows if row["attempts"] == "2")
    assert "dnal resume" in (Path("grid") / f"{killed['trial']}.log").read_text()
    other = next(row for row in rows if row is not killed)
    for row in (killed, other):
        typed(row["command"], f"again_{row['trial']}", there)
        for name in EXACT:
            assert (Path(row["run"]) / name).read_bytes() == (Path(f"again_{row['trial']}") / name).read_bytes(), name
    assert "goes on: ended by signal 9." in ended.stdout
    assert ended.stdout.count("accuracy") == 6 + 1  # a line per trial, and the heading of the table
    own = {"sweep.yaml", TABLE, *(row["trial"] for row in rows), *(f"{row['trial']}.log" for row in rows)}
    assert {entry.name for entry in Path("grid").iterdir()} == own

    before = {row["run"]: (Path(row["run"]) / RESULT).stat().st_mtime_ns for row in rows}
    ended = swept("grid.yaml", "--out", "grid")
    assert ended.returncode == 0
    assert {run: (Path(run) / RESULT).stat().st_mtime_ns for run in before} == before
    assert rows_of("grid") == rows


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_its_trial_along(there: Path) -> None:
    pytest.importorskip("ray")
    write("grid.yaml", {"job": SHARED, "grid": {"seed": [0]}})
    assert swept("grid.yaml", "--out", "quiet").returncode == 0
    Path("kill_worker").touch()
    ended = swept("grid.yaml", "--out", "grid")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert Path("kill_worker_done").exists()
    (row,) = rows_of("grid")
    assert (row["status"], row["attempts"]) == ("finished", "2")
    for name in EXACT:
        assert (Path("grid/trial-0") / name).read_bytes() == (Path("quiet/trial-0") / name).read_bytes()


@pytest.mark.slow
def test_what_fails_is_told_and_tried_again(there: Path) -> None:
    pytest.importorskip("ray")
    # The second bound is below what a network of whole channels can cost: only the trial itself finds out.
    write("random.yaml", {"job": SHARED, "grid": {"budget": ["macs<=50%", "macs<=0.01%"]}})
    for attempts in ("1", "2"):
        ended = swept("random.yaml", "--out", "some", "--trials-at-once", "2")
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert "1 of 2 trials failed; trial-1" in ended.stderr
        assert "below the least possible" in ended.stderr
        good, bad = rows_of("some")
        assert (good["status"], good["attempts"]) == ("finished", "1")
        assert (bad["status"], bad["attempts"], bad["base_macs"]) == ("failed", attempts, "")  # refused: no retries
        assert "below the least possible" in bad["error"]
        assert not Path("some/trial-1").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_sweep_goes_on(there: Path, number: int, status: int) -> None:
    pytest.importorskip("ray")
    # The trial that comes to its twelfth step says so to the sweep, and goes on.
    (there / "mortal.py").write_text(
        MORTAL.replace("os.kill(victim, signal.SIGKILL)", "os.kill(int(pathlib.Path('pid').read_text()), victim)")
        .replace('("kill_trial", os.getpid()), ("kill_worker", os.getppid())', f'("interrupt", {int(number)}),')
    )  # fmt: skip
    write("grid.yaml", {"job": {**SHARED, "epochs": "4,4,4"}, "grid": {"seed": [0, 1]}})
    Path("interrupt").touch()
    program = "import os, pathlib; pathlib.Path('pid').write_text(str(os.getpid())); from dnal.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, "sweep", "grid.yaml", "--out", "grid", "--trials-at-once", "1"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == status
    if number != signal.SIGKILL:
        assert ended.stderr == "dnal: interrupted; `dnal sweep grid.yaml --out grid` goes on.\n"
    assert (Path("grid/trial-0") / CONFIG).exists()
    assert not (Path("grid/trial-0") / RESULT).exists()
    ended = swept("grid.yaml", "--out", "grid", "--trials-at-once", "1")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [(row["status"], row["attempts"]) for row in rows_of("grid")] == [("finished", "2"), ("finished", "1")]
    row = rows_of("grid")[0]
    typed(row["command"], "again", there)
    for name in EXACT:
        assert (Path("grid/trial-0") / name).read_bytes() == (Path("again") / name).read_bytes()


BAD = {
    "no file": ({}, ["none.yaml"], "cannot be read"),
    "unknown option in job": ({"job": {"epoch": 3}, "grid": {"seed": [0]}}, [], "did you mean 'epochs'"),
    "unknown option in grid": ({"grid": {"sede": [0]}}, [], "did you mean 'seed'"),
    "out": ({"grid": {"out": ["a"]}}, [], "names the folders"),
    "a value that cannot work": ({"grid": {"seed": [0, -1]}}, [], "trial-1 (seed=-1): --seed is 0 or more"),
    "options that do not go together": (
        {"grid": {"method": ["paper:penalty=1e-4", "dnal:penalty=1e-4"]}},
        [],
        "has no option 'penalty'",
    ),
    "too few epochs": ({"job": {"epochs": 2}, "grid": {"seed": [0]}}, [], "epochs is 3 or more"),
    "unknown method": ({"grid": {"method": ["dnal", "magnitud"]}}, [], "did you mean 'magnitude'"),
    "two budgets": ({"grid": {"budget": [["macs<=50%", "macs<=25%"]]}}, [], "one budget"),
    "unknown model": ({"job": {"model": "vgg_smal"}, "grid": {"seed": [0]}}, [], "did you mean 'vgg_small'"),
    "unknown data": ({"job": {"data": "digit"}, "grid": {"seed": [0]}}, [], "did you mean 'digits'"),
    "no such data": ({"job": {"data": "none.npz"}, "grid": {"seed": [0]}}, [], "none.npz"),
    "no trials at once": ({"grid": {"seed": [0]}}, ["--trials-at-once", "0"], "--trials-at-once is 1 or more"),
    "a folder with other things": ({"grid": {"seed": [0]}}, ["--out", "full"], "exists and is no sweep"),
    "a file": ({"grid": {"seed": [0]}}, ["--out", "bad.yaml"], "is a file"),
    "another sweep": ({"grid": {"seed": [0]}}, ["--out", "other"], "holds another sweep"),
}


@pytest.mark.parametrize(("document", "arguments", "remedy"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_before_anything_starts(
    document: dict[str, object], arguments: list[str], remedy: str, here: Path, dnal: Program
) -> None:
    write("bad.yaml", document)
    for folder in ("full", "other"):
        Path(folder).mkdir()
    Path("full/notes.txt").touch()
    write("other/sweep.yaml", {"grid": {"seed": [0, 1]}})
    before = sorted(here.rglob("*"))
    config = [] if arguments and arguments[0].endswith(".yaml") else ["bad.yaml"]
    answer = dnal("sweep", *config, *arguments)
    assert answer.status == 2
    assert remedy in answer.err
    assert answer.err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_without_ray_the_extra_is_named(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    write("grid.yaml", {"grid": {"seed": [0]}})
    answer = dnal("sweep", "grid.yaml")
    assert answer.status == 2
    assert "pip install 'dnal[ray]'" in answer.err
    assert answer.err.count("\n") == 1
    assert [entry.name for entry in here.iterdir()] == ["grid.yaml"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "127.0.0.1:x"])
def test_a_cluster_that_does_not_answer(address: str, here: Path, dnal: Program) -> None:
    pytest.importorskip("ray")
    write("grid.yaml", {"grid": {"seed": [0]}})
    answer = dnal("sweep", "grid.yaml", "--address", address)
    assert answer.status == 2
    assert address in answer.err
    assert answer.err.count("\n") == 1
    assert [entry.name for entry in here.iterdir()] == ["grid.yaml"]
