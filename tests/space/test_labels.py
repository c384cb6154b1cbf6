"""Labels: the union-find against a brute-force one, and the small functions on layers."""

import itertools
import random

import pytest
import torch
from torch import Tensor

from dnal.space.labels import Ledger, along, carried, compressed, core, matched, signature


def classes_by_search(size: int, ties: list[tuple[int, int]]) -> list[int]:
    """The smallest member of everyone's class, by spreading until nothing changes."""
    smallest = list(range(size))
    changed = True
    while changed:
        changed = False
        for a, b in ties:
            low = min(smallest[a], smallest[b])
            changed = changed or smallest[a] != low or smallest[b] != low
            smallest[a] = smallest[b] = low
    return smallest


@pytest.mark.parametrize("seed", range(40))
def test_solve_equals_a_brute_force_union_find(seed: int) -> None:
    draw = random.Random(seed)
    size = draw.randint(1, 60)
    ties = [(draw.randrange(size), draw.randrange(size)) for _ in range(draw.randint(0, 2 * size))]
    frozen = [draw.randrange(size) for _ in range(draw.randint(0, 4))]
    ledger = Ledger()
    ledger.fresh(size)
    for start in range(0, len(ties), 7):
        chunk = torch.tensor(ties[start : start + 7]).view(-1, 2)
        ledger.tie(chunk[:, 0], chunk[:, 1])
    for number, label in enumerate(frozen):
        ledger.freeze(torch.tensor([label]), f"reason {number}")
    root, reasons = ledger.solve()

    expected = classes_by_search(size, ties)
    assert root.tolist() == expected
    first: dict[int, str] = {}
    for number, label in enumerate(frozen):
        first.setdefault(expected[label], f"reason {number}")
    assert reasons == first


def test_long_chains_end_at_the_smallest() -> None:
    ledger = Ledger()
    labels = ledger.fresh(5000)
    order = labels[torch.randperm(5000, generator=torch.Generator().manual_seed(0))]
    ledger.tie(order[:-1], order[1:])
    root, reasons = ledger.solve()
    assert not root.any()
    assert reasons == {}


def test_ties_broadcast() -> None:
    ledger = Ledger()
    rows = ledger.fresh(12).view(3, 4)
    ledger.tie(rows, rows[:1])
    root, _ = ledger.solve()
    assert root.view(3, 4).tolist() == [[0, 1, 2, 3]] * 3


def varies(layer: Tensor) -> tuple[int, ...]:
    """The dimensions along which some index changes the label, by comparing all of them."""
    return tuple(d for d in range(layer.dim()) if bool((layer != layer.narrow(d, 0, 1)).any()))


@pytest.mark.parametrize("dims", [d for n in range(4) for d in itertools.combinations(range(3), n)])
def test_compressing_keeps_the_labels_and_shows_where_they_vary(dims: tuple[int, ...]) -> None:
    shape = [2, 3, 4]
    sizes = [n if d in dims else 1 for d, n in enumerate(shape)]
    layer = torch.arange(torch.Size(sizes).numel()).view(sizes).expand(shape).contiguous()
    assert varies(layer) == dims
    result = compressed(layer)
    assert torch.equal(result, layer)
    assert signature(result) == dims
    assert core(result, dims).numel() == torch.Size(sizes).numel()


def test_layers_run_along_their_dimension() -> None:
    layer = along(torch.arange(3), 1, (2, 3, 4))
    assert layer.shape == (2, 3, 4)
    assert signature(layer) == (1,)
    assert torch.equal(layer[1, :, 2], torch.arange(3))
    assert carried(layer, (2, 3, 9), [2]).shape == (2, 3, 9)
    assert torch.equal(core(layer, [1]), torch.arange(3))


def test_layers_that_share_a_dimension_are_tied_and_others_are_not() -> None:
    ledger = Ledger()
    one, two, rows = (ledger.fresh(n) for n in (3, 3, 2))
    shape = (2, 3)
    result = matched(ledger, [along(one, 1, shape), along(two, 1, shape), along(rows, 0, shape)])
    assert sorted(signature(layer) for layer in result) == [(0,), (1,)]
    root, _ = ledger.solve()
    assert root.tolist() == [0, 1, 2, 0, 1, 2, 6, 7]
