"""Labels: the union-find against a brute-force one, and the small functions on layers."""

import itertools
import random

import pytest
import torch
from torch import Tensor

from dnal.space.labels import Ledger, along, carried, compressed, core, distinct, matched, signature


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


def test_ties_of_layers_that_vary_along_one_dimension_are_those_along_it() -> None:
    """However large the values are: an image of 4096 x 4096 places has no more labels than channels."""
    ledger = Ledger()
    one, two, heads = (ledger.fresh(n) for n in (6, 6, 3))
    shape = (2, 6, 4096, 4096)
    ledger.tie(along(one, 1, shape), along(two, 1, shape))
    ledger.tie(along(one, 1, shape), along(one, 1, shape))
    ledger.tie(two.view(3, 2), heads.view(3, 1))
    ledger.freeze(along(heads, 1, (2, 3, 4096, 4096))[:, 2:], "frozen")
    root, reasons = ledger.solve()
    assert root.tolist() == [0, 0, 2, 2, 4, 4] * 2 + [0, 2, 4]
    assert reasons == {4: "frozen"}


@pytest.mark.parametrize("seed", range(10))
def test_classes_that_grow_between_questions_are_those_of_all_ties_at_once(seed: int) -> None:
    draw = random.Random(seed)
    ledger, ties = Ledger(), []
    for _ in range(6):
        ledger.fresh(draw.randint(1, 20))
        for _ in range(draw.randint(0, 8)):
            pair = draw.randrange(ledger.size), draw.randrange(ledger.size)
            ties.append(pair)
            ledger.tie(*(torch.tensor([label]) for label in pair))
        before = ledger.roots().clone()
        assert before.tolist() == classes_by_search(ledger.size, ties)
        asked = ledger.roots()
        ledger.fresh(1)
        ledger.tie(torch.tensor([ledger.size - 1]), torch.tensor([0]))
        ties.append((ledger.size - 1, 0))
        ledger.roots()
        assert torch.equal(asked, before)  # what was given out stays


def test_the_first_reason_stands_and_of_the_better_ones_the_last() -> None:
    ledger = Ledger()
    labels = ledger.fresh(6)
    ledger.tie(labels[0], labels[1])
    for chosen, reason in (([1, 2], "first"), ([0, 3], "second"), ([2], "third")):
        ledger.freeze(labels[chosen], reason)
    for chosen, reason in (([3, 4], "better"), ([3], "best")):
        ledger.explain(labels[chosen], reason)
    assert ledger.solve()[1] == {0: "first", 2: "first", 3: "best"}


def test_distinct_labels_are_all_of_them_once() -> None:
    layer = torch.tensor([[3, 1, 3], [3, 1, 3]])
    for given in (layer, layer.view(2, 3, 1, 1).expand(2, 3, 500, 500), along(torch.tensor([5, 5]), 0, (2, 9))):
        assert distinct(given).tolist() == sorted({int(n) for n in given.unique()})
    assert distinct(torch.empty(0, 4, dtype=torch.long)).tolist() == []


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
