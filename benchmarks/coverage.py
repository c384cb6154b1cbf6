"""On how many networks does dnal work, and how exactly? Torch-Pruning beside it on the same list.

Every network of the lists runs in a process of its own with one thread, a limit of memory and a limit of time for each
stage. dnal: seconds of CPU of the analysis, variables, share of the MACs in layers that can shrink, and whether the
network with half of its variables removed computes what the original computes with the same parameter slices at zero,
and how far its MACs are from those that were told (`coverage_exact.py`). Torch-Pruning: whether the network still runs
after half its channels are pruned as its README shows, with no hints for the model. Rows that the result file has
already are kept.

python benchmarks/coverage.py benchmarks/coverage_zoo.txt benchmarks/coverage_more.txt --seconds 240
python benchmarks/coverage.py --report
python benchmarks/coverage.py --norms open

With open norms the streams that norms run over may vary too; the reference then is the original whose norms are told
which channels exist. Their rows are in a file of their own, and the report holds them against those of fixed norms.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

from coverage_process import asked

HERE = Path(__file__).parent
LISTS = (HERE / "coverage_zoo.txt", HERE / "coverage_more.txt")
COLUMNS = {
    "dnal": (
        "status", "seconds", "variables", "groups", "removable_share", "difference", "control", "second_size",
        "macs", "peak_mb", "reason", "fixed_because",
    ),
    "torch-pruning": ("status", "seconds", "macs_share", "params_share", "peak_mb", "reason"),
}  # fmt: skip
RESULTS = {"fixed": HERE / "coverage.csv", "open": HERE / "coverage_open_norms.csv"}
LOW = 0.85
ROUNDING = 1e-6

Row = dict[str, str]


class Network(NamedTuple):
    """A line of a list."""

    name: str
    pixels: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lists", nargs="*", type=Path, default=list(LISTS), help="files with one network a line")
    parser.add_argument("--norms", choices=tuple(RESULTS), default="fixed")
    parser.add_argument("--networks", nargs="*", default=[], metavar="NAME", help="these of the lists only")
    parser.add_argument("--out", type=Path, help="default: the committed file of these norms")
    parser.add_argument("--only", choices=tuple(COLUMNS), help="ask one tool only")
    parser.add_argument("--memory", type=float, default=8, metavar="GB", help="limit for each process")
    parser.add_argument("--seconds", type=int, default=60, help="limit for each stage: building, analysis, checking")
    parser.add_argument("--report", action="store_true", help="only print what the result file says")
    options = parser.parse_args()
    out = options.out or RESULTS[options.norms]
    networks = [network for path in options.lists for network in listed(path)]
    networks = [n for n in networks if not options.networks or n.name in options.networks]
    tools = [options.only] if options.only else list(COLUMNS) if options.norms == "fixed" else ["dnal"]
    rows = read(out)
    if not options.report:
        for network in networks:
            row = rows.setdefault(network.name, {"network": network.name, "pixels": str(network.pixels)})
            for tool in tools:
                if not row.get(f"{tool} status"):
                    row.update(measured(tool, network, options.memory, options.seconds, options.norms))
                    write(out, rows, [n.name for n in networks])
                    print(shown(tool, row), flush=True)
    own = [rows[n.name] for n in networks if n.name in rows]
    print("\n".join(report(own)))
    if options.norms == "open":
        print("\n".join(beside(read(RESULTS["fixed"]), own)))


def listed(path: Path) -> list[Network]:
    """The networks of a list: a name, the side of its input in pixels, and whatever follows #."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].split()
        if words:
            found.append(Network(words[0], int(words[1]) if len(words) > 1 else default_pixels(words[0])))
    return found


def default_pixels(name: str) -> int:
    from dnal import models

    return models.default_input(name)[-1]


def measured(tool: str, network: Network, memory_gb: float, seconds: int, norms: str = "fixed") -> Row:
    """The columns of one tool for one network."""
    given = (tool, network.name, network.pixels, memory_gb, seconds, norms)
    call = f"import coverage_tools as c; c.main{given!r}"
    found = asked(call, seconds)
    row = {f"{tool} {column}": text(found.get(column)) for column in COLUMNS[tool]}
    return row | ({"params": text(found["params"])} if "params" in found else {})


