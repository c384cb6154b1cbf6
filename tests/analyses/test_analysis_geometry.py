"""Angle, length and margin of the last features: exact facts, on networks and on numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dnal import data, models
from dnal.analyses import Side, attributed, class_directions, cosines_of, geometry_of, margins, rebuilt, seen_of
from dnal.base.errors import UserError


def drawn(seed: int = 0, number: int = 60, classes: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(number, 7, generator=generator).relu() + 0.01
    weight = torch.randn(classes, 7, generator=generator)
    bias = torch.randn(classes, generator=generator)
    return features, weight, bias, torch.randint(classes, (number,), generator=generator)


@pytest.mark.parametrize("name", ["vgg_small", "cifar/resnet20"])
def test_a_network_is_rebuilt_from_angle_and_length_and_the_margin_says_what_is_right(name: str) -> None:
    torch.manual_seed(0)
    digits = data.load("digits", input_shape=(3, 16, 16))
    network = models.create(name, classes=10, input_shape=(3, 16, 16))
    seen = seen_of(network, data.loaders(digits, 64).test, torch.zeros(2, 3, 16, 16))
    assert seen.features is not None
    assert seen.head is not None
    found = geometry_of(seen.features, seen.head.weight, seen.head.bias, seen.targets, seen.logits)
    logits = rebuilt(found.cosines, found.lengths, seen.head.weight.double(), seen.head.bias)
    assert (logits - seen.logits).abs().max() <= 1e-5 * seen.logits.abs().max()
    right = network.eval()(torch.cat([x for x, _ in data.loaders(digits, 64).test])).argmax(1) == digits.test.y
    assert 0 < int(right.sum()) < len(right)
    assert ((found.margins > 0) == right).all()
    assert not (found.margins == 0).any()
    assert seen.single


def test_margins_and_cosines_by_loop() -> None:
    features, weight, bias, targets = drawn()
    found = geometry_of(features, weight, bias, targets)
    f, w, b = features.double(), weight.double(), bias.double()
    for n, y in enumerate(targets.tolist()):
        distances = [
            float(((w[y] - w[c]) @ f[n] + b[y] - b[c]) / (w[y] - w[c]).norm()) for c in range(len(w)) if c != y
        ]
        assert float(found.margins[n]) == pytest.approx(min(distances), abs=1e-9)
        cosine = float(w[y] @ f[n] / (w[y].norm() * f[n].norm()))
        assert float(found.angles[n]) == pytest.approx(math.acos(cosine), abs=1e-9)


def test_moving_by_the_margin_reaches_the_boundary_and_no_shorter_way_does() -> None:
    features, weight, bias, targets = drawn(seed=3)
    found = geometry_of(features, weight, bias, targets)
    logits = features.double() @ weight.double().T + bias.double()
    targets = logits.argmax(1)  # all right
    found = geometry_of(features, weight, bias, targets)
    step = torch.nn.functional.normalize(torch.randn(len(features), 7, dtype=torch.float64), dim=1)
    nearer = features.double() + 0.999 * found.margins[:, None] * step
    assert (nearer @ weight.double().T + bias.double()).argmax(1).equal(targets)


def test_cosines_are_clamped_and_zero_features_are_flagged() -> None:
    weight = torch.randn(4, 300, generator=torch.Generator().manual_seed(1))
    features = torch.cat([weight * 1e3, -weight, torch.zeros(2, 300)])
    targets = torch.arange(10) % 4
    found = geometry_of(features, weight, torch.arange(4.0), targets)
    assert found.cosines.abs().max() <= 1
    assert found.angles.isfinite().all()
    assert found.zero.tolist() == [False] * 8 + [True] * 2
    assert found.angles[8:].tolist() == pytest.approx([math.pi / 2] * 2)
    assert rebuilt(found.cosines, found.lengths, weight, torch.arange(4.0))[8:].tolist() == [[0, 1, 2, 3]] * 2
    assert torch.allclose(cosines_of(torch.ones(1, 300), torch.zeros(1, 300)), torch.zeros(1, 1))
    assert class_directions(torch.zeros(2, 3)).eq(0).all()


def test_between_equal_classes_lies_no_boundary() -> None:
    weight = torch.ones(3, 2)
    logits = torch.tensor([[2.0, 1.0, 1.0], [1.0, 2.0, 2.0], [1.0, 1.0, 1.0]])
    assert margins(logits, weight, torch.zeros(3, dtype=torch.long)).tolist() == [math.inf, -math.inf, 0]


def test_sizes_that_do_not_belong_together_are_one_sentence() -> None:
    features, weight, bias, targets = drawn()
    with pytest.raises(UserError, match="belong together"):
        geometry_of(features[:, 1:], weight, bias, targets)
    with pytest.raises(UserError, match="belong together"):
        geometry_of(features, weight, bias, targets[1:])


@pytest.mark.parametrize("bias", [True, False])
def test_the_parts_of_the_loss_add_up_and_lengths_alone_change_nothing_without_biases(bias: bool) -> None:
    f, w, b, y = drawn(seed=1)
    g, v, c, _ = drawn(seed=2)
    sides = [
        Side(geometry_of(x, u, d if bias else None, y), u, d if bias else None) for x, u, d in ((f, w, b), (g, v, c))
    ]
    found = attributed(*sides, y)
    assert found.direction + found.length == pytest.approx(found.loss)
    losses = [
        float(nn.functional.cross_entropy(x.double() @ u.double().T + (d.double() if bias else 0), y))
        for x, u, d in ((f, w, b), (g, v, c))
    ]
    assert found.loss == pytest.approx(losses[1] - losses[0])
    if not bias:
        assert found.base_of_its_length == found.base
        assert found.by_length == 0
        assert found.by_direction == 1
    same = attributed(sides[0], sides[0], y)
    assert (same.loss, same.direction, same.length) == (0, 0, 0)
    assert math.isnan(same.by_length)


def test_what_is_said_after_the_last_layer_is_told() -> None:
    class Scaled(nn.Module):
        def __init__(self, last: nn.Module) -> None:
            super().__init__()
            self.linear, self.last = nn.Linear(4, 3), last

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.linear(x))

    batches = [(torch.randn(20, 4), torch.arange(20) % 3)]
    assert seen_of(Scaled(nn.LogSoftmax(1)), batches, torch.randn(2, 4)).features is not None  # up to a number
    seen = seen_of(Scaled(nn.Tanh()), batches, torch.randn(2, 4))
    assert seen.features is None
    assert "something made of it" in seen.why
    assert seen.logits.shape == (20, 3)
    seen = seen_of(nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), [(batches[0][0], batches[0][1][:, None])],
                   torch.randn(2, 4))  # fmt: skip
    assert not seen.single
    assert seen.logits.shape == (20, 3)


def test_targets_that_do_not_count_have_no_row() -> None:
    y = torch.tensor([0, -100, 2, 1])
    seen = seen_of(nn.Linear(4, 3), [(torch.randn(4, 4), y)], torch.randn(2, 4))
    assert seen.targets.tolist() == [0, 2, 1]
    assert seen.features is not None
    assert seen.features.shape == (3, 4)
    assert not seen.single
