"""What does it cost to write a checkpoint, beside torch.save and beside how it was done before?

A state of 256 MB, as 64 matrices: in turn dnal's checkpoint; the same as it was written before (a copy of every
tensor, hashed, then a second copy as the content of the file); `torch.save`; and `torch.save` with the fsync that a
checkpoint has. Seconds of wall clock, and the seconds that the process computed. Memory: the most above the state.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/checkpoints.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dnal.base.atomic import write_bytes
from dnal.base.tensors import raw
from dnal.train.resume.checkpoint import BEFORE, LAST, Checkpoints
from dnal.train.resume.tree import packed
from paired import machine, medians
from result_file import append_rows

MEGABYTES, TENSORS = 256, 64
FIELDS = (
    "way",
    "mb",
    "seconds",
    "computed_seconds",
    "over_torch_save",
    "computed_over_torch_save",
    "memory_mb",
    "machine",
)


def before(folder: Path, tree: dict[str, Tensor]) -> None:
    tensors, document = packed(tree)
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(document)
    digest = hashlib.sha256(text.encode())
    for name in sorted(copies):
        digest.update(raw(copies[name]))
    content = save(copies, {"state": text, "sha256": digest.hexdigest()})
    write_bytes(folder / LAST, content, before=folder / BEFORE)


def torch_save(path: Path, tree: dict[str, Tensor], *, safe: bool) -> None:
    with path.open("wb") as file:
        torch.save(tree, file)
        file.flush()
        if safe:
            os.fsync(file.fileno())


def peak_mb(way: Callable[[], object]) -> float:
    """The most memory while it runs above what there was before; of Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    Path("/proc/self/clear_refs").write_text("5")
    way()
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return round(int(peak.split()[1]) / 1024 - pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    side = int((MEGABYTES * 2**20 / 4 / TENSORS) ** 0.5)
    tree = {f"{number}.weight": torch.randn(side, side) for number in range(TENSORS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints = Checkpoints(folder / "now")
        (folder / "before").mkdir()
        ways: dict[str, Callable[[], object]] = {
            "torch.save": lambda: torch_save(folder / "plain.pt", tree, safe=False),
            "torch.save, fsync": lambda: torch_save(folder / "safe.pt", tree, safe=True),
            "checkpoint": lambda: checkpoints.save(dict(tree)),
            "checkpoint before": lambda: before(folder / "before", tree),
        }
        memory = {way: peak_mb(run) for way, run in ways.items()}
        seconds = medians(ways, options.repeats)
        computed = medians(ways, options.repeats, 0, time.process_time)
    for way in ways:
        row = {
            "way": way, "mb": MEGABYTES, "seconds": round(seconds[way], 3), "computed_seconds": round(computed[way], 3),
            "over_torch_save": round(seconds[way] / seconds["torch.save"], 2),
            "computed_over_torch_save": round(computed[way] / computed["torch.save"], 2), "memory_mb": memory[way],
            "machine": machine(),
        }  # fmt: skip
        print(append_rows(options.out, FIELDS, [row]), flush=True)


if __name__ == "__main__":
    main()
