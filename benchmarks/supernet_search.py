"""Does a supernet learn a better network than chance or habit would choose from it, and what does that cost?

    OMP_NUM_THREADS=1 python benchmarks/supernet_search.py --data cifar10 --out benchmarks/supernet_search.csv

`supernet/small` on CIFAR-10, at 16x16 unless `--size` says otherwise, on the GPU where there is one. The budget is what
the space's uniform choice costs: 3x3 of expansion 3 on every edge, all widths whole. Every row sees the same number of
training images in all; without distillation. Rows:

* learnt: so many epochs of the base, of the architecture phase (method `dnal`), and of retraining what is left. Of
  the shares that are tried, the other seeds get the one that is best on the first seed's validation images.
* learnt 4+2+6, new weights: the same architecture (of the first shares) from new weights for all epochs: what it is
  worth alone.
* random 1 to 5: one or two of its operations on every edge and a width from 30 to 100 % in every group, drawn at
  random, all widths then multiplied by one factor so that the MACs are met; new weights, all epochs.
* uniform: new weights, all epochs. uniform, supernet's weights: of the first shares' base, for the epochs after it.

Two kinds of row, from the base's weights and from new ones, have a learning rate of their own: of the same three, the
best on the validation images of the first seed (rows without an accuracy; by the first shares and by "uniform"). The
test images are looked at once per row. Seconds are of the process, one thread; on a GPU, of the clock. A row that is
there is not run again; several processes may fill one file, each with seeds or rows (`--only`) of its own, once those
of the first seed that choose a learning rate are there.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import dnal
from dnal import data, models
from dnal.bench.run import machine
from dnal.models.kaiming import kaiming_init
from dnal.selection.ranking import ranks
from dnal.selection.select import select
from dnal.settings import DEFAULT_LR
from dnal.train.evaluate import accuracy
from dnal.train.setup.numerics import fabric_of
from result_file import append_rows, read_rows
from separate_phases import search, train

CUDA = torch.cuda.is_available()
MODEL = "supernet/small"
RANDOM = [f"random {number}" for number in range(1, 6)]
UNIFORM, INHERITED = "uniform", "uniform, supernet's weights"
FIELDS = (
    "name", "seed", "rate", "accuracy", "validation", "macs", "macs_of_budget", "params", "epochs", "images",
    "trace_s", "base_s", "search_s", "train_s", "blocks", "device",
)  # fmt: skip

Epochs = tuple[int, int, int]
"""Of base, architecture phase and retraining."""


@dataclass(frozen=True)
class Setting:
    """What all rows share.

    ``size``: the side of the images; ``images``: in the training set; ``shares``: of the epochs, by the row's name, all
    of one sum.
    """

    data: str
    root: str | None
    size: int
    images: int
    batch: int
    rates: tuple[float, ...]
    shares: dict[str, Epochs]

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size, self.size

    @property
    def epochs(self) -> int:
        return sum(self.shares[self.first])

    @property
    def first(self) -> str:
        return next(iter(self.shares))

    @property
    def alone(self) -> str:
        return f"{self.first}, new weights"

    def inherits(self, name: str) -> bool:
        """Whether a row starts from the base's weights."""
        return name in self.shares or name == INHERITED


