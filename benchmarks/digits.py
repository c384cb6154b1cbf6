"""The default job on the embedded digits, three seeds: `dnal learn` as a user runs it.

python benchmarks/digits.py --out benchmarks/digits.csv
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from result_file import write_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/digits.csv"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            command = [sys.executable, "-c", "from dnal.cli import main; main()", "learn"]
            subprocess.run([*command, "--seed", str(seed), "--out", str(run)], check=True, stdout=subprocess.DEVNULL)
            result = json.loads((run / "result.json").read_text())
        base, compact = result["base"], result["compact"]
        rows.append(
            {
                "seed": seed,
                "base_accuracy": f"{base['accuracy']:.4f}",
                "compact_accuracy": f"{compact['accuracy']:.4f}",
                "base_macs": base["macs"],
                "compact_macs": compact["macs"],
                "macs_share": f"{compact['macs'] / base['macs']:.4f}",
                "base_params": base["params"],
                "compact_params": compact["params"],
                "latency_ratio": f"{compact['latency_ms'] / base['latency_ms']:.3f}",
                "seconds": f"{sum(result['seconds'].values()):.0f}",
            }
        )
        print(rows[-1], flush=True)
    write_rows(options.out, rows)
    for column in ("base_accuracy", "compact_accuracy"):
        print(f"{column}: mean {100 * statistics.mean(float(row[column]) for row in rows):.2f} %")


if __name__ == "__main__":
    main()
