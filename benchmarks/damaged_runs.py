"""What becomes of files and folders of anybody's that are damaged, or that were made to do harm?

    OMP_NUM_THREADS=1 python benchmarks/damaged_runs.py --out benchmarks/damaged_runs.csv

1,000 mutations, drawn by seed, of everything that dnal reads: run folders (`load`, `eval`, `export`, `report`,
`--like`), runs that were killed (`resume`), latency models, lists of shapes, weights, arrays, images, configurations
and folders of sweeps, folders of benchmarks. Each is a copy of an honest thing with one damage; a run that was made to
do harm has a manifest that fits its files. The command runs in a process forked from one that has imported everything,
in a folder of its own, beside files that nobody may touch.

Per room and damage: how often the command refused it and how often it worked; how many of loading's answers were wrong
(`wrong`: undamaged things refused, damaged ones loaded); how many did not end with status 0, 1 or 2 and sentences
(`other`); how many ran code, started a process, asked another machine (`code`) or wrote outside the folder
(`outside`: Python's audit events, and the files beside it); the longest, in seconds on a processor; and the worst peak
of memory of the whole process, over that of the same command with nothing damaged. Linux only.

`--like` does what a run recorded, its model's code included, and is for folders that are trusted (docs/runs.md). So its
row of `model names code` counts code that was run, and three kinds are not tried with it: the two that ask for a huge
network, which it trains (more than 4 minutes and 3 GiB, where it was stopped), and `config names other data`, which it
downloads.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import dnal
from damaged import inputs, pages, runs, settings, states, tables, texts
from damaged.forks import Outcome, Try, outcome_of
from damaged.kinds import KINDS, MARKER, Damage
from damaged.material import NETWORK, QUICK, all_of, network_and_space, workplace
from damaged.watch import Watch
from dnal import models
from dnal.latency import LatencyModel
from result_file import append_rows

FIELDS = (
    "room", "damage", "mutations", "refused", "worked", "wrong", "other", "code", "outside", "seconds", "memory_ratio",
)  # fmt: skip
BESIDE = {"precious": b"precious", "keys": b"# the user's own keys\n", "precious.npz": b"PK"}
"""Files beside the folder in which a command works."""
assert all((inputs, pages, runs, settings, states, tables, texts))  # importing them adds their kinds


class Room(NamedTuple):
    """A command, the material that it reads (and of another name, if that is not its kind), and its part of 1,000."""

    what: Try
    material: str
    share: int
    copied: tuple[str, ...] = ()


def learnt(*more: str) -> list[str]:
    return ["learn", "--model", NETWORK, *more, "--epochs", "1,1,1", "--no-report", "--quiet", "--out", "new"]


def known_latency() -> object:
    _, space = network_and_space()
    model = LatencyModel.load("run/latency.json")
    gates = torch.ones(space.num_gates, dtype=torch.bool)
    return model.cost(space)(gates), model.predicted_ms(space, gates), model.base_ms


ROOMS: dict[str, Room] = {
    "load": Room(lambda: dnal.load("run"), "run", 270, ("load",)),
    "eval": Room(["eval", "run"], "run", 130),
    "export": Room(["export", "run", "--to", "pt2"], "run", 35),
    "report": Room(["report", "run"], "run", 165),
    "like": Room(["learn", "--like", "run", "--no-report", "--quiet", "--out", "new"], "run", 40),
    "resume": Room(["resume", "run", "--no-report"], "unfinished", 70),
    "latency": Room(known_latency, "latency", 30),
    "shape": Room(lambda: dnal.load("shape.txt"), "shape", 110),
    "weights": Room([*learnt("--weights", "weights.safetensors"), *QUICK[:4]], "weights", 35),
    "npz": Room(learnt("--data", "arrays.npz", "--batch-size", "16"), "npz", 40),
    "images": Room(learnt("--data", "images", "--input", "1,8,8", "--batch-size", "4"), "images", 30),
    "sweep.yaml": Room(["sweep", "sweep.yaml", "--out", "study"], "sweep.yaml", 15, ("sweep.yaml", "study")),
    "study": Room(["sweep", "sweep.yaml", "--out", "study"], "study", 15, ("study", "sweep.yaml")),
    "bench": Room(["bench", "--suite", "smoke", "--out", "bench", "--minutes", "0.0001", "--quiet"], "bench", 15),
}


class Trial:
    """Honest material, and a folder in which commands meet what was made of it."""

    def __init__(self, folder: Path) -> None:
        self.watch = Watch()
        self.made = all_of(folder / "honest")
        self.folder = folder
        self.case = folder / "case"

    def ask(self, room: str, damage: Callable[[Path, Path], None] = lambda thing, other: None) -> tuple[Outcome, bool]:
        """What came of a command, and whether something beside its folder was touched."""
        _, material, _, copied = ROOMS[room]
        shutil.rmtree(self.case, ignore_errors=True)
        self.case.mkdir()
        workplace(self.case)
        (self.case / "theirs").mkdir()
        beside = self.case / "victim"  # as what is damaged sees it: ../victim
        beside.mkdir()
        outside = self.folder / "victim"
        for place in (beside, outside):
            place.mkdir(exist_ok=True)
            for name, content in BESIDE.items():
                (place / name).write_bytes(content)
        things = []
        for name in copied or (material,):
            source = self.made[name]
            target = self.case / source.name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            things.append(target)
        # What is touched in there is outside for the thing, though inside for the watch.
        os.chdir(self.case)
        damage(things[0], self.made["other"])
        before = {place: _content(place) for place in (beside, outside)}
        answer = outcome_of(ROOMS[room].what, self.case, self.watch)
        os.chdir(self.folder)
        return answer, any(_content(place) != content for place, content in before.items())


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kinds_of(room: str) -> dict[str, Damage]:
    return {name: kind for name, kind in KINDS[ROOMS[room].material].items() if room in kind.rooms or not kind.rooms}


def row_of(
    room: str, name: str, kind: Damage, numbers: list[int], trial: Trial, seed: int, usual: Outcome
) -> dict[str, Any]:
    """A row of the table."""
    row: dict[str, Any] = dict.fromkeys(FIELDS, 0) | {"room": room, "damage": name, "mutations": len(numbers)}
    for number in numbers:
        draw = random.Random(f"{seed} {room} {number}")
        answer, touched = trial.ask(room, lambda thing, other, draw=draw: kind.act(thing, other, draw))
        # What the command does with nothing damaged is no escape.
        seen = [event for event in answer.seen if event not in usual.seen]
        code = [event for event in seen if not event.startswith(("write", "os."))]
        row["refused"] += answer.refused
        row["worked"] += answer.status in (0, 1)
        row["wrong"] += room == "load" and answer.refused != kind.refused
        row["other"] += not answer.clean
        ran = bool(code) or (trial.case / MARKER).exists()
        row["code"] += ran
        row["outside"] += touched or any(event.startswith(("write", "os.")) for event in seen)
        row["seconds"] = max(row["seconds"], round(answer.seconds, 1))
        row["memory_ratio"] = max(row["memory_ratio"], round(answer.peak / usual.peak, 2))
        bad = not answer.clean or seen or ran or touched or answer.seconds > 60 or answer.peak > 1.5 * usual.peak
        last = (answer.said.strip().splitlines() or [""])[-1][:300]
        print(
            f"{'BAD ' if bad else ''}{room}: {name} {number}: {answer.status} {answer.seconds:.1f} s "
            f"{answer.peak / usual.peak:.2f} {seen or ''} {'touched' if touched else ''} {last}",
            flush=True,
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/damaged_runs.csv"))
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--rooms", nargs="*", default=list(ROOMS), choices=list(ROOMS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.out.resolve()
    torch.set_num_threads(1)
    out.unlink(missing_ok=True)
    total: dict[str, Any] = dict.fromkeys(FIELDS[2:], 0)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder))
        _import_everything(trial)
        for room in options.rooms:
            count = round(options.mutations * ROOMS[room].share / 1000)
            kinds = kinds_of(room)
            usual, touched = trial.ask(room)
            assert usual.status in (0, 1), f"{room}: {usual.said}"
            assert not touched, room
            print(f"{room}: {usual.seconds:.1f} s, {usual.peak / 2**20:.0f} MiB, {usual.seen or ''}", flush=True)
            numbers: dict[str, list[int]] = {name: [] for name in kinds}
            for number in range(count):
                numbers[list(kinds)[number % len(kinds)]].append(number)
            rows = [
                row_of(room, name, kinds[name], own, trial, options.seed, usual) for name, own in numbers.items() if own
            ]
            append_rows(out, FIELDS, rows)
            for field in FIELDS[2:]:
                join = max if field in ("seconds", "memory_ratio") else lambda a, b: a + b
                for row in rows:
                    total[field] = join(total[field], row[field])
    for field, value in total.items():
        print(f"{field}: {value}")


def _import_everything(trial: Trial) -> None:
    """Imports what the commands import, so that a fork begins at once and reads no module of a hostile folder."""
    import onnxruntime  # noqa: F401
    import plotly.offline  # noqa: F401
    import torchmetrics.classification  # noqa: F401

    import dnal.bench.bench
    import dnal.bench.plot
    import dnal.bench.table
    import dnal.cli.app
    import dnal.cli.like
    import dnal.cli.progress
    import dnal.cli.report
    import dnal.cli.running
    import dnal.cli.summary
    import dnal.export
    import dnal.pipeline.learn
    import dnal.report.page
    import dnal.sweep.folder  # noqa: F401
    from dnal.run import evaluate

    models.names()
    os.chdir(trial.folder)
    evaluate(trial.made["run"])


if __name__ == "__main__":
    main()
