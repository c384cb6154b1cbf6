"""Ideas for the default recipe, each against the recipe as it is, on images that no benchmark tests on: the last 10,000
training images of CIFAR-10 are the test data here, and the others the training data. One row per network, share of the
MACs, seed and idea; all see the same number of images. A row that is there is not run again.

python benchmarks/recipe_ideas.py --data cifar10.npz --out benchmarks/recipe_ideas.csv --work FOLDER
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnal import gates
from dnal.bench import choosing
from dnal.bench.base import train_base, trained
from dnal.bench.comparison import interval, paired
from dnal.bench.ground import Ground, Place
from dnal.bench.jobs import Base, Run
from dnal.bench.run import row_file, run_row
from dnal.bench.suite import RESNET, VGG, Entry, Network, Suite
from dnal.methods import budget_recipe
from dnal.methods.magnitude import l1_scores
from dnal.methods.task import Task
from dnal.plan import LONG_SEARCH
from dnal.space.space import Space
from dnal.techniques.distillation import distillation_loss
from dnal.train import weights
from result_file import append_rows, read_rows

FIELDS = ("network", "share", "seed", "idea", "rates", "rate", "epochs", "accuracy", "base_accuracy", "macs",
          "choosing_seconds", "base_seconds", "retrain_seconds", "widths")  # fmt: skip
HELD = 10_000
AS_IS = "as it is"
HELD_OUT = "s on held-out batches"
LONG = replace(VGG, name="vgg16-quarter-long", epochs=LONG_SEARCH)
"""As long as `dnal learn` trains by default."""
NETWORKS = {network.name: network for network in (VGG, RESNET, LONG)}


@contextmanager
def replaced(modules: Any, **values: Any) -> Iterator[None]:
    """A module of the package, or several, with other constants, or parts."""
    places = [(module, name) for module in (modules if isinstance(modules, tuple) else (modules,)) for name in values]
    before = [getattr(module, name) for module, name in places]
    try:
        for module, name in places:
            setattr(module, name, values[name])
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)


class PooledAdam(torch.optim.Adam):
    """Adam whose second moment is shared by all that have one number in ``pools``, and whose steps are ``pace`` times
    as long; both of the size of the parameter."""

    def __init__(self, parameters: list[torch.nn.Parameter], pools: Tensor, pace: Tensor, lr: float) -> None:
        super().__init__(parameters, lr=lr, betas=(0.9, 0.99))
        self.pools, self.pace = pools, pace
        self.sizes = torch.bincount(pools)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            (s,) = group["params"]
            state = self.state[s]
            if not state:
                state |= {"step": 0, "exp_avg": torch.zeros_like(s), "exp_avg_sq": torch.zeros_like(s)}
            state["step"] += 1
            first, second = group["betas"]
            square = torch.zeros(len(self.sizes)).index_add_(0, self.pools, s.grad.square()) / self.sizes
            state["exp_avg"].mul_(first).add_(s.grad, alpha=1 - first)
            # the search takes its preconditioner from here, so the pace is part of the second moment
            state["exp_avg_sq"].mul_(second).add_(square[self.pools] / self.pace.square(), alpha=1 - second)
            scale = (state["exp_avg_sq"] / (1 - second ** state["step"])).sqrt() + 1e-12
            s.sub_(group["lr"] * state["exp_avg"] / (1 - first ** state["step"]) / scale)


def pooled(by_group: bool) -> type[budget_recipe.BudgetSearch]:
    """The search with one second moment per group of channels, or one for all."""

    class Search(budget_recipe.BudgetSearch):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            pools = torch.zeros(self.space.num_gates, dtype=torch.long)
            if by_group:
                alone = [branch.variable for branch in self.space.branches]
                for number, group in enumerate(self.space.groups):
                    pools[group.variables] = number
                pools[alone] = len(self.space.groups)
            self.optimizer = PooledAdam([self.gated.s], pools, torch.ones(len(pools)), self.lr)

    return Search


class SlowBranches(budget_recipe.BudgetSearch):
    """The search in which a branch's s moves by 1 / sqrt(n) of the step of a channel's, n being the channels in it.

    The gradient of a branch sums those of its channels, and Adam divides by its spread, which grows with sqrt(n) where
    they are independent: a mean that leans one way moves the branch sqrt(n) times as surely as any of its channels.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pace = torch.ones(self.space.num_gates)
        for branch in self.space.branches:
            gates = torch.ones(self.space.num_gates)
            gates[branch.variable] = 0.0
            gates.requires_grad_()
            (slope,) = torch.autograd.grad(self.space.costs["macs"](gates), gates)
            inside = int((slope[: self.space.num_variables] == 0).sum())
            pace[branch.variable] = max(inside, 1) ** -0.5
        self.optimizer = PooledAdam([self.gated.s], torch.arange(len(pace)), pace, self.lr)


