"""Are the trials of a sweep those that their commands make, if one of them is killed?

Six trials over Ray on this machine, two at once. When a trial is half way its process is killed
with SIGKILL. Then every command of the table is typed into a shell, with another folder; a row per trial: how often it
was begun or gone on with, and whether architecture.json and model.safetensors equal those that the command makes, byte
for byte.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from result_file import append_rows

PROGRAM = [sys.executable, "-c", "from dnal.cli import main; main()"]
FIGURES = ("trial", "budget", "seed", "status", "attempts", "compact_macs", "compact_accuracy", "holds")
FIELDS = (*FIGURES, "killed_after_epochs", "architecture_equal", "weights_equal", "command")
SWEEP = """\
job: {model: vgg_small, data: digits, epochs: "%(each)d,%(each)d,%(each)d"}
grid: {budget: ["macs<=50%%", "macs<=25%%"], seed: [0, 1, 2]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--victim", type=int, default=1, help="number of the trial that is killed")
    parser.add_argument("--epochs", type=int, default=10, help="of each of the three phases")
    options = parser.parse_args()
    out = options.out.absolute()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        Path("sweep.yaml").write_text(SWEEP % {"each": options.epochs})
        sweep = subprocess.Popen([*PROGRAM, "sweep", "sweep.yaml", "--out", "study", "--trials-at-once", "2"])
        killed_after = kill_half_way(Path("study") / f"trial-{options.victim}", 3 * options.epochs // 2)
        assert sweep.wait() == 0
        with Path("study/trials.csv").open() as file:
            trials = list(csv.DictReader(file))
        for number, trial in enumerate(trials):
            run, again = Path(trial["run"]), Path(f"again-{number}")
            Path("dnal").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PROGRAM[2]}" "$@"\n')
            Path("dnal").chmod(0o755)
            subprocess.run(
                f"PATH=.:$PATH; {trial['command']} --out {again}", shell=True, check=True, stdout=subprocess.DEVNULL
            )
            equal = {
                name: int((run / file).read_bytes() == (again / file).read_bytes())
                for name, file in (("architecture", "architecture.json"), ("weights", "model.safetensors"))
            }
            row = {
                **{name: trial[name] for name in FIGURES},
                **{f"{name}_equal": value for name, value in equal.items()},
                "killed_after_epochs": killed_after if number == options.victim else "",
                "command": trial["command"],
            }
            print(*append_rows(out, FIELDS, [row])[0].values())


def kill_half_way(run: Path, half: int) -> int:
    """Kills the process of a trial once it has logged ``half`` of its epochs; how many it had."""
    log = run / "log.jsonl"
    while True:
        epochs = len(log.read_text().splitlines()) if log.exists() else 0
        if epochs >= half:
            os.kill(process_of(run), signal.SIGKILL)
            return epochs
        time.sleep(0.02)


def process_of(run: Path) -> int:
    """The process that was given this folder."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "dnal.base.leash" in words and str(run.absolute()) in words:
            return int(entry.parent.name)
    raise ProcessLookupError(f"nobody works on {run}")


if __name__ == "__main__":
    main()
