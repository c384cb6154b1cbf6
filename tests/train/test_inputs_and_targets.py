"""What is input and what is target."""

from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.surgery.inputs import at_batch, batch_size
from dnal.train.batch import InPairs, Reading, as_given, check_called, split
from dnal.train.outputs import logits_of, own_loss, task_loss
from dnal.train.setup.dry_run import examples


@pytest.mark.parametrize(
    ("batch", "inputs", "targets"),
    [
        ((1, 2), 1, 2),
        ([1, 2], 1, 2),
        (((1, 2), None), (1, 2), None),
        ({"x": 1, "labels": 2, "mask": 3}, {"x": 1, "mask": 3}, 2),
        (UserDict(x=1, labels=2), {"x": 1}, 2),
        ((UserDict(x=1), 2), {"x": 1}, 2),
    ],
)
def test_a_pair_or_a_mapping_with_labels(batch: Any, inputs: Any, targets: Any) -> None:
    assert split(batch) == (inputs, targets)
    assert split(split(batch)) == (inputs, targets)


@pytest.mark.parametrize("batch", [(1, 2, 3), (1,), torch.zeros(2, 3), {1, 2}, {"x": 1}, {"x": 1, "label": 2}, {}])
def test_what_is_neither_asks_for_a_function(batch: Any) -> None:
    with pytest.raises(UserError, match="give batch: a function of a batch that returns inputs and targets"):
        split(batch)


class OfLabels(nn.Module):
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return x


def test_a_network_that_takes_labels_gets_those_of_a_mapping() -> None:
    batch = {"x": 1, "labels": 2}
    assert Reading.of(nn.Linear(1, 1), (1, 2), None) is None
    plain, own = (Reading.of(network, batch, None) for network in (nn.Linear(1, 1), OfLabels()))
    assert plain is not None
    assert own is not None
    assert plain(batch) == ({"x": 1}, 2)
    assert own(batch) == ({"x": 1, "labels": 2}, 2)
    assert own.deployed(own(batch)[0]) == {"x": 1}
    function = Reading.of(OfLabels(), batch, lambda given: (given, None))
    assert function is not None
    assert function.deployed(function(batch)[0]) == batch
    data = [batch]
    assert list(InPairs(data, own)) == [({"x": 1, "labels": 2}, 2)]
    assert as_given(InPairs(data, own)) is data
    with pytest.raises(UserError, match=r"batch must return a pair .* not a int"):
        Reading(lambda given: 3)(batch)


@pytest.mark.parametrize(("inputs", "fits"), [
    (1, True), ((1,), True), ((1, 2), True), ([1, 2], True), ({"x": 1}, True), ({"labels": 1, "x": 2}, True),
    ((1, 2, 3), False), ((), False), ({"labels": 1}, False), ({"y": 1}, False), ({}, False),
])  # fmt: skip
def test_inputs_are_arguments(inputs: Any, fits: bool) -> None:
    if fits:
        check_called(OfLabels(), inputs, "test")
        return
    with pytest.raises(UserError, match=r"inputs of the test data.* takes x, labels; give batch"):
        check_called(OfLabels(), inputs, "test")


def images(*sizes: int) -> list[Tensor]:
    return [torch.rand(3, size, size) for size in sizes]


def test_the_examples_of_a_list_of_images_are_its_entries() -> None:
    boxes = [{"boxes": torch.rand(number, 4), "labels": torch.ones(number)} for number in (1, 3, 2, 0)]
    inputs = images(5, 6, 7, 8), boxes
    assert batch_size(inputs) == batch_size({"images": inputs[0], "targets": boxes}) == 4
    for count in (1, 3, 4, 6):
        found, told = at_batch(inputs, count)
        assert [image.shape[-1] for image in found] == [5, 6, 7, 8, 5, 6][:count]
        assert [len(one["boxes"]) for one in told] == [1, 3, 2, 0, 1, 3][:count]
    (two, few), nothing = examples((inputs, None))
    assert [image.shape[-1] for image in two] == [5, 6]
    assert [len(one["boxes"]) for one in few] == [1, 3]
    assert nothing is None


def test_a_list_of_batches_is_none_of_examples() -> None:
    """Several arguments, features of several sizes, the state of a recurrent layer."""
    pyramid = [torch.rand(2, 8, 4, 4), torch.rand(2, 8, 2, 2)]
    state = torch.rand(2, 5, 3), (torch.rand(1, 2, 4), torch.rand(1, 2, 4))
    for inputs in ([torch.rand(2, 5, 3), torch.rand(2, 5, 3)], (pyramid,), state):
        assert batch_size(inputs) == 2
    assert [t.shape[0] for t in at_batch((pyramid,), 3)[0]] == [3, 3]
    assert [t.shape[0] for t in at_batch([torch.rand(2, 5, 3)] * 2, 3)] == [3, 3]


def test_a_graph_stays_whole() -> None:
    nodes, edges = torch.rand(7, 3), torch.randint(7, (2, 9))
    (found, between), targets = examples(((nodes, edges), torch.zeros(7)))
    assert found is nodes
    assert between is edges
    assert len(targets) == 7


def test_the_loss_of_the_network_or_the_cross_entropy_of_its_logits() -> None:
    logits, targets = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    expected = -logits.log_softmax(1)[range(4), targets].mean()
    for outputs in (logits, {"logits": logits}, {"logits": logits, "loss": None}):
        torch.testing.assert_close(task_loss(outputs, targets), expected)
        assert logits_of(outputs) is logits
        assert own_loss(outputs) is None
    assert float(task_loss({"logits": logits, "loss": torch.tensor(7.0)}, targets)) == 7
    sequences = torch.randn(4, 5, 3)
    assert logits_of({"logits": sequences}).shape == (4, 3, 5)
    assert logits_of(sequences) is sequences
    assert logits_of({"scores": logits}) == {"scores": logits}