def leaning(share: float) -> type[budget_recipe.BudgetSearch]:
    """The search whose s starts lower where the L1 norm is small: from 1 - ``share``, at half the mean of the group or
    less, to 1, at one and a half times the mean or more."""

    class Search(budget_recipe.BudgetSearch):
        def __init__(self, gated: gates.Gated, space: Space, *args: Any, **kwargs: Any) -> None:
            norms = l1_scores(gated.network, space).sub(0.5).clamp(0, 1).to(gated.s)
            with torch.no_grad():
                gated.s.copy_(budget_recipe.START * (1 - share * (1 - norms)))
            super().__init__(gated, space, *args, **kwargs)

    return Search


def keeping_branches(search: type[budget_recipe.BudgetSearch]) -> type[budget_recipe.BudgetSearch]:
    """The search that never closes a residual branch as a whole."""

    class Search(search):  # type: ignore[valid-type, misc]
        @torch.no_grad()
        def _project(self) -> None:
            branches = [branch.variable for branch in self.space.branches]
            self.gated.s[branches] = budget_recipe.START  # first of all, so that they lead the ranking
            super()._project()
            self.gated.s[branches] = budget_recipe.START

    return Search


def task_with(**values: Any) -> Callable[..., Task]:
    """What a method is given, with other settings."""
    return lambda **own: Task(**{**own, **values})


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


def teaching(share: float) -> dict[str, Any]:
    """The base teaches, and so much of the loss is its word."""
    return {"distillation_loss": partial(distillation_loss, weight=share)}


