"""Networks that choose among what they compute: two that are equal up to rounding may choose differently, and are
compared at what they choose from."""

import random
from itertools import combinations
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import dnal
from dnal.space import probe
from dnal.space.rules import RULES
from dnal.space.rules.pointwise import pointwise
from dnal.space.selections import Recorded, all_close, close, repeats
from independent import coin_flips, difference, randomise, run, zero_twin
from networks import conv

SIDE = 6


class Detector(nn.Module):
    """Every place has two scores that are equal except for rounding, and the best few are looked at further."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.score = conv(3, 12), conv(12, 10), conv(10, 1, 1)
        self.box, self.refine = conv(10, 4, 1), nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4))

    def dense(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.body(self.stem(x).relu()).relu()
        scores = torch.cat((self.score(x), self.score(3 * x) / 3 + self.score.bias.view(1, 1, 1, 1) * 2 / 3), 1)
        return scores.flatten(1), self.box(x).flatten(2), x.flatten(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, boxes, features = self.dense(x)
        best, where = scores.topk(20, 1)
        rows, place = torch.arange(len(x))[:, None], where % boxes.size(2)
        return best, where, boxes[rows, :, place] + self.refine(features[rows, :, place])


class Dense(nn.Module):
    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> Any:
        return self.detector.dense(x)


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, SIDE, SIDE)


def test_a_detector_is_compared_at_what_it_chooses_from() -> None:
    torch.manual_seed(0)
    network = randomise(Detector()).eval()
    space = dnal.Space.of(network, images())
    assert [group.width for group in space.groups] == [12, 10, 8]
    permuted = 0
    for seed in range(4):
        architecture = coin_flips(space, seed)
        small, twin = dnal.compact(network, architecture), zero_twin(network, space, architecture.open)
        inputs = images(3)
        assert difference(run(Dense(twin), inputs)[:2], run(Dense(small), inputs)[:2]) <= 1e-4
        permuted += difference(run(twin, inputs)[1:2], run(small, inputs)[1:2]) > 0
    assert permuted  # else nothing was tested


def test_what_follows_a_choice_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong rule behind the choice, the channels that it breaks stay, and no others."""
    monkeypatch.setitem(RULES, "_softmax", pointwise)
    torch.manual_seed(0)
    network = Detector()
    network.refine[1] = nn.Softmax(-1)
    space = dnal.Space.of(randomise(network).eval(), images())
    assert [group.width for group in space.groups] == [12, 10]
    assert any("probe" in fixed.reason for fixed in space.fixed if fixed.name == "refine.0.weight")


def test_a_wrong_score_is_found_before_the_choice() -> None:
    torch.manual_seed(0)
    network = randomise(Detector()).eval()
    inputs, recorded = images(), Recorded()
    with recorded:
        reference = run(network, inputs)
    assert [selection.name for selection in recorded.selections] == ["topk"]
    assert repeats(reference, recorded.selections, lambda: run(network, inputs))
    with torch.no_grad():
        network.score.weight.mul_(-1)  # the same boxes for the same choices
    assert not repeats(reference, recorded.selections, lambda: run(network, inputs))
    assert not repeats(reference, [], lambda: run(network, inputs))


@pytest.mark.slow
def test_torchvisions_single_shot_detector() -> None:
    """Its scores at the border are equal except for rounding."""
    torch.manual_seed(0)
    network = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    )
    network = randomise(network).eval()
    inputs = ([torch.rand(3, 96, 96), torch.rand(3, 96, 96)],)
    space = dnal.Space.of(network, inputs)
    assert space.removable_share > 0.99
    architecture = coin_flips(space, 0)
    small, twin = dnal.compact(network, architecture), zero_twin(network, space, architecture.open)

    def heads(one: Any) -> list[Tensor]:
        with torch.no_grad():
            seen, _ = one.transform(inputs[0])
            found = one.head(list(one.backbone(seen.tensors).values()))
        return [found["bbox_regression"], found["cls_logits"]]

    assert difference(heads(twin), heads(small)) <= 1e-4


def test_infinities_are_close_where_they_are_equal() -> None:
    numbers = torch.tensor([1.0, float("-inf"), 2.0])
    assert close(numbers, numbers + torch.tensor([1e-5, 0, 0]))
    assert not close(numbers, numbers + torch.tensor([1e-3, 0, 0]))
    assert not close(numbers, -numbers)
    assert not close(numbers, torch.zeros(3))
    assert not close(torch.full((2,), float("nan")), torch.full((2,), float("nan")))
    assert not all_close([numbers], [])


@pytest.mark.parametrize("seed", range(20))
def test_where_only_a_combination_fails_no_more_is_lost_than_its_last_member(seed: int) -> None:
    """Random sets of groups that are wrong together; what is left is right, and could not be right with one more."""
    generator = random.Random(seed)
    count = 9
    wrong = [set(generator.sample(range(count), generator.choice((1, 2, 2, 3)))) for _ in range(3)]

    def exact(chosen: Any) -> bool:
        return not any(one <= set(chosen) for one in wrong)

    lost = probe.Probe._failing(Finder(), exact, count)
    left = [g for g in range(count) if g not in lost]
    assert exact(left)
    assert all(not exact([*left, g]) for g in lost)
    fewest = min(
        n for n in range(count + 1) if any(exact(set(range(count)) - {*c}) for c in combinations(range(count), n))
    )
    assert len(lost) <= 2 * fewest


class Finder(probe.Probe):
    """Asks a function instead of a network."""

    def __init__(self) -> None:
        self.inputs = torch.zeros(1)