class Job:
    """One seed: its data, its base and the architecture learnt from it, each made when first asked for."""

    def __init__(self, setting: Setting, seed: int, rows: list[dict[str, str]]) -> None:
        self.setting, self.seed, self.rows = setting, seed, rows
        self.fabric = fabric_of("auto")
        self.dataset = data.load(
            setting.data, root=setting.root, input_shape=setting.shape, limit_train=setting.images, seed=0
        )
        self.example = torch.zeros(2, *setting.shape, device=self.fabric.device)
        begun = clock()
        self.space = dnal.Space.of(self.fresh(), self.example)
        self.trace_s = clock() - begun
        self.uniform = self.every_edge_first()
        self.limits = {"macs": float(self.space.cost_of(self.uniform)["macs"])}
        self._base: dict[int, tuple[nn.Module, float]] = {}
        self._learnt: dict[str, tuple[nn.Module, dnal.Architecture, float]] = {}

    def fresh(self) -> nn.Module:
        torch.manual_seed(1000 + self.seed)
        network = models.create(MODEL, classes=10, input_shape=self.setting.shape)
        return network.to(self.fabric.device, memory_format=torch.channels_last)

    def every_edge_first(self) -> Tensor:
        """The variables of every edge's first candidate, 3x3 of expansion 3, and all widths."""
        chosen = torch.ones(self.space.num_gates, dtype=torch.bool)
        for branch in self.space.branches:
            chosen[branch.variable] = branch.name.endswith(".0")
        return dnal.Architecture.of(self.space, chosen).open

    def random(self, number: int) -> Tensor:
        """Random operations and widths, scaled to the budget."""
        generator = torch.Generator().manual_seed(100 * self.seed + number)
        chosen = torch.zeros(self.space.num_gates, dtype=torch.bool)
        edges: dict[str, list[int]] = {}
        for branch in self.space.branches:
            edges.setdefault(branch.name.rpartition(".")[0], []).append(branch.variable)
        for variables in edges.values():
            count = int(torch.randint(1, 3, (), generator=generator))
            chosen[torch.tensor(variables)[torch.randperm(len(variables), generator=generator)[:count]]] = True
        order = torch.rand(self.space.num_gates, dtype=torch.float64, generator=generator)
        score = torch.empty(self.space.num_variables, dtype=torch.float64)
        rank = ranks(self.space, order).double()
        for group in self.space.groups:
            share = 0.3 + 0.7 * float(torch.rand((), generator=generator))
            score[group.variables] = (rank[group.variables] + 0.5) / (share * group.width)
            score[group.variables[rank[group.variables] == 0]] = 0.0  # the first channel stays

        def scaled(factor: float) -> Tensor:
            opened = chosen.clone()
            opened[: self.space.num_variables] = score <= factor
            return opened

        low, high = 0.0, 100.0
        for _ in range(60):
            middle = (low + high) / 2
            fits = self.space.cost_of(scaled(middle))["macs"] <= self.limits["macs"]
            low, high = (middle, high) if fits else (low, middle)
        return dnal.Architecture.of(self.space, scaled(low)).open

    def base(self, epochs: int) -> tuple[nn.Module, float]:
        """The supernet after so many epochs, and their seconds."""
        if epochs not in self._base:
            network, begun = self.fresh(), clock()
            train(self.fabric, network, self.loader(), epochs, DEFAULT_LR, warmup=0.1)
            self._base[epochs] = network, clock() - begun
            print(f"seed {self.seed}: base {self.accuracy(network, 'val'):.4f}", flush=True)
        return self._base[epochs]

    def learnt(self, name: str) -> tuple[nn.Module, dnal.Architecture, float]:
        """The supernet after the architecture phase, the architecture, and the seconds of that phase."""
        if name not in self._learnt:
            first, second, _ = self.setting.shares[name]
            network = copy.deepcopy(self.base(first)[0])
            begun = clock()
            s = search(self.fabric, network, self.space, self.limits, self.loader(), second)
            architecture = dnal.Architecture.of(self.space, select(self.space, s, self.limits))
            self._learnt[name] = network, architecture, clock() - begun
            print(*dnal.supernet.blocks(network, architecture), sep="\n", flush=True)
        return self._learnt[name]

    def loader(self) -> data.EpochLoader:
        return data.loaders(self.dataset, self.setting.batch, seed=self.seed).train

    def accuracy(self, network: nn.Module, part: str) -> float:
        return accuracy(network, getattr(data.loaders(self.dataset, 500, seed=0), part))

    def start(self, name: str) -> tuple[nn.Module, dnal.Architecture, int]:
        """The compact network as its training finds it, its architecture, and the epochs left."""
        setting = self.setting
        if name in setting.shares:
            network, architecture, _ = self.learnt(name)
            return dnal.compact(network, architecture), architecture, setting.shares[name][2]
        if name.startswith("random"):
            chosen = self.random(int(name.split()[1]))
        else:
            chosen = self.learnt(setting.first)[1].open if name == setting.alone else self.uniform
        architecture = dnal.Architecture.of(self.space, chosen)
        if name == INHERITED:
            first = setting.shares[setting.first][0]
            return dnal.compact(self.base(first)[0], architecture), architecture, setting.epochs - first
        small = dnal.compact(self.fresh(), architecture)
        kaiming_init(small)
        return small, architecture, setting.epochs

    def rate(self, name: str) -> float | None:
        """What was chosen for rows of this kind on the first seed, if there was a choice."""
        if len(self.setting.rates) == 1:
            return self.setting.rates[0]
        tried = [
            (float(row["validation"]), float(row["rate"]))
            for row in self.rows
            if not row["accuracy"] and self.setting.inherits(row["name"]) == self.setting.inherits(name)
        ]
        return max(tried)[1] if len(tried) == len(self.setting.rates) else None

    def run(self, name: str) -> list[dict[str, object]]:
        """The row, after those of the rates that were tried for it."""
        setting = self.setting
        network, architecture, epochs = self.start(name)
        known = self.rate(name)
        rows = []
        for rate in setting.rates if known is None else (known,):
            small = copy.deepcopy(network).to(memory_format=torch.channels_last)
            begun = clock()
            warmup = 0.0 if setting.inherits(name) else 0.1
            train(self.fabric, small, self.loader(), epochs, rate, warmup=warmup)
            seconds = clock() - begun
            rows.append((self.accuracy(small, "val"), rate, seconds, small))
        validation, rate, seconds, small = max(rows, key=lambda row: row[0])
        macs = dnal.macs(small, self.example)
        common = {
            "name": name,
            "seed": self.seed,
            "macs": macs,
            "macs_of_budget": f"{macs / self.limits['macs']:.4f}",
            "params": sum(p.numel() for p in small.parameters()),
            "epochs": "+".join(map(str, setting.shares[name])) if name in setting.shares else epochs,
            "images": setting.epochs * len(self.dataset.train),
            "device": machine(self.fabric.device.type),
        }
        tried = [
            {**common, "rate": rate, "validation": f"{value:.4f}", "train_s": f"{spent:.1f}"}
            for value, rate, spent, _ in rows
        ]
        return [
            *(tried if known is None else []),
            {
                **common,
                "rate": rate,
                "accuracy": f"{self.accuracy(small, 'test'):.4f}",
                "validation": f"{validation:.4f}",
                "trace_s": f"{self.trace_s:.1f}" if name in setting.shares else "",
                "base_s": f"{self.base(setting.shares[name][0])[1]:.1f}" if name in setting.shares else "",
                "search_s": f"{self.learnt(name)[2]:.1f}" if name in setting.shares else "",
                "train_s": f"{seconds:.1f}",
                "blocks": "; ".join(dnal.supernet.blocks(self.fresh(), architecture)),
            },
        ]


