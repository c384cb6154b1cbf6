"""Ideas for the default recipe, each against the recipe as it is, on images that no benchmark tests on: the last 10,000
training images of CIFAR-10 are the test data here, and the others the training data. One row per network, share of the
MACs, seed and idea; all see the same number of images. A row that is there is not run again.

An idea is a method of its own (idea_methods.py) or an option of `dnal`. The rows in recipe_ideas.csv of teachers with
another weight than .9, and of those that are heard where they are right, were made by an earlier form of this script:
what a benchmark's retraining is taught by is the same for all methods now, so it cannot make them again.

python benchmarks/recipe_ideas.py --data cifar10.npz --out benchmarks/recipe_ideas.csv --work FOLDER
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from dnal.base.statistics import interval
from dnal.bench.base import train_base, trained
from dnal.bench.comparison import paired
from dnal.bench.ground import DataFolders, Ground
from dnal.bench.jobs import Base, Run
from dnal.bench.run import row_file, run_row
from dnal.bench.suite import RESNET, VGG, Entry, Network, Suite
from dnal.methods.method import LONG_SEARCH
from held_out import held_out
from result_file import append_rows, read_rows

FIELDS = ("network", "share", "seed", "idea", "rates", "rate", "epochs", "accuracy", "base_accuracy", "macs",
          "choosing_seconds", "base_seconds", "retrain_seconds", "widths")  # fmt: skip
AS_IS = "as it is"
LONG = replace(VGG, name="vgg16-quarter-long", epochs=LONG_SEARCH)
"""As long as `dnal learn` trains by default."""
NETWORKS = {network.name: network for network in (VGG, RESNET, LONG)}


def searched(share: float) -> Callable[[Network], Network]:
    """The network with a search of ``share`` times the base's epochs, the rest of them in the retraining."""

    def change(network: Network) -> Network:
        base, choosing, retraining = network.epochs
        own = max(1, round(share * base))
        return replace(network, epochs=(base, own, choosing + retraining - own))

    return change


def shortened(share: float) -> Callable[[Network], Network]:
    """The network with a base of ``share`` times its epochs, a search of one, and the rest in the retraining."""

    def change(network: Network) -> Network:
        own = round(share * network.epochs[0])
        return replace(network, name=f"{network.name}-base{own}", epochs=(own, 1, sum(network.epochs) - own - 1))

    return change


def same(network: Network) -> Network:
    return network


EARLY, EARLIER, SCRATCH = "no base, search of 1/5 of all", "no base, search of 1/10 of all", "uniform from new weights"
TAUGHT = "the base teaches, weight 0.9"
RECIPE = Entry("dnal", "dnal")
TWELFTH = "search 1/12 of the base"


def method(text: str) -> Entry:
    return Entry("dnal", text)


IDEAS: dict[str, tuple[Callable[[Network], Network], Entry]] = {
    AS_IS: (same, RECIPE),
    "search 1/4 of the base": (searched(0.25), RECIPE),
    "search 1/6 of the base": (searched(1 / 6), RECIPE),
    TWELFTH: (searched(1 / 12), RECIPE),
    f"{TWELFTH}, half as long a base": (shortened(0.5), RECIPE),
    f"{TWELFTH}, a quarter as long a base": (shortened(0.25), RECIPE),
    f"{TWELFTH}, budget met at its end": (searched(1 / 12), method("dnal:wait=0.02,met=0.95")),
    **{
        f"{TWELFTH}, s starts by L1, {share:g}": (searched(1 / 12), method(f"idea_methods:Leaning:share={share:g}"))
        for share in (0.3, 0.6, 0.9)
    },
    **{
        f"{TWELFTH}, {name}": (searched(1 / 12), method(f"idea_methods:{text}"))
        for name, text in {
            "one second moment per group": "Pooled",
            "no branch closes": "Changed:branches=false",
            "one second moment per group, no branch closes": "Pooled:branches=false",
            "branches step by 1 / sqrt(channels)": "SlowBranches",
        }.items()
    },
    "one second moment per group": (same, method("idea_methods:Pooled")),
    "one second moment": (same, method("idea_methods:Pooled:by_group=false")),
    "budget met at .4 of the search": (same, method("dnal:met=0.4")),
    "budget met at .9 of the search": (same, method("dnal:met=0.9")),
    "budget met at once": (same, method("dnal:wait=0,met=0.01")),
    "weights at the base's rate in the search": (same, method("idea_methods:OtherRate:rate=1")),
    "weights at a tenth of that": (same, method("idea_methods:OtherRate:rate=0.1")),
    "gates soft in the forward pass": (same, method("dnal:soft=true")),
    "s on held-out batches": (same, Entry("dnal", "dnal:held_out=true", held_out=True)),
    TAUGHT: (same, RECIPE),
    EARLY: (same, Entry("dnal", "dnal", without_base=True, choosing=1 / 2)),
    EARLIER: (same, Entry("dnal", "dnal", without_base=True, choosing=1 / 4)),
    SCRATCH: (same, Entry("dnal", "uniform", reinitialize=True, without_base=True)),
}
"""Each is another length of the phases, or another method. Without a base the network's weights are new when the
search begins, and what is left trains for the longer."""


