"""At which peak learning rate is what is left of a trained base retrained, over few epochs and over more?

Trained bases, cut by curves and repaired, and cut to uniform widths; retrained under one cosine at each rate, for 3 and
for 12 epochs. The validation data decide, and are what is told; no test data are looked at.

    OMP_NUM_THREADS=1 python benchmarks/rates.py --data cifar10.npz --bases DIR

Bases are those of `dnal bench --suite trained` in the folder DIR, and trained where they are missing. Rows that are
there are kept; without --data the table of those is printed alone.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from pathlib import Path

import torch

import dnal
from dnal.bench.base import Trained
from dnal.bench.ground import Ground
from dnal.methods.magnitude import l1_scores
from dnal.methods.uniform import uniform_scores
from dnal.repair.curves import RIDGE
from dnal.repair.rebuild import rebuild
from dnal.train.phase import Context, Phase, run_phase
from result_file import append_rows, read_rows
from trained_bases import by_curves, grounds

FIELDS = ("network", "share", "seed", "cut", "epochs", "rate", "validation accuracy", "torch")
CUTS, RATES = ("curves", "uniform"), (0.003, 0.01, 0.03, 0.1)
LENGTHS = {3: (50.0, 25.0, 10.0), 12: (25.0,)}
"""Epochs of retraining, and the shares of the MACs that are tried with them."""


def cut(ground: Ground, base: Trained, share: float, by: str) -> torch.nn.Module:
    """What is left of a base."""
    space, network, limits = ground.channels, copy.deepcopy(base.network), ground.limits(share)
    if by == "uniform":
        stays = dnal.select(space, uniform_scores(space, l1_scores(network, space)), limits)
    else:
        statistics, scores = by_curves(ground, base, share)
        stays = dnal.select(space, scores, limits)
        rebuild(network, statistics, stays, RIDGE)
    return dnal.compact(network, dnal.Architecture.of(space, stays))


def rows_of(
    ground: Ground, base: Trained, epochs: int, share: float, by: str, known: set[tuple[str, ...]], out: Path
) -> None:
    small = None
    for rate in RATES:
        key = (ground.network.name, f"{share:g}", str(ground.seed), by, str(epochs), f"{rate:g}")
        if key in known:
            continue
        train = ground.loaders.train
        train.load_state_dict(dict(base.loader))
        small = cut(ground, base, share, by) if small is None else small
        network = ground.placed(copy.deepcopy(small))
        torch.manual_seed(ground.seed)
        run_phase(Phase("retrain", epochs, rate), network, Context(ground.fabric, train, ground.loss, base.network))
        found = {
            "validation accuracy": f"{100 * ground.metric(network.eval(), ground.loaders.val):.2f}",
            "torch": torch.__version__.split("+")[0],
        }
        row = dict(zip(FIELDS, key, strict=False)) | found
        append_rows(out, FIELDS, [row])
        print(row, flush=True)


def table(rows: list[dict[str, str]]) -> str:
    """Means over seeds and networks."""
    lines = [f"| epochs | share | cut | {' | '.join(map(str, RATES))} |", "|---|---|---|" + "---|" * len(RATES)]
    for epochs, shares in LENGTHS.items():
        for share, by in itertools.product(shares, CUTS):
            cells = []
            for rate in RATES:
                key = (f"{share:g}", by, str(epochs), f"{rate:g}")
                own = [
                    float(row["validation accuracy"])
                    for row in rows if (row["share"], row["cut"], row["epochs"], row["rate"]) == key
                ]  # fmt: skip
                cells.append(f"{sum(own) / len(own):.1f}" if own else "")
            lines.append(f"| {epochs} | {share:g} | {by} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="CIFAR-10 as an .npz file")
    parser.add_argument("--bases", type=Path, default=Path("runs/bench/trained"), help="folder of the bases")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    for ground, base in grounds(options.data, options.bases, options.seeds) if options.data else ():
        known = {tuple(row[field] for field in FIELDS[:6]) for row in read_rows(options.out)}
        for epochs, shares in LENGTHS.items():
            for share, by in itertools.product(shares, CUTS):
                rows_of(ground, base, epochs, share, by, known, options.out)
    print(table(read_rows(options.out)))


if __name__ == "__main__":
    main()
