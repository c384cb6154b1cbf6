"""Random search against one random architecture: digits, an MLP 64-256-256-10 at its initialisation.

The claim is the paper's null result (arXiv 2403.08265): what was found is no better than what was drawn. It is tested
as equivalence: that no difference was seen, noise alone brings about.

python benchmarks/random_search_null.py --out benchmarks/random_search_null.csv
"""

from __future__ import annotations

import argparse
import copy
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.bench.comparison import estimate, interval
from dnal.methods.random_search import random_search
from dnal.methods.uniform import random_scores, uniform_scores
from dnal.train.evaluate import accuracy
from result_file import append_rows, read_rows

FIELDS = (
    "sparsity", "seed", "candidates", "loss_found", "loss_mean", "weights_left", "found", "random", "dense",
)  # fmt: skip


MARGIN = 1.0
"""Points of accuracy; a difference below is taken for none. Chosen before the seeds from 6 on were run."""


def trained(network: nn.Module, epochs: list[list[tuple[Tensor, Tensor]]], test: object) -> float:
    """Accuracy after the same batches in the same order."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    for batches in epochs:
        for inputs, targets in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
    return accuracy(network, test)


def row(sparsity: float, seed: int, candidates: int, epochs: int) -> dict[str, object]:
    torch.manual_seed(seed)
    data = dnal.data.loaders(dnal.data.load("digits"), 64)
    batches = [list(data.train) for _ in range(epochs)]
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    space = dnal.Space.of(network, batches[0][0][0])

    def keep(scores: Tensor) -> Tensor:
        return scores > sparsity

    found = random_search(network, space, keep, batches[0], F.cross_entropy, candidates=candidates, seed=seed)
    drawn = keep(uniform_scores(space, random_scores(space, seed)))
    small = {
        name: dnal.compact(network, dnal.Architecture.of(space, chosen))
        for name, chosen in (("found", found.open_variables), ("random", drawn))
    }
    left = space.cost_of(drawn)["params"] / space.full_cost["params"]
    return {
        "sparsity": sparsity, "seed": seed, "candidates": candidates,
        "loss_found": f"{float(found.losses.min()):.4f}", "loss_mean": f"{float(found.losses.mean()):.4f}",
        "weights_left": f"{left:.4f}",
        **{name: f"{trained(one, batches, data.test):.4f}" for name, one in small.items()},
        "dense": f"{trained(copy.deepcopy(network), batches, data.test):.4f}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/random_search_null.csv"))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    rows = read_rows(options.out)
    for sparsity in (0.5, 0.9):
        for seed in range(options.seeds):
            if not any((r["sparsity"], r["seed"]) == (str(sparsity), str(seed)) for r in rows):
                rows += append_rows(options.out, FIELDS, [row(sparsity, seed, options.candidates, options.epochs)])
                print(rows[-1], flush=True)
        print(verdict(sparsity, [r for r in rows if r["sparsity"] == str(sparsity)]))


def verdict(sparsity: float, rows: list[dict[str, str]]) -> str:
    """Two one-sided tests at 5 %: equivalent where the 90 % interval of found - random lies within the margin."""
    found, random, dense = ([100 * float(r[name]) for r in rows] for name in ("found", "random", "dense"))
    difference = estimate([f - r for f, r in zip(found, random, strict=True)])
    low, high = interval(difference, 0.9)
    return (
        f"sparsity {sparsity}, {len(rows)} seeds: found {statistics.mean(found):.2f} %, random "
        f"{statistics.mean(random):.2f} %, dense {statistics.mean(dense):.2f} %; found - random {difference.mean:+.2f} "
        f"[{low:+.2f}, {high:+.2f}]: {'equivalent' if low > -MARGIN and high < MARGIN else 'NOT shown equivalent'} "
        f"within {MARGIN:g} point"
    )


if __name__ == "__main__":
    main()