def row(
    network: Network, share: float, seed: int, idea: str, rates: Sequence[float], data: Path, work: Path
) -> dict[str, object]:
    change, entry = IDEAS[idea]
    changed = change(network)
    suite = Suite("ideas", "", (changed,), (seed,), (entry,), precision="bf16-mixed")
    ground = Ground(suite, changed, seed, DataFolders(None, (("cifar10", str(data)),)))
    out = work / idea.replace("/", "_")
    job = Run(changed.name, share, seed, idea == TAUGHT, "dnal")
    base = Base(changed.name, seed)
    if not trained(work, base):
        train_base(ground, work, lambda: False)
    here = out / "jobs" / base.name
    here.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        here.symlink_to((work / "jobs" / base.name).resolve())
    if not row_file(out, job).is_file():
        run_row(ground, job, rates, out, lambda: False)
    made = json.loads(row_file(out, job).read_text(encoding="utf-8"))
    own = {"network": network.name, "idea": idea, "rates": listed(rates)}
    return {**{name: made[name] for name in FIELDS if name in made}, **own}


def listed(rates: Sequence[float]) -> str:
    return " ".join(f"{rate:g}" for rate in rates)


def report(rows: list[dict[str, str]], against: str) -> None:
    """Each idea minus the one that it stands ``against``: mean over pairs and its 95 % interval."""
    for network, share, rates in dict.fromkeys((r["network"], r["share"], r["rates"]) for r in rows):
        own = [r for r in rows if (r["network"], r["share"], r["rates"]) == (network, share, rates)]
        values = {
            idea: {r["seed"]: 100 * float(r["accuracy"]) for r in own if r["idea"] == idea}
            for idea in dict.fromkeys(r["idea"] for r in own)
        }
        for idea, mine in values.items():
            found = paired(mine, values.get(against, {}))
            low, high = interval(found)
            mean = sum(mine.values()) / len(mine)
            gap = "" if idea == against or math.isnan(low) else f"  {found.mean:+.2f} [{low:+.2f}, {high:+.2f}]"
            cost = [1 + float(r["choosing_seconds"]) / float(r["base_seconds"]) for r in own if r["idea"] == idea]
            print(
                f"{network} {share:>5} rates {rates}: {idea:34} {mean:.2f} ({len(mine)}){gap}  "
                f"cost {sum(cost) / len(cost):.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as an .npz file")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/recipe_ideas.csv"))
    parser.add_argument("--work", type=Path, required=True, help="folder for bases and checkpoints")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--ideas", nargs="+", default=list(IDEAS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11, 12])
    parser.add_argument("--shares", nargs="+", type=float, help="of the MACs, in percent; those of the network")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.05], help="of the retraining; validation chooses")
    parser.add_argument("--against", default=AS_IS, help="the idea with which the report compares the others")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, rows = held_out(options.data, options.work), read_rows(options.out)
    for seed in options.seeds:
        for name in options.networks:
            for share in options.shares or NETWORKS[name].shares:
                for idea in options.ideas:
                    wanted = (name, str(share), str(seed), idea, listed(options.rates))
                    if not any(tuple(r[key] for key in FIELDS[:5]) == wanted for r in rows):
                        made = row(NETWORKS[name], share, seed, idea, options.rates, data, options.work)
                        rows += append_rows(options.out, FIELDS, [made])
                        print(*wanted, made["accuracy"], made["choosing_seconds"], made["retrain_seconds"], flush=True)
    report(rows, options.against)


if __name__ == "__main__":
    main()
