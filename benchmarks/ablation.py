"""What choice of widths, choice of channels and repair are worth, each by itself and together.

Widths: what gates learn in one epoch (the method dnal), what curves say (obs), the same share of every group, and
geometric means of two of these, scaled until the budget holds. Channels within those widths: by s of the gates, by the
L1 norms of the weights, by the curves. Repaired or not. All cut the same trained base, and three epochs follow; the
epoch of the gates is paid for by none. Accuracy is that of the test data, straight after the cut and retrained.

    OMP_NUM_THREADS=1 python benchmarks/ablation.py --data cifar10.npz --bases DIR

Bases are those of `dnal bench --suite trained` in the folder DIR, and trained where they are missing. Rows that are
there are kept; without --data the tables of those are printed alone.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from pathlib import Path

import torch
from torch import Tensor

import dnal
from dnal.base.statistics import paired
from dnal.bench.base import Trained
from dnal.bench.ground import Ground
from dnal.gates.gated import Gated
from dnal.methods.dnal.method import learn_gates
from dnal.methods.dnal.search import START, BudgetSearch
from dnal.methods.magnitude import l1_scores
from dnal.methods.uniform import uniform_scores
from dnal.repair.curves import RIDGE
from dnal.repair.rebuild import rebuild
from dnal.repair.statistics import Statistics
from dnal.space.space import Space
from dnal.train.phase import Context, Phase, run_phase
from result_file import append_rows, read_rows
from trained_bases import by_curves, grounds

FIELDS = (
    "network", "share", "seed", "widths", "channels", "repaired", "after the cut", "accuracy", "base accuracy",
    "used", "torch",
)  # fmt: skip
GATES, CURVES, UNIFORM, BOTH, EVENED = "gates", "curves", "uniform", "curves and gates", "curves and uniform"
ROWS = (
    *itertools.product((GATES, CURVES, BOTH), ("s", "L1", CURVES), "01"),
    (UNIFORM, "L1", "1"), (UNIFORM, CURVES, "1"), (EVENED, CURVES, "1"),
)  # fmt: skip
"""Widths, channels, repaired."""
EPOCHS, RATE = 3, 0.03
BEST = (CURVES, CURVES, "1")
COMPARED = (
    ("repaired minus not, widths and channels by curves", BEST, (CURVES, CURVES, "0")),
    ("repaired minus not, widths by gates, channels by s", (GATES, "s", "1"), (GATES, "s", "0")),
    ("curves minus gates, both repaired", BEST, (GATES, "s", "1")),
    ("widths by curves minus by gates, channels by curves, repaired", BEST, (GATES, CURVES, "1")),
    ("widths by curves minus uniform, channels by curves, repaired", BEST, (UNIFORM, CURVES, "1")),
    ("widths by curves minus those and the gates', channels by curves, repaired", BEST, (BOTH, CURVES, "1")),
    ("widths by curves minus those and uniform, channels by curves, repaired", BEST, (EVENED, CURVES, "1")),
    ("channels by curves minus by L1, widths by curves, repaired", BEST, (CURVES, "L1", "1")),
)
"""What is compared, and the two ways."""


def widths_of(space: Space, stays: Tensor) -> Tensor:
    """How many channels of each group stay, (groups,)."""
    return torch.stack([stays[group.variables].sum() for group in space.groups]).double()


def scores_of(space: Space, widths: Tensor, order: Tensor) -> Tensor:
    """Scores that, ranked over the network, keep these proportions of the groups' widths; ``order``: the best of a
    group first, (num_gates,)."""
    scores = torch.zeros(space.num_gates, dtype=torch.float64)
    for group, width in zip(space.groups, widths.tolist(), strict=True):
        place = order[group.variables].argsort(descending=True).argsort()
        scores[group.variables] = -(place.double() + 1) / width
    return scores


def gates(ground: Ground, base: Trained, share: float) -> Tensor:
    """s after an epoch of the method dnal, (num_gates,); the base stays as it is."""
    train, network = ground.loaders.train, copy.deepcopy(base.network)
    train.load_state_dict(dict(base.loader))
    torch.manual_seed(ground.seed)
    gated = Gated(network, ground.channels, start=START)
    search = BudgetSearch(gated, ground.channels, ground.limits(share), len(train))
    context = Context(ground.fabric, train, ground.loss, base.network)
    return learn_gates(search, Phase("architecture", 1, 0.3 * ground.rate), context)


def rows_of(ground: Ground, base: Trained, share: float, known: set[tuple[str, ...]], out: Path) -> None:
    space, limits, network = ground.channels, ground.limits(share), base.network
    s = gates(ground, base, share)
    statistics, curve = by_curves(ground, base, share)
    place = ground.loaders.train.state_dict()
    of_gates, of_curves = (widths_of(space, dnal.select(space, each, limits)) for each in (s, curve))
    uniform = widths_of(space, dnal.select(space, uniform_scores(space, curve), limits))
    widths = {
        GATES: of_gates, CURVES: of_curves, UNIFORM: uniform, BOTH: (of_gates * of_curves).sqrt(),
        EVENED: (uniform * of_curves).sqrt(),
    }  # fmt: skip
    orders = {"s": s, "L1": l1_scores(network, space), CURVES: curve}
    for wide, order, repaired in ROWS:
        key = (ground.network.name, f"{share:g}", str(ground.seed), wide, order, repaired)
        if key in known:
            continue
        stays = dnal.select(space, scores_of(space, widths[wide], orders[order]), limits)
        ground.loaders.train.load_state_dict(place)
        row = dict(zip(FIELDS, key, strict=False)) | cut(ground, base, statistics, stays, repaired == "1")
        append_rows(out, FIELDS, [row])
        print(row, flush=True)


def cut(ground: Ground, base: Trained, statistics: Statistics, stays: Tensor, repaired: bool) -> dict[str, object]:
    """What is measured of the base cut so."""
    network = copy.deepcopy(base.network)
    if repaired:
        rebuild(network, statistics, stays, RIDGE)
    torch.manual_seed(ground.seed)
    small = ground.placed(dnal.compact(network, dnal.Architecture.of(ground.channels, stays)).eval())
    before = ground.metric(small, ground.loaders.test)
    run_phase(
        Phase("retrain", EPOCHS, RATE), small, Context(ground.fabric, ground.loaders.train, ground.loss, base.network)
    )
    after = ground.metric(small.eval(), ground.loaders.test)
    return {
        "after the cut": f"{100 * before:.2f}", "accuracy": f"{100 * after:.2f}",
        "base accuracy": f"{100 * base.metric:.2f}", "torch": torch.__version__.split("+")[0],
        "used": f"{ground.channels.cost_of(stays)['macs'] / ground.channels.full_cost['macs']:.4f}",
    }  # fmt: skip


def table(rows: list[dict[str, str]]) -> str:
    """Means over networks, shares and seeds, and what each choice is worth with its interval over pairs."""
    lines = ["| widths | channels | not repaired: after the cut | retrained | repaired: after the cut | retrained |"]
    lines.append("|---|---|---|---|---|---|")
    for wide, order in dict.fromkeys(row[:2] for row in ROWS):
        cells = [
            f"{sum(float(row[what]) for row in own) / len(own):.1f}" if own else ""
            for repaired in "01"
            for what in ("after the cut", "accuracy")
            for own in [[r for r in rows if (r["widths"], r["channels"], r["repaired"]) == (wide, order, repaired)]]
        ]
        lines.append(f"| {wide} | {order} | {' | '.join(cells)} |")
    lines += ["", "| against | points, retrained |", "|---|---|"]
    for name, one, other in COMPARED:
        first, second = (
            {
                (row["network"], row["share"], row["seed"]): float(row["accuracy"])
                for row in rows if (row["widths"], row["channels"], row["repaired"]) == each
            }
            for each in (one, other)
        )  # fmt: skip
        if len(first) > 1 and len(second) > 1:
            found = paired(first, second)
            lines.append(f"| {name} | {found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}] |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="CIFAR-10 as an .npz file")
    parser.add_argument("--bases", type=Path, default=Path("runs/bench/trained"), help="folder of the bases")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shares", type=float, nargs="+", default=[25.0, 10.0])
    options = parser.parse_args()
    for ground, base in grounds(options.data, options.bases, options.seeds) if options.data else ():
        for share in options.shares:
            rows_of(
                ground, base, share, {tuple(row[f] for f in FIELDS[:6]) for row in read_rows(options.out)}, options.out
            )
    for share in dict.fromkeys(row["share"] for row in read_rows(options.out)):
        print(f"\n{share} % of the MACs\n\n{table([row for row in read_rows(options.out) if row['share'] == share])}")


if __name__ == "__main__":
    main()
