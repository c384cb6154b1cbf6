import functools
import itertools
import statistics

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dnal
from dnal.methods.random_search import random_search
from dnal.methods.uniform import random_scores, uniform_scores
from dnal.selection.select import select
from dnal.train.evaluate import accuracy

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def test_it_keeps_the_candidate_of_the_least_loss_reckoned_with_gates(
    network: nn.Module, space: dnal.Space, batches: Batches
) -> None:
    seen: list[torch.Tensor] = []
    limits = {"macs": 0.4 * space.full_cost["macs"]}

    def keep(scores: torch.Tensor) -> torch.Tensor:
        seen.append(select(space, scores, limits))
        return seen[-1]

    state = torch.get_rng_state()
    found = random_search(network, space, keep, batches, F.cross_entropy, candidates=12)
    assert torch.equal(torch.get_rng_state(), state)
    network.eval()
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    for chosen, loss in zip(seen, found.losses.tolist(), strict=True):
        assert float(space.costs["macs"](chosen)) <= limits["macs"]
        with torch.no_grad():
            outputs = dnal.gated(network, dnal.Architecture.of(space, chosen))(x)
        assert loss == pytest.approx(float(F.cross_entropy(outputs, y)), rel=1e-4)
    assert len({tuple(chosen.tolist()) for chosen in seen}) > 6
    assert torch.equal(found.open_variables, seen[int(found.losses.argmin())])


def test_all_groups_keep_one_share(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    keep = functools.partial(select, space, limits={"macs": 0.3 * space.full_cost["macs"]})
    chosen = random_search(network, space, keep, batches, F.cross_entropy, candidates=3, seed=5).open_variables
    shares = [float(chosen[group.variables].double().mean()) for group in space.groups]
    assert max(shares) - min(shares) <= 1.5 / min(g.width for g in space.groups)


def test_it_reads_no_more_than_the_samples_asked_for(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    keep = functools.partial(select, space, limits={"macs": 0.3 * space.full_cost["macs"]})
    few = random_search(network, space, keep, batches, F.cross_entropy, candidates=2, samples=25)
    same = random_search(network, space, keep, batches[:2], F.cross_entropy, candidates=2)
    assert torch.equal(few.losses, same.losses)


def test_targets_of_any_tree(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    """Detection's dicts, and lists of them, are the same search."""
    keep = functools.partial(select, space, limits={"macs": 0.4 * space.full_cost["macs"]})
    plain = random_search(network, space, keep, batches, F.cross_entropy, candidates=3)

    def of_dict(outputs: torch.Tensor, targets: dict[str, list[torch.Tensor]]) -> torch.Tensor:
        return F.cross_entropy(outputs, targets["classes"][0])

    trees = [(x, {"classes": [y], "name": "x"}) for x, y in batches]
    assert torch.equal(random_search(network, space, keep, trees, of_dict, candidates=3).losses, plain.losses)


@pytest.mark.slow
def test_what_was_found_is_no_better_than_what_was_drawn() -> None:
    """A smaller version of the study `random-search`."""

    def keep(scores: torch.Tensor) -> torch.Tensor:
        return scores > 0.5

    found: list[float] = []
    drawn: list[float] = []
    for seed in range(4):
        torch.manual_seed(seed)
        data = dnal.data.loaders(dnal.data.load("digits"), 64)
        epochs = [list(data.train) for _ in range(8)]
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )
        space = dnal.Space.of(network, epochs[0][0][0])
        result = random_search(network, space, keep, epochs[0], F.cross_entropy, candidates=50, seed=seed)
        assert float(result.losses.min()) < float(result.losses.mean())
        for chosen, accuracies in (
            (result.open_variables, found),
            (keep(uniform_scores(space, random_scores(space, seed))), drawn),
        ):
            small = dnal.compact(network, dnal.Architecture.of(space, chosen))
            optimizer = torch.optim.Adam(small.parameters(), lr=1e-3)
            for x, y in itertools.chain.from_iterable(epochs):
                optimizer.zero_grad()
                F.cross_entropy(small(x), y).backward()
                optimizer.step()
            accuracies.append(accuracy(small, data.test))
    # The margin is points, not standard errors: noise must not pass for equivalence.
    assert abs(statistics.mean(found) - statistics.mean(drawn)) <= 0.02