def right(word: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """Where the teacher says what the label says, (N,)."""
    return word.argmax(1) == targets


def better(word: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
    """Where the teacher's loss is lower than the pupil's, (N,)."""
    own, other = (F.cross_entropy(logits.float(), targets, reduction="none") for logits in (outputs, word))
    return other < own.detach()


def heard(where: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Callable[[Any, Any, Any], Tensor]]:
    """The loss with a teacher who is heard on some of the images, and counts for as much as they are of the batch."""

    def taught_loss(loss: weights.Loss, teacher: torch.nn.Module | None) -> Callable[[Any, Any, Any], Tensor]:
        if teacher is None:
            return lambda outputs, targets, inputs: loss(outputs, targets)

        def compute(outputs: Any, targets: Any, inputs: Any) -> Tensor:
            with torch.no_grad():
                word = teacher(inputs)
            chosen = where(word, outputs, targets)
            share = float(chosen.double().mean())
            task = loss(outputs, targets)
            if not share:
                return task
            return (1 - share) * task + share * distillation_loss(
                outputs[chosen], word[chosen], F.cross_entropy(outputs[chosen], targets[chosen])
            )

        return compute

    return taught_loss


SELECTIVE = {"the base teaches where it is right": right, "the base teaches where its loss is lower": better}
EARLY, EARLIER, SCRATCH = "no base, search of 1/5 of all", "no base, search of 1/10 of all", "uniform from new weights"
ENTRIES = {
    HELD_OUT: Entry("dnal", "dnal", held_out=True),
    EARLY: Entry("dnal", "dnal", without_base=True, choosing=1 / 2),
    EARLIER: Entry("dnal", "dnal", without_base=True, choosing=1 / 4),
    SCRATCH: Entry("dnal", "uniform", init="fresh", without_base=True),
}
"""Ideas that are told from the recipe by what a row of a benchmark may say of a method. Without a base the network's
weights are new when the search begins, and what is left trains for the longer."""
TAUGHT = {f"the base teaches, weight {share:g}": share for share in (0.9, 0.5, 0.2)}
IDEAS: dict[str, tuple[Callable[[Network], Network], Any, dict[str, Any]]] = {
    AS_IS: (same, budget_recipe, {}),
    "search 1/4 of the base": (searched(0.25), budget_recipe, {}),
    "search 1/6 of the base": (searched(1 / 6), budget_recipe, {}),
    "search 1/12 of the base": (searched(1 / 12), budget_recipe, {}),
    **{
        f"search 1/12 of the base, {name} as long a base": (shortened(share), budget_recipe, {})
        for name, share in {"half": 0.5, "a quarter": 0.25}.items()
    },
    "search 1/12 of the base, budget met at its end": (searched(1 / 12), budget_recipe, {"WAIT": 0.02, "TIGHT": 0.95}),
    **{
        f"search 1/12 of the base, s starts by L1, {share:g}": (
            searched(1 / 12),
            budget_recipe,
            {"BudgetSearch": leaning(share)},
        )
        for share in (0.3, 0.6, 0.9)
    },
    **{
        f"search 1/12 of the base, {name}": (searched(1 / 12), budget_recipe, {"BudgetSearch": own})
        for name, own in {
            "one second moment per group": pooled(True),
            "no branch closes": keeping_branches(budget_recipe.BudgetSearch),
            "one second moment per group, no branch closes": keeping_branches(pooled(True)),
            "branches step by 1 / sqrt(channels)": SlowBranches,
        }.items()
    },
    "one second moment per group": (same, budget_recipe, {"BudgetSearch": pooled(True)}),
    "one second moment": (same, budget_recipe, {"BudgetSearch": pooled(False)}),
    "budget met at .4 of the search": (same, budget_recipe, {"TIGHT": 0.4}),
    "budget met at .9 of the search": (same, budget_recipe, {"TIGHT": 0.9}),
    "budget met at once": (same, budget_recipe, {"WAIT": 0.0, "TIGHT": 0.01}),
    "weights at the base's rate in the search": (same, choosing, {"ARCHITECTURE_RATE": 1.0}),
    "weights at a tenth of that": (same, choosing, {"ARCHITECTURE_RATE": 0.1}),
    "gates soft in the forward pass": (same, gates, {"hard_gates": gates.sigmoid_gates}),
    HELD_OUT: (same, choosing, {"Task": task_with(steps="alternating")}),
    **{idea: (same, weights, teaching(share)) for idea, share in TAUGHT.items()},
    **{idea: (same, budget_recipe, {}) for idea in (EARLY, EARLIER, SCRATCH)},
    **{idea: (same, (weights, budget_recipe), {"taught_loss": heard(where)}) for idea, where in SELECTIVE.items()},
}


def held_out(cifar: Path, work: Path) -> Path:
    """CIFAR-10 without its test data."""
    path = work / "held_out.npz"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        with np.load(cifar) as file:
            images, labels = file["x_train"], file["y_train"]
        np.savez(path, x_train=images[:-HELD], y_train=labels[:-HELD], x_test=images[-HELD:], y_test=labels[-HELD:])
    return path


def row(
    network: Network, share: float, seed: int, idea: str, rates: Sequence[float], data: Path, work: Path
) -> dict[str, object]:
    change, module, others = IDEAS[idea]
    entry, changed = ENTRIES.get(idea, Entry("dnal", "dnal")), change(network)
    suite = Suite("ideas", "", (changed,), (seed,), (entry,), precision="bf16-mixed")
    ground = Ground(suite, changed, seed, Place(None, (("cifar10", str(data)),)))
    out = work / idea.replace("/", "_")
    job = Run(changed.name, share, seed, idea in (*TAUGHT, *SELECTIVE), "dnal")
    base = Base(changed.name, seed)
    if not trained(work, base):
        train_base(ground, work, lambda: False)
    here = out / "jobs" / base.name
    here.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        here.symlink_to((work / "jobs" / base.name).resolve())
    if not row_file(out, job).is_file():
        with replaced(module, **others):
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
