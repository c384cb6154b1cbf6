"""Is a base worth more as a guide of what is left of it, or as its teacher?

    dnal bench --suite guided --data cifar10=cifar10.npz --out bench-guided --only dnal
    dnal bench --suite cpu --data cifar10=cifar10.npz --out bench-cpu --only vgg16-quarter --only dnal
    python benchmarks/guided.py --guided bench-guided --cpu bench-cpu

Puts the rows of both beside each other: the same network, data, bases by their seeds and samples. Prints the paired
differences with their 95 % intervals, by the share of the MACs and over both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dnal.base.statistics import paired
from dnal.bench.results import read_results
from result_file import write_rows

GUIDED, HEARD, ALONE = "guidance", "distillation", "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guided", type=Path, required=True, help="the folder of the suite guided")
    parser.add_argument("--cpu", type=Path, required=True, help="the folder of the suite cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    found = [(run, row, GUIDED) for run, row in read_results(options.guided).items()]
    found += [(run, row, HEARD if run.taught else ALONE) for run, row in read_results(options.cpu).items()]
    of: dict[str, dict[tuple[float, int], float]] = {way: {} for way in (GUIDED, HEARD, ALONE)}
    rows = []
    for run, row, way in found:
        if (run.entry, run.network) == ("dnal", "vgg16-quarter"):
            of[way][run.share, run.seed] = 100 * float(row["accuracy"])
            told = {field: row[field] for field in ("accuracy", "base_accuracy", "rate", "used", "method", "torch")}
            rows.append({"network": run.network, "share": run.share, "seed": run.seed, "by_the_base": way, **told})
    rows.sort(key=lambda one: (-one["share"], one["seed"], one["by_the_base"]))
    write_rows(options.out, rows)
    seeds, shares = ({key[place] for key in of[GUIDED]} for place in (1, 0))
    for other in (HEARD, ALONE):
        for part in (*((share,) for share in sorted(shares)), tuple(shares)):
            means = [{s: sum(each[p, s] for p in part) / len(part) for s in seeds} for each in (of[GUIDED], of[other])]
            print(f"{GUIDED} minus {other} at {part} % of the MACs, points:", paired(*means))


if __name__ == "__main__":
    main()
