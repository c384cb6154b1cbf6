"""The compact network at other batches and input sizes than those of the example: what the masked one computes."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.space.surgery.sizes import Argument
from independent import coin_flips, difference, randomise, run, zero_twin
from networks import Net, conv


class Fairseq(nn.Module):
    """Attention over positions first, its heads in one dimension with the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 4, 32
        self.stem = nn.Conv2d(3, 32, 4, 4)
        self.q, self.k, self.v, self.out = (nn.Linear(32, n) for n in (32, 32, 32, 4))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).permute(2, 0, 1)
        length, batch, _ = tokens.shape

        def apart(y: Tensor) -> Tensor:
            return y.contiguous().view(length, batch * self.heads, self.width // self.heads).transpose(0, 1)

        q, k, v = apart(self.q(tokens)), apart(self.k(tokens)), apart(self.v(tokens))
        y = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(-1), v).transpose(0, 1).contiguous()
        return self.out(y.view(length, batch, self.width).mean(0))


def heads_of_the_batch(n: Net, x: Tensor) -> Tensor:
    y = n.first(x).relu()
    batch, _, height, width = y.shape
    q = y.reshape(batch * 4, 8, height * width)
    y = (q.mT @ q).softmax(-1) @ q.mT
    return n.last(y.mT.reshape(batch, 32, -1).mean(-1))


def channels_and_positions_by_slices(n: Net, x: Tensor) -> Tensor:
    y = n.first(x).relu()
    y = n.left(y[:, :16]) + n.right(y[:, 16:])
    half = y.size(-1) // 2
    return n.last(y.flatten(2).transpose(1, 2)[:, :half].mean(1))


def channels_and_positions_by_reshapes(n: Net, x: Tensor) -> Tensor:
    y = n.first(x).relu()
    batch, _, height, width = y.shape
    y = n.middle(y.permute(0, 2, 3, 1).reshape(batch, -1, 64)).relu()
    return n.last(y.transpose(1, 2).reshape(batch, -1, height * width).mean(2))


def channels_and_rows_by_splits(n: Net, x: Tensor) -> Tensor:
    one, two = torch.split(n.first(x).relu(), [16, 8], 1)
    y = n.left(one) + n.right(two)
    half = y.size(2) // 2
    top, bottom = torch.split(y, [half, y.size(2) - half], 2)
    return n.last(top.mean((2, 3)) - bottom.mean((2, 3)))


def two_tables(n: Net, x: Tensor) -> Tensor:
    tokens = n.first(x).flatten(2)
    batch, _, length = tokens.shape
    y = n.middle(tokens.reshape(batch, 64, length).transpose(1, 2)).relu()
    return n.last(((y @ y.mT).softmax(-1).reshape(batch, length, length) @ y).mean(1))


def rows_before_channels(n: Net, x: Tensor) -> Tensor:
    """As many calls as the image has rows, and then one of the same kind that counts channels."""
    y = n.first(x).relu()
    rows = sum(y[:, :, i] for i in range(y.size(2)))
    return n.last(rows[:, :12].mean(2))


def windows(n: Net, x: Tensor) -> Tensor:
    """A loop over the rows, so that larger images have more calls."""
    y = n.first(x).relu()
    rows = range(0, y.size(2), 4)
    return n.last(sum(y[:, :, i : i + 4].reshape(y.size(0), 16, -1).mean(2) for i in rows) / len(rows))


HALVES = {"left": lambda: nn.Conv2d(16, 12, 1), "right": lambda: nn.Conv2d(8, 12, 1)}
BUILDS: dict[str, Callable[[], nn.Module]] = {
    "heads of the batch, literal": lambda: Net(heads_of_the_batch, first=conv(3, 32), last=nn.Linear(32, 4)),
    "heads of the batch, fairseq": Fairseq,
    "slices": lambda: Net(
        channels_and_positions_by_slices,
        first=conv(3, 24),
        last=nn.Linear(12, 4),
        **{name: build() for name, build in HALVES.items()},
    ),
    "reshapes": lambda: Net(
        channels_and_positions_by_reshapes, first=conv(3, 64), middle=nn.Linear(64, 32), last=nn.Linear(32, 4)
    ),
    "splits": lambda: Net(
        channels_and_rows_by_splits,
        first=conv(3, 24),
        last=nn.Linear(12, 4),
        **{name: build() for name, build in HALVES.items()},
    ),
    "two tables": lambda: Net(
        two_tables, first=nn.Conv2d(3, 64, 2, 2), middle=nn.Linear(64, 64), last=nn.Linear(64, 4)
    ),
    "windows": lambda: Net(windows, first=conv(3, 16), last=nn.Linear(16, 4)),
    "rows before channels": lambda: Net(rows_before_channels, first=conv(3, 16), last=nn.Linear(12, 4)),
}
MAY_STAY = {"rows before channels"}


