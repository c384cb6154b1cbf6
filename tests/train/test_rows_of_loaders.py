from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor

from dnal.train.rows import has_nan, is_finite, is_of_examples, of_each, to_device

N = 4
Pair = namedtuple("Pair", "boxes label")
ROWS = torch.arange(N)
BOXES = [{"boxes": torch.randn(n, 4), "label": n} for n in (3, 4, 0, 1)]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize(
    ("targets", "first_two"),
    [
        (ROWS, ROWS[:2]),
        ({"a": ROWS, "b": {"c": torch.eye(N)}}, {"a": ROWS[:2], "b": {"c": torch.eye(N)[:2]}}),
        (Pair(ROWS, ROWS), Pair(ROWS[:2], ROWS[:2])),
        ((ROWS, ROWS, ROWS, ROWS), (ROWS[:2],) * 4),  # as many targets as examples
        (BOXES, BOXES[:2]),
        (tuple(BOXES), tuple(BOXES[:2])),
        ({"boxes": BOXES, "of": ROWS}, {"boxes": BOXES[:2], "of": ROWS[:2]}),
        (list("abcd"), list("ab")),
        ([torch.tensor(1.0)] * N, [torch.tensor(1.0)] * 2),
        (
            {"weight": torch.tensor(2.0), "name": "x", "y": ROWS},
            {"weight": torch.tensor(2.0), "name": "x", "y": ROWS[:2]},
        ),
    ],
)
def test_examples_of_any_tree(targets: Any, first_two: Any) -> None:
    assert is_of_examples(targets, N)
    assert same(of_each(targets, N, slice(2)), first_two)
    assert same(of_each(targets, N, slice(None)), targets)


@pytest.mark.parametrize("targets", [torch.randn(9, 4), {"all boxes": torch.randn(9, 4), "y": ROWS}, [ROWS, ROWS[:3]]])
def test_what_belongs_to_the_examples_in_another_way_is_told(targets: Any) -> None:
    assert not is_of_examples(targets, N)


def test_every_tensor_of_a_tree_is_moved() -> None:
    tree = {"a": ROWS, "b": [torch.eye(2), (ROWS, "x", None)], "c": 3}
    moved = to_device(tree, torch.device("meta"))
    assert [moved["a"].is_meta, moved["b"][0].is_meta, moved["b"][1][0].is_meta] == [True] * 3
    assert (moved["b"][1][1:], moved["c"]) == (("x", None), 3)


def test_numbers_that_are_none() -> None:
    assert is_finite({"a": ROWS, "b": [torch.ones(2)]})
    assert not is_finite([ROWS, torch.tensor([1.0, -torch.inf])])
    assert has_nan((torch.tensor([torch.nan]), ROWS))
    assert not has_nan([torch.tensor([torch.inf])])
