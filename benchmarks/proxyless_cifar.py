"""The paper's whole search space for images of 32x32, learnt in one pass: the figures of finished runs, a row each.

    dnal learn --model supernet/proxyless-cifar --data cifar10.npz --limit-train 10000 --batch-size 256 \
        --epochs 6,3,10 --budget "macs<=15%" --without distillation --out RUN
    python benchmarks/proxyless_cifar.py RUN [RUN ...] --device "NVIDIA H100 80GB HBM3"

Seconds are of the clock. The first epoch of a phase stands by itself: on a GPU it takes much longer than the others.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from result_file import append_rows, read_rows

FIELDS = (
    "device", "torch", "images", "batch", "precision", "epochs", "budget", "base_macs", "macs", "base_params", "params",
    "base_accuracy", "accuracy", "backend", "base_latency_ms", "latency_ms", "base_s", "architecture_s", "retrain_s",
    "first_epochs_s", "blocks_left", "candidates_left",
)  # fmt: skip


def row(run: Path, device: str) -> dict[str, Any]:
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    blocks = [line for line in (run / "shape.txt").read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    left = [line for line in blocks if not line.endswith("shortcut")]
    base, compact, seconds = result["base"], result["compact"], result["seconds"]
    return {
        "device": device, "torch": settings["torch"], "images": settings["limit_train"],
        "batch": settings["batch_size"], "precision": settings["precision"],
        "epochs": "+".join(map(str, settings["epochs"])), "budget": settings["budget"],
        "base_macs": base["macs"], "macs": compact["macs"], "base_params": base["params"], "params": compact["params"],
        "base_accuracy": f"{base['accuracy']:.4f}", "accuracy": f"{compact['accuracy']:.4f}",
        "backend": settings["backend"], "base_latency_ms": f"{base['latency_ms']:.2f}",
        "latency_ms": f"{compact['latency_ms']:.2f}",
        **{f"{phase}_s": f"{seconds[phase]:.0f}" for phase in ("base", "architecture", "retrain")},
        "first_epochs_s": "+".join(f"{record['seconds']:.0f}" for record in log if record["epoch"] == 1),
        "blocks_left": f"{len(left)} of {len(blocks)}",
        "candidates_left": sum(line.count("->") for line in left),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--device", required=True, help="the machine, in words: a run does not say")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/proxyless_cifar.csv"))
    options = parser.parse_args()
    known = read_rows(options.out)
    for run in options.runs:
        made = row(run, options.device)
        if not any(all(r[name] == str(made[name]) for name in FIELDS) for r in known):
            known += append_rows(options.out, FIELDS, [made])


if __name__ == "__main__":
    main()
