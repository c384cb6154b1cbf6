"""Are two versions of dnal's analysis the same? Digests of the Spaces that this one finds, a line for each network.

A Space is written out part by part (its variables and where they stand, groups, sizes, branches, operations, costs of
random architectures), and every part is hashed. Two versions whose lines are equal find equal Spaces.

PYTHONPATH=../before/src:benchmarks python benchmarks/speed/space_digest.py --every 4 --depth --out before.json
PYTHONPATH=src:benchmarks python benchmarks/speed/space_digest.py --every 4 --depth --out after.json
PYTHONPATH=benchmarks python benchmarks/speed/space_digest.py --compare before.json after.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import coverage
import coverage_exact
import dnal
import people
from coverage_process import emit, forked, limited

BENCHMARKS = Path(__file__).resolve().parent.parent
LISTS = (BENCHMARKS / "coverage_zoo.txt", BENCHMARKS / "coverage_more.txt")
PEOPLE = BENCHMARKS / "coverage_people.txt"
ARCHITECTURES = 5
BATCH = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=4, metavar="N", help="each N-th network of the lists only")
    parser.add_argument("--people", action="store_true", help="the list of networks as people have them")
    parser.add_argument("--depth", action="store_true", help="with residual branches")
    parser.add_argument("--seconds", type=int, default=120, help="limit for each network")
    parser.add_argument("--out", type=Path, default=Path("space_digest.json"))
    parser.add_argument("--compare", nargs=2, type=Path, metavar="FILE", help="only say where two results differ")
    options = parser.parse_args()
    if options.compare:
        print("\n".join(compared(*(json.loads(path.read_text()) for path in options.compare))))
        return
    if options.people:
        people.import_all()
        names = [(n, 0) for line in PEOPLE.read_text().splitlines() if (n := line.partition("#")[0].strip())]
    else:
        names = [(n.name, n.pixels) for path in LISTS for n in coverage.listed(path)]
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name, pixels in names[:: options.every]:
        if name not in found:
            found[name] = forked(partial(digest, name, pixels, options.depth, options.seconds), options.seconds)
            options.out.write_text(json.dumps(found, indent=1))
            print(name, found[name].get("seconds"), found[name].get("reason", ""), flush=True)


def digest(name: str, pixels: int, depth: bool, seconds: int) -> None:
    """Emits the hashes of the Space of one network, and the seconds of CPU that it took."""
    limited(14)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    if pixels:
        network = dnal.models.create(name, classes=10, input_shape=(3, pixels, pixels))
        inputs: Any = torch.randn(BATCH, 3, pixels, pixels)
    else:
        case = people.case(name)
        network, inputs = case.network, case.inputs(BATCH, case.sizes[0])
    network = coverage_exact.randomise(network)
    if "eval" not in vars(network):  # what torch.export gives has no modes
        network.eval()
    torch.manual_seed(0)
    begun = time.process_time()
    space = dnal.Space.of(network, inputs, depth=depth)
    emit(seconds=round(time.process_time() - begun, 2))
    emit(**{part: hashlib.sha256(text.encode()).hexdigest()[:16] for part, text in written(space).items()})
    emit(peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def written(space: dnal.Space) -> dict[str, str]:
    """Every part of a Space as text."""
    generator = torch.Generator().manual_seed(0)
    shares = torch.linspace(0.1, 0.9, ARCHITECTURES)
    chosen = [torch.rand(space.num_gates, generator=generator) < share for share in shares]
    numbers: dict[int, int] = {}

    def number(operand: Any) -> int:
        if operand.number not in numbers:
            numbers[operand.number] = 1 + max(numbers.values(), default=0)
        return numbers[operand.number]

    operations = []
    for one in space.operations:
        if one.name == "detach":  # torch detaches what a function makes where somebody still holds that
            numbers[one.outputs[0].number] = number(one.inputs[0])
            continue
        operands = [
            [(number(x), x.shape, plain(x.sides), x.itemsize, x.parameter) for x in own]
            for own in (one.inputs, one.outputs)
        ]
        operations.append((one.name, one.path, repr(one.arguments), operands))
    parts = {
        "names": space.names,
        "sources": space.sources,
        "buffers": space.buffer_sources,
        "groups": [(group.name, group.variables, group.places) for group in space.groups],
        "roles": (space.readers, space.gates, space.writers),
        "fixed": sorted(space.fixed),
        "unknown": (sorted(space.unknown.items()), sorted(space.uncounted.items())),
        "sizes": [(r.path, r.target, r.channels, r.sign, r.multiple, r.pinned) for r in space.sizes],
        "modules": (space.baked, space.helped, space.multiplied),
        "branches": ([(b.name, b.variable, repr(b.bypass)) for b in space.branches], space.choices),
        "costs": [(space.full_cost, *(sorted(space.cost_of(one).items()) for one in chosen))],
        "operations": operations,
    }
    return {name: repr(plain(part)) for name, part in parts.items()}


def plain(tree: Any) -> Any:
    """The same with lists in the place of tensors."""
    if isinstance(tree, Tensor):
        return tree.tolist()
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [plain(value) for value in tree]
    return tree


def compared(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A line for each network that differs, then how many do not."""
    lines, equal, times = [], 0, []
    for name in before.keys() & after.keys():
        one, other = before[name], after[name]
        measured = {"seconds", "peak_mb"}
        differ = sorted(part for part in (one.keys() | other.keys()) - measured if one.get(part) != other.get(part))
        if differ:
            lines.append(f"{name}: {', '.join(differ)}")
        equal += not differ
        if "seconds" in one and "seconds" in other:
            times.append(other["seconds"] / one["seconds"])
    lines.append(f"equal: {equal} of {len(before.keys() & after.keys())}")
    return lines + ([f"CPU seconds, mean ratio: {sum(times) / len(times):.2f}"] if times else [])


if __name__ == "__main__":
    main()