def text(value: object) -> str:
    return "" if value is None else str(value)


def read(path: Path) -> dict[str, Row]:
    """The rows of an earlier result file by network."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["network"]: row for row in csv.DictReader(file)}


def write(path: Path, rows: dict[str, Row], order: list[str]) -> None:
    """The result file, in the order of the lists; rows of other lists after them."""
    columns = ["network", "pixels", "params", *(f"{tool} {c}" for tool, own in COLUMNS.items() for c in own)]
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in dict.fromkeys([*(n for n in order if n in rows), *rows]))
    temporary.replace(path)


def shown(tool: str, row: Row) -> str:
    """One line of progress."""
    share = row.get("dnal removable_share" if tool == "dnal" else "torch-pruning macs_share") or "-"
    seconds, reason = row.get(f"{tool} seconds") or "-", row.get(f"{tool} reason") or ""
    return f"{tool:14}{row['network']:40}{row[f'{tool} status']:12}{share:>8}{seconds:>8} s  {reason}"


def report(rows: list[Row]) -> list[str]:
    """What the rows say, in lines: counts, and every network that is not exact or can shrink only in part."""
    lines = []
    asked = [row for row in rows if row.get("dnal status")]
    if asked:
        shares = sorted(float(row["dnal removable_share"]) for row in asked if row["dnal status"] == "exact")
        enough = sum(share >= LOW for share in shares)
        seconds = sorted(float(row["dnal seconds"]) for row in asked if row["dnal seconds"])
        lines.append(f"dnal: {counts('dnal', asked)} of {len(asked)}")
        lines.append(
            f"  removable share >= {LOW} of {enough} of the exact ones"
            + (f", the least {shares[0]:.2f}, the median {shares[len(shares) // 2]:.2f}" if shares else "")
        )
        apart = [row["network"] for row in asked if row.get("dnal macs") and float(row["dnal macs"]) > ROUNDING]
        if apart:
            lines.append(f"  MACs are not those that were told, or not those that torch counts, of {', '.join(apart)}")
        if seconds:
            lines.append(f"  seconds of analysis: median {seconds[len(seconds) // 2]:.1f}, longest {seconds[-1]:.1f}")
    peers = [row for row in rows if row.get("torch-pruning status")]
    if peers:
        lines.append(f"Torch-Pruning, half the channels: {counts('torch-pruning', peers)} of {len(peers)}")
    for row in asked:
        share = row["dnal removable_share"]
        if row["dnal status"] != "exact" or float(share) < LOW:
            reasons = "; ".join(filter(None, (row["dnal reason"], row["dnal fixed_because"])))
            lines.append(f"  {row['network']:40}{row['dnal status']:12}{share or '-':>8}  {reasons}")
    return lines


def beside(fixed: dict[str, Row], opened: list[Row]) -> list[str]:
    """Open norms beside fixed ones, in lines: variables and shares of the networks that have more with open norms, and
    those that are lost with them."""
    lines = ["", f"{'with fixed and with open norms':40}{'variables':>20}{'removable share':>20}{'difference':>12}"]
    for row in opened:
        before = fixed.get(row["network"], {})
        variables = [before.get("dnal variables") or "-", row["dnal variables"] or "-"]
        shares = [before.get("dnal removable_share") or "-", row["dnal removable_share"] or "-"]
        lost = before.get("dnal status") == "exact" != row["dnal status"]
        if lost or variables[0] != variables[1]:
            both = " -> ".join(variables), " -> ".join(shares)
            lines.append(f"{row['network']:40}{both[0]:>20}{both[1]:>20}{row['dnal difference']:>12}")
            lines += [f"  lost: {row['dnal reason']}"] if lost else []
    return lines


def counts(tool: str, rows: list[Row]) -> str:
    """ "39 exact, 1 frozen"."""
    found: dict[str, int] = {}
    for row in rows:
        found[row[f"{tool} status"]] = found.get(row[f"{tool} status"], 0) + 1
    return ", ".join(f"{count} {status}" for status, count in sorted(found.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    main()
