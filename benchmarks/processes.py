"""Do two processes come to the same result as one? The default job on the digits, three seeds each.

`dnal learn` with `--devices 1` and `--devices 2` (gloo, CPU): the same budget, and an accuracy that differs by no more
than the seeds do. Batch norm takes its statistics from each process's own half of a batch, so the results are not equal
to the last digit; networks without it are (`tests/test_processes.py`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from result_file import append_rows, read_rows


def learned(processes: int, seed: int, epochs: str, folder: Path) -> dict[str, object]:
    run = folder / f"{processes}-{seed}"
    command = [
        sys.executable, "-m", "dnal", "learn", "--devices", str(processes), "--seed", str(seed), "--epochs", epochs,
        "--out", str(run),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    result = json.loads((run / "result.json").read_text())
    return {
        "processes": processes,
        "seed": seed,
        "epochs": epochs.replace(",", "+"),
        "accuracy": f"{result['compact']['accuracy']:.4f}",
        "macs": int(result["compact"]["macs"]),
        "macs_share": f"{result['compact']['macs'] / result['base']['macs']:.4f}",
        "holds": all(row["holds"] for row in result["constraints"]),
        "seconds": f"{sum(result['seconds'].values()):.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", default="10,10,10")
    options = parser.parse_args()
    done = {(row["processes"], row["seed"]) for row in read_rows(options.out)}
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for processes in (1, 2):
                if (str(processes), str(seed)) not in done:
                    row = learned(processes, seed, options.epochs, Path(folder))
                    append_rows(options.out, list(row), [row])
    rows = read_rows(options.out)
    for processes in ("1", "2"):
        own = [float(row["accuracy"]) for row in rows if row["processes"] == processes]
        error = statistics.stdev(own) / len(own) ** 0.5
        print(f"{processes} processes: accuracy {statistics.mean(own):.4f}, standard error {error:.4f}")


if __name__ == "__main__":
    main()
