"""MACs of one example: by hand and by torch's counter on one, whatever the batch that they are counted on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import dnal
from dnal.space.surgery.inputs import at_batch, batch_size
from independent import coin_flips, counted_macs

BATCHES = (1, 2, 3, 5)


class Table(nn.Module):
    """A table of positions through a layer, once for all examples, and learnt queries, repeated for each."""

    def __init__(self) -> None:
        super().__init__()
        self.positions, self.layer, self.queries = nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("table", torch.randn(10, 2))
        self.learnt = nn.Parameter(torch.randn(1, 4, 8))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries(self.learnt.repeat(len(x), 1, 1))
        values = self.layer(x + self.positions(self.table))
        return self.queries(queries.softmax(1) @ values.transpose(1, 2) @ values)


class OnePath(nn.Module):
    """One layer that reads both a table, once, and the input: DeBERTa's keys."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.keys, self.last = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.table = nn.Parameter(torch.randn(7, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.keys(self.first(x)) + self.keys(self.table).sum(0))


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor], int]] = {
    "a table and queries": (
        Table,
        lambda n: torch.randn(n, 10, 8),
        10 * 2 * 8 + 10 * 8 * 8 + 2 * 4 * 8 * 8 + 2 * 4 * 10 * 8,
    ),
    "one layer": (OnePath, lambda n: torch.randn(n, 5, 8), 5 * 8 * 6 + 5 * 6 * 6 + 7 * 6 * 6 + 5 * 6 * 2),
    "Swin V2": (
        lambda: torchvision.models.SwinTransformer([4, 4], 12, [1, 1], [2, 2], [4, 4], block=_block(), num_classes=3),
        lambda n: torch.randn(n, 3, 32, 32),
        0,
    ),
}


def _block() -> Any:
    from torchvision.models.swin_transformer import SwinTransformerBlockV2

    return SwinTransformerBlockV2


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_grow_with_the_batch_counts_in_full(name: str) -> None:
    build, inputs, by_hand = CASES[name]
    network = build().eval()
    expected = counted_macs(network, inputs(1), 1)
    assert expected == (by_hand or expected)
    assert [dnal.macs(network, inputs(n)) for n in BATCHES] == [expected] * len(BATCHES)
    for batch in (1, 2):
        space = dnal.Space.of(network, inputs(batch))
        assert space.full_cost["macs"] == expected
        if space.num_variables:
            architecture = coin_flips(space, 1)
            small = dnal.compact(network, architecture)
            assert space.cost_of(architecture.open)["macs"] == counted_macs(small, inputs(1), 1)


class Detector(nn.Module):
    """Takes a list of images, as detectors do, and in training mode their targets."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> list[Tensor]:
        assert targets is None or len(targets) == len(images)
        return list(self.last(self.first(torch.stack(images)).relu()))


@pytest.mark.parametrize("targets", [False, True])
def test_a_list_of_images_is_a_batch_of_them(targets: bool) -> None:
    def listed(n: int) -> tuple[Any, ...]:
        images = [torch.randn(3, 10, 10) for _ in range(n)]
        return (images, [{"boxes": torch.rand(n, 4)} for _ in range(n)]) if targets else (images,)

    network, expected = Detector().eval(), 100 * 27 * 8 + 100 * 72 * 2
    assert [dnal.macs(network, listed(n)) for n in BATCHES] == [expected] * len(BATCHES)
    assert dnal.Space.of(network, listed(2)).num_variables == 8
    for n in BATCHES:
        given = listed(n)
        assert batch_size(given) == n
        for other in (1, 2, 7):
            found = at_batch(given, other)
            assert batch_size(found) == other
            assert all(len(one) == other for one in found)
            assert all(image is given[0][i % n] for i, image in enumerate(found[0]))


def test_tensors_of_positional_arguments_are_no_list_of_images() -> None:
    left, right = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    assert batch_size([left, right]) == batch_size((left, [right])) == 3
    assert [t.size(0) for t in at_batch([left, right], 2)] == [2, 2]
    found = at_batch((left, [right, right]), 2)
    assert [t.size(0) for t in (found[0], *found[1])] == [2, 2, 2]


class Halves(nn.Module):
    """Rotary positions where all channels turn: what stays as it is, is empty (Phi-3)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.a, self.b, self.heads = nn.Linear(4, 8), nn.Linear(8, 3), heads

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).view(len(x), self.heads, 8 // self.heads)
        turned, rest = y[..., : 8 // self.heads], y[..., 8 // self.heads :]
        return self.b(torch.cat((turned * 2, rest), -1).flatten(1))


@pytest.mark.parametrize(("heads", "variables"), [(1, 8), (2, 4)])
def test_an_empty_slice_has_no_channels(heads: int, variables: int) -> None:
    network, x = Halves(heads).eval(), torch.randn(2, 4)
    space = dnal.Space.of(network, x)
    assert space.num_variables == variables
    small = dnal.compact(network, coin_flips(space, 1))
    assert counted_macs(small, x, 2) == space.cost_of(coin_flips(space, 1).open)["macs"]