@pytest.mark.parametrize(
    ("name", "batch", "pixels"),
    [
        # every size of "literal" takes long, since many corrections of its numbers are tried
        pytest.param(name, *size, marks=pytest.mark.slow if "literal" in name and size != (1, 16) else ())
        for name in BUILDS
        for size in ((2, 16), (1, 16), (4, 24))
    ],
)
def test_the_compact_network_is_exact_wherever_the_original_runs(name: str, batch: int, pixels: int) -> None:
    torch.manual_seed(0)
    network = randomise(BUILDS[name]()).eval()
    space = dnal.Space.of(network, torch.randn(batch, 3, pixels, pixels))
    assert space.num_variables or name in MAY_STAY
    for seed in range(2):
        architecture = coin_flips(space, seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "compact removed nothing")
            small = dnal.compact(network, architecture)
        masked = zero_twin(network, space, architecture.open)
        for other_batch, other_pixels in [
            (1, 16),
            (2, 16),
            (3, 16),
            (8, 16),
            (2, 8),
            (3, 12),
            (2, 24),
            (2, 32),
            (1, 48),
            (1, 96),
        ]:
            images = torch.randn(other_batch, 3, other_pixels, other_pixels)
            assert difference(run(masked, images), run(small, images)) <= 1e-4, (other_batch, other_pixels)


def test_a_number_of_any_size_is_known_by_its_call() -> None:
    network = BUILDS["slices"]().eval()
    space = dnal.Space.of(network, torch.randn(2, 3, 16, 16))
    calls = {rule.target for rule in space.sizes}
    assert calls == {Argument("__getitem__", 1, 0, 0), Argument("__getitem__", 1, 0, 1)}


class Turns(nn.Module):
    """Larger images take a turn before the number of channels, in a call of the same kind."""

    def __init__(self, number: Callable[[Tensor], int]) -> None:
        super().__init__()
        self.first, self.last = conv(3, 12), nn.Linear(12, 4)
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        if y.size(2) > 16:
            y = y.reshape(y.size(0), self.number(y), -1)
        return self.last(y.reshape(y.size(0), 12, -1).mean(2))


@pytest.mark.filterwarnings("ignore:compact removed nothing")
@pytest.mark.parametrize("kind", ["channels", "other"])
def test_other_turns_at_another_size_are_exact_or_stay(kind: str) -> None:
    """Where all calls of the kind count the same channels they all are corrected; else the channels stay."""
    turns: dict[str, Any] = {"channels": lambda y: 12, "other": lambda y: 6}
    torch.manual_seed(0)
    network = randomise(Turns(turns[kind])).eval()
    space = dnal.Space.of(network, torch.randn(2, 3, 16, 16))
    assert space.num_variables == (12 if kind == "channels" else 0)
    if not space.num_variables:
        assert "no correction of the numbers in the code fits its removal" in str(space.fixed)
    architecture = dnal.Architecture.random(space, 0.5)
    small = dnal.compact(network, architecture)
    masked = zero_twin(network, space, architecture.open)
    for pixels in (8, 16, 24, 48):
        images = torch.randn(3, 3, pixels, pixels)
        assert difference(run(masked, images), run(small, images)) <= 1e-4


class Chunks(nn.Module):
    """Long inputs are cut into as many positions as there are channels, in calls like those that count channels."""

    def __init__(self, first: nn.Module, *, tokens: bool = False) -> None:
        super().__init__()
        self.first, self.last, self.tokens = first, nn.Linear(16, 4), tokens

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        y = y.transpose(1, 2) if self.tokens else y.flatten(2)
        if y.size(2) > 16:
            y = y.reshape(y.size(0), -1, 16).mean(1, keepdim=True) + y[:, :, :16]
        else:
            y = y.reshape(y.size(0), 16, -1)
        return self.last(y.mean(2))


@pytest.mark.filterwarnings("ignore:compact removed nothing")
@pytest.mark.parametrize(
    ("first", "shape", "longer"),
    [
        (nn.Conv1d(4, 16, 3, padding=1), (2, 4, 16), [(2, 4, 32), (3, 4, 64)]),
        (nn.Linear(4, 16), (2, 16, 4), [(2, 32, 4), (3, 64, 4)]),
        (nn.Conv3d(3, 16, 1), (2, 3, 4, 2, 2), [(2, 3, 4, 4, 4), (3, 3, 8, 4, 2)]),
    ],
    ids=["sound", "tokens", "video"],
)
def test_sound_tokens_and_video_are_held_against_longer_ones_too(
    first: nn.Module, shape: tuple[int, ...], longer: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    network = randomise(Chunks(first, tokens=isinstance(first, nn.Linear))).eval()
    space = dnal.Space.of(network, torch.randn(shape))
    architecture = dnal.Architecture.random(space, 0.5)
    small = dnal.compact(network, architecture)
    masked = zero_twin(network, space, architecture.open)
    for other in (shape, *longer):
        x = torch.randn(other)
        assert difference(run(masked, x), run(small, x)) <= 1e-4, other


def test_learning_runs_at_its_own_batch() -> None:
    images, classes = torch.randn(24, 3, 16, 16), torch.randint(0, 4, (24,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, classes), 6)
    learned = dnal.learn(Fairseq(), loader, loader, budget="macs<=50%", epochs=(1, 1, 1))
    assert all(row["holds"] for row in learned.constraints)


def test_a_view_that_takes_larger_images_for_more_examples_proves_nothing() -> None:
    network = Net(lambda n, x: n.last(n.first(x).view(-1, 8 * 64)), first=conv(3, 8), last=nn.Linear(8 * 64, 4)).eval()
    assert dnal.Space.of(network, torch.randn(2, 3, 8, 8)).num_variables == 8
