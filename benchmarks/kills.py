"""Is a run that was killed anywhere the run that was never killed?

`dnal learn` on the digits, three phases, is started as a user would start it, killed with SIGKILL at a random moment,
and resumed, 25 times, each from a new run; a row per kill: where it was, how many steps were lost beyond the last
checkpoint, and whether architecture.json and model.safetensors equal those of the run that nothing disturbed, byte for
byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dnal.train.checkpoint import Checkpoints
from result_file import append_rows, read_rows

PROGRAM = [sys.executable, "-c", "from dnal.cli import main; main()"]
PHASES = ("base", "architecture", "retrain")


def learned(options: argparse.Namespace, run: str) -> list[str]:
    epochs = ",".join([str(options.epochs)] * len(PHASES))
    return [
        *PROGRAM, "learn", "--epochs", epochs, "--checkpoint-every", str(options.every), "--out", run,
    ]  # fmt: skip


def log_lines(run: Path) -> int:
    log = run / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def kept(run: Path) -> dict[str, object]:
    tree = Checkpoints(run).load()
    if tree is None:
        return {"phase": "", "epoch": 0, "step": 0, "epochs": 0}
    epochs = len(tree["history"])
    return {
        "phase": tree["phase"],
        "epoch": tree["position"]["epoch"],
        "step": tree["position"]["step"],
        "epochs": epochs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--epochs", type=int, default=4, help="of each phase")
    parser.add_argument("--every", type=int, default=5, help="steps between checkpoints")
    options = parser.parse_args()
    done = len(read_rows(options.out))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        whole = folder / "whole"
        begun = time.perf_counter()
        subprocess.run(learned(options, str(whole)), check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        training = sum(json.loads((whole / "result.json").read_text())["seconds"][phase] for phase in PHASES)
        for number in range(done, options.kills):
            draw = random.Random(number)
            run = folder / str(number)
            process = subprocess.Popen(learned(options, str(run)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not (run / "config.yaml").exists() and process.poll() is None:
                time.sleep(0.005)
            moment = draw.random() * min(training, seconds)
            time.sleep(moment)
            os.kill(process.pid, signal.SIGKILL)
            status = process.wait()
            at, lines = kept(run), log_lines(run)
            resumed = subprocess.run([*PROGRAM, "resume", str(run)], capture_output=True, text=True)
            equal = {
                name: (run / name).exists() and (run / name).read_bytes() == (whole / name).read_bytes()
                for name in ("architecture.json", "model.safetensors")
            }
            row = {
                "kill": number,
                "seconds_after_config": f"{moment:.2f}",
                "status": status,
                "phase": at["phase"],
                "epoch": at["epoch"],
                "step": at["step"],
                "epochs_lost": lines - int(str(at["epochs"])),
                "every": options.every,
                "resumed_status": resumed.returncode,
                "same_architecture": equal["architecture.json"],
                "same_weights": equal["model.safetensors"],
            }
            print(row, flush=True)
            append_rows(options.out, list(row), [row])


if __name__ == "__main__":
    main()