def clock() -> float:
    """Seconds of this process; of the clock where the work is done elsewhere."""
    if not CUDA:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def best(rows: list[dict[str, str]], setting: Setting) -> str | None:
    """The shares of the best validation accuracy on the first seed that has all of them."""
    own = [row for row in rows if row["name"] in setting.shares and row["accuracy"] and row["seed"] == rows[0]["seed"]]
    return max(own, key=lambda row: float(row["validation"]))["name"] if len(own) == len(setting.shares) else None


def report(rows: list[dict[str, str]], setting: Setting) -> str:
    """Mean accuracy of every row, paired differences over the seeds with their standard errors, and the seconds."""
    own: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["accuracy"]:
            own.setdefault(row["name"], {})[row["seed"]] = 100 * float(row["accuracy"])
    for seed in {row["seed"] for row in rows}:
        drawn = [own[name][seed] for name in RANDOM if seed in own.get(name, {})]
        if drawn:
            own.setdefault("random, mean", {})[seed] = statistics.mean(drawn)
    chosen = best(rows, setting) or setting.first
    ours = own.get(chosen, {})
    lines = [f"| | accuracy, % | each seed | {chosen} minus it (standard error) |", "|---|---|---|---|"]
    for name, found in own.items():
        if name in RANDOM:
            lines.append(f"| {name} | {statistics.mean(found.values()):.2f} | | |")
            continue
        gaps = [ours[seed] - value for seed, value in found.items() if seed in ours]
        error = f" ({statistics.stdev(gaps) / math.sqrt(len(gaps)):.2f})" if len(gaps) > 1 else ""
        gap = f"{statistics.mean(gaps):+.2f}{error}" if gaps and found is not ours else ""
        each = ", ".join(f"{value:.2f}" for _, value in sorted(found.items()))
        lines.append(f"| {name} | {statistics.mean(found.values()):.2f} | {each} | {gap} |")
    alone = next((float(row["train_s"]) for row in rows if row["name"] == setting.alone), math.nan)
    for row in rows:
        if row["name"] not in setting.shares or not row["accuracy"]:
            continue
        base, search, train, trace = (float(row[f"{part}_s"]) for part in ("base", "search", "train", "trace"))
        first, second, _ = setting.shares[row["name"]]
        whole = base + search + train
        plain = base / first * setting.epochs
        lines.append(
            f"{row['name']}, seed {row['seed']}: base {base:.0f} s, search {search:.0f} s, retraining {train:.0f} s, "
            f"trace {trace:.0f} s; a search epoch over a base epoch {search / second / (base / first):.2f}; the job "
            f"over the supernet trained plainly for as many images {whole / plain:.2f}, over the network of "
            f"'{setting.alone}' trained alone {whole / alone:.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10", help="a data set by name, or an .npz")
    parser.add_argument("--root", default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/supernet_search.csv"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=16, help="side of the images")
    parser.add_argument("--images", type=int, default=10_000, help="for training")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.05, 0.1, 0.2])
    parser.add_argument("--shares", nargs="+", default=["4+2+6", "2+2+8"], help="of the epochs: base+search+retraining")
    parser.add_argument("--only", nargs="+", help="rows by name, such as 'random 1'")
    parser.add_argument("--report", action="store_true", help="only print the tables of --out")
    options = parser.parse_args()
    shares: dict[str, Epochs] = {f"learnt {text}": tuple(map(int, text.split("+"))) for text in options.shares}
    if len({sum(own) for own in shares.values()}) > 1:
        parser.error("all --shares must have as many epochs in all.")
    setting = Setting(
        options.data, options.root, options.size, options.images, options.batch, tuple(options.rates), shares
    )
    rows = read_rows(options.out)
    jobs: dict[int, Job] = {}

    def measure(seed: int, *names: str) -> None:
        for name in names:
            if options.report or any((r["seed"], r["name"]) == (str(seed), name) and r["accuracy"] for r in rows):
                continue
            if options.only and name not in options.only:
                continue
            jobs[seed] = jobs.get(seed) or Job(setting, seed, rows)
            rows.extend(append_rows(options.out, FIELDS, jobs[seed].run(name)))
            print(rows[-1], flush=True)

    first, *others = options.seeds
    measure(first, *shares, UNIFORM, setting.alone, INHERITED)
    for seed in others:
        measure(seed, best(rows, setting) or setting.first, UNIFORM)
    for name in RANDOM:
        for seed in options.seeds:
            measure(seed, name)
    print(report(rows, setting))


if __name__ == "__main__":
    main()
