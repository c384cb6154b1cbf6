"""Does it work on networks as people have them? Everything that they do with a network, on each of a list.

Per network (`people/` builds them; nothing is downloaded): the seconds of CPU of the analysis over those of one forward
pass, and the checks, each "yes", "no" (`reason` says why), or what it found:
exact             with half of its variables removed, at two batches and two sizes, as in `coverage_exact.py`
macs              of the Space, of `dnal.macs` and of torch's counter agree, of the whole network and of the compact one
training_step     under gates has finite gradients, equal to those of the same step by hand
eval_mode         after a training step of the compact network
deep_copy         of it
second_round      the Space of the compact network has the groups of the first, and a second removal is exact
without_branches  every second residual branch left out, with and without half of the channels
export            the format that it leaves as: pt2, a torch.export program, from which ONNX is written too (--format)
A network that dnal refuses with a sentence has no checks: its status is "refused".
Every network has a process of its own with one thread, 3 minutes of CPU and 8 GB for all of it. Rows that the result
file has are kept: the same command goes on after a kill.

pip install '.[coverage]'
python benchmarks/coverage_people.py --out benchmarks/coverage_people.csv
python benchmarks/coverage_people.py --report
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import median

from coverage_process import ENVIRONMENT, forked
from result_file import append_rows, read_rows

HERE = Path(__file__).parent
CHECKS = (
    "exact", "macs", "training_step", "eval_mode", "deep_copy", "second_round", "without_branches", "export",
)  # fmt: skip
FIELDS = (
    "network", "status", *CHECKS, "reason", "parameters", "groups", "variables", "branches", "removable_share",
    "analysis_seconds", "forward_seconds", "analysis_over_forward", "batches_x_sizes", "difference", "control",
    "precision", "macs_told_whole", "macs_by_torch_whole", "macs_told_compact", "macs_by_torch_compact", "not_counted",
    "gradients_differ", "groups_again", "helped_modules", "export_refused", "fixed_because", "peak_mb", "versions",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", type=Path, default=HERE / "coverage_people.txt", help="one network a line")
    parser.add_argument("--out", type=Path, default=HERE / "coverage_people.csv")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="networks whose names contain one of these"
    )
    parser.add_argument("--again", action="store_true", help="measure those once more, instead of keeping their rows")
    parser.add_argument("--memory", type=float, default=8, metavar="GB", help="limit for each network")
    parser.add_argument("--seconds", type=int, default=180, help="limit for each network")
    parser.add_argument("--format", choices=("pt2", "onnx"), default="pt2", help="of the export")
    parser.add_argument("--report", action="store_true", help="only print what the result file says")
    options = parser.parse_args()
    names = [n for n in listed(options.list) if not options.only or any(text in n for text in options.only)]
    if options.again:
        rewrite(options.out, [row for row in read_rows(options.out) if row["network"] not in names])
    done = {row["network"] for row in read_rows(options.out)}
    for name in [] if options.report else names:
        if name not in done:
            (row,) = append_rows(options.out, FIELDS, [measured(name, options.memory, options.seconds, options.format)])
            print(shown(row), flush=True)
    rows = {row["network"]: row for row in read_rows(options.out)}
    print("\n".join(report([rows[name] for name in names if name in rows])))


def listed(path: Path) -> list[str]:
    """The names of a list, without what follows #."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def measured(name: str, memory_gb: float, seconds: int, export_format: str) -> dict[str, str]:
    """The row of one network, from a process of its own that is a fork of this one."""
    os.environ.update(ENVIRONMENT)
    import coverage_people_checks
    import people

    people.import_all()
    found = forked(partial(coverage_people_checks.main, name, memory_gb, seconds, export_format), seconds)
    row = {field: "" if found.get(field) is None else str(found[field]) for field in FIELDS}
    return row | {"network": name, "versions": versions()}


def versions() -> str:
    from importlib.metadata import version

    packages = ("torch", "torchvision", "timm", "transformers", "diffusers", "segmentation-models-pytorch", "lightning")
    return " ".join(f"{package} {version(package)}" for package in packages)


def rewrite(path: Path, rows: list[dict[str, str]]) -> None:
    """The result file with these rows alone."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def shown(row: dict[str, str]) -> str:
    """One line of progress."""
    said = " ".join(f"{check}={row[check] or '-'}" for check in CHECKS)
    return f"{row['network']:40}{row['status']:16}{row['analysis_seconds']:>8} s  {said}  {row['reason']}"


def report(rows: list[dict[str, str]]) -> list[str]:
    """What the rows say, in lines: counts of the networks and of each check, and every network that fails one."""
    lines = [f"{len(rows)} networks: {counts(row['status'] for row in rows)}"]
    lines += [f"  {check:18}{counts(row[check] or 'not reached' for row in rows)}" for check in CHECKS]
    times = sorted(float(row["analysis_over_forward"]) for row in rows if row["analysis_over_forward"])
    if times:
        lines.append(f"  analysis over one forward pass: median {median(times):.0f}, most {times[-1]:.0f}")
    shares = [float(row["removable_share"]) for row in rows if row["removable_share"]]
    if shares:
        lines.append(f"  share of the MACs in layers that can shrink: median {median(shares):.2f}")
    lines += [
        f"  {row['network']:40}{row['status']:16}{row['reason'] or row['fixed_because']}"
        for row in rows
        if row["status"] != "all hold"
    ]
    return lines


def counts(values: object) -> str:
    """ "39 yes, 1 no"."""
    return ", ".join(f"{count} {value}" for value, count in Counter(values).most_common())  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
