"""Are two workers of `dnal search` 1.7 times as fast as one?

The search has its defaults (psoCNN's swarm of 8, in rounds, on the digits), except for 6 epochs of each network, so
that it takes longer than seconds. It runs with one worker and with two in turn, `--pairs` times. The time of the whole
search includes that two processes start, import what they need and wait for the end of every round; `later_seconds` are
those of the rounds after the first, when the processes run already. CPU seconds are those of all processes. Both must
find the same, byte for byte.

On a machine with two idle cores:
OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/search_workers.py
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from dnal.run.files import CANDIDATES, RESULT
from dnal.search import search
from paired import machine
from result_file import write_rows

SEARCH: dict[str, Any] = {"data": "digits", "evaluations": 24, "epochs": 6, "final_epochs": 1}
WORKERS = (1, 2)
MEASURED = ("seconds", "later_seconds", "cpu_seconds")


def cpu() -> float:
    """CPU seconds of this process and of all its children that ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))


def searched(folder: Path, workers: int) -> dict[str, Any]:
    """One search: its seconds by the clock and of all CPUs, and what it found."""
    ends: list[tuple[int, float]] = []
    begun = cpu()
    search(
        **SEARCH, jobs=workers, out=folder, on_end=lambda _, candidate: ends.append((candidate.round, perf_counter()))
    )
    first = max(when for round, when in ends if round == 1)
    return {
        "seconds": json.loads((folder / RESULT).read_text())["seconds"]["search"],
        "later_seconds": max(when for _, when in ends) - first, "cpu_seconds": cpu() - begun,
        "found": (folder / CANDIDATES).read_bytes(),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=2, help="searches with one worker and with two")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args(arguments)
    turns: dict[int, list[dict[str, Any]]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as place:
        search(**{**SEARCH, "evaluations": 1, "epochs": 1})  # warms up: imports and caches
        for pair in range(options.pairs):
            for workers in WORKERS:
                turns[workers].append(searched(Path(place) / f"{pair}-{workers}", workers))
                said = {name: value for name, value in turns[workers][-1].items() if name != "found"}
                print(f"{workers} at once: {said}", flush=True)
    found = {turn["found"] for own in turns.values() for turn in own}

    def times_as_fast(name: str, workers: int) -> float:
        return statistics.median(one[name] / own[name] for one, own in zip(turns[1], turns[workers], strict=True))

    rows = [
        {
            "workers": workers, "pairs": options.pairs, "networks": SEARCH["evaluations"], "epochs": SEARCH["epochs"],
            **{name: round(statistics.median(turn[name] for turn in own), 2) for name in MEASURED},
            "times_as_fast": round(times_as_fast("seconds", workers), 3),
            "later_times_as_fast": round(times_as_fast("later_seconds", workers), 3),
            "same": len(found) == 1, "machine": machine(),
        }
        for workers, own in turns.items()
    ]  # fmt: skip
    write_rows(options.out, rows)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
