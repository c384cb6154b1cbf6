"""How long does `dnal analyse` take on a run of CIFAR-10 with 19 corruptions in 3 severities on 1,000 images?

Twice in processes of their own: the first draws the corruptions and keeps them, the second finds them on the disk.
Seconds by the clock, and those that the process computed, which other work on the machine does not lengthen.
Arguments that it does not know are handed on to `dnal analyse`.

dnal learn --model vgg_small --data CIFAR10.npz --limit-train 4000 --epochs 3,1,3 --budget "macs<=40%" --out RUN
PYTHONPATH=src:benchmarks python benchmarks/speed/analyse.py RUN
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paired import machine
from result_file import write_rows


def timed(run: Path, cache: Path, out: Path, severities: str, images: int, further: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and computed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dnal", "analyse", str(run), "--corruptions", "all", "--severities", severities,
         "--images", str(images), "--out", str(out), "--quiet", *further],
        check=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, computed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, help="Where corruptions were kept before; default: they are drawn.")
    parser.add_argument("--pages", type=Path, help="Keep the pages here.")
    parser.add_argument("--severities", default="1,3,5")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    arguments, further = parser.parse_known_args()
    result = json.loads((arguments.run / "result.json").read_text())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cache = arguments.cache or Path(folder) / "cache"
        for what in ("kept",) if arguments.cache else ("drawn", "kept"):
            clock, computed = timed(
                arguments.run,
                cache,
                (arguments.pages or Path(folder)) / what,
                arguments.severities,
                arguments.images,
                further,
            )
            rows.append({
                "corruptions": what, "severities": arguments.severities.replace(",", " "), "images": arguments.images,
                "seconds": f"{clock:.1f}", "computed_seconds": f"{computed:.1f}",
                "macs": f"{result['base']['macs']:.0f}", "compact_macs": f"{result['compact']['macs']:.0f}",
                "machine": machine(),
            })  # fmt: skip
            print(rows[-1], flush=True)
    write_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
