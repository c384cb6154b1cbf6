"""Augmentation, resizing and splitting as pure functions, against plain loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dnal.base.errors import UserError
from dnal.data.images.arrays import ArrayPart, mean_and_std
from dnal.data.images.augmentation import Augmentation, augment, shift_and_flip
from dnal.data.images.resize import match_channels, resize
from dnal.data.splits import stratified_sample, validation_split, without


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shift_and_flip_equals_a_loop(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (6, 3, 7, 5), generator=generator).to(dtype)
    down, right = torch.tensor([0, 1, 2, 3, 4, 2]), torch.tensor([4, 3, 2, 1, 0, 2])
    flip = torch.tensor([True, False, True, False, True, False])
    expected = []
    for image, d, r, f in zip(x, down.tolist(), right.tolist(), flip.tolist(), strict=True):
        crop = F.pad(image, (2, 2, 2, 2))[:, d : d + 7, r : r + 5]
        expected.append(crop.flip(-1) if f else crop)
    assert torch.equal(shift_and_flip(x, down, right, flip, 2), torch.stack(expected))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("augmentation", [None, Augmentation(3, True), Augmentation(0, True), Augmentation(2, False)])
def test_a_batch_is_the_plain_formula_bit_for_bit(dtype: torch.dtype, augmentation: Augmentation | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (40, 3, 9, 11), generator=generator).to(dtype)
    part, before = ArrayPart(x, torch.arange(40), *mean_and_std(x), augmentation), x.clone()
    indices = torch.randperm(40, generator=generator)[:17]
    got, y = part.batch(indices, seed=5)
    expected = []
    own = torch.Generator().manual_seed(5)
    pad = augmentation.pad if augmentation else 0
    downs, rights = (torch.randint(2 * pad + 1, (17,), generator=own).tolist() for _ in range(2))
    flips = (torch.rand(17, generator=own) < (0.5 if augmentation and augmentation.flip else 0)).tolist()
    for index, down, right, flip in zip(indices.tolist(), downs, rights, flips, strict=True):
        image = F.pad(x[index], (pad,) * 4)[:, down : down + 9, right : right + 11]
        image = image.flip(-1) if flip else image
        image = image.float() / 255 if dtype == torch.uint8 else image
        expected.append((image - part.mean[0]) / part.std[0])
    assert torch.equal(got, torch.stack(expected))
    assert torch.equal(y, indices)
    assert torch.equal(part.x, before)  # what is done in place is done to the batch


@pytest.mark.parametrize("channels", [1, 3])
def test_shifted_images_lie_in_memory_as_the_others(channels: int) -> None:
    x, zeros = torch.rand(4, channels, 6, 6), torch.zeros(4, dtype=torch.int64)
    assert shift_and_flip(x, zeros, zeros, zeros.bool(), 1).stride() == x.stride()


def test_augmentation_draws_all_shifts_and_flips_only_when_asked() -> None:
    x = torch.zeros(2000, 1, 5, 5)
    x[:, :, 2, 1] = 1
    generator = torch.Generator().manual_seed(0)
    places = augment(x, Augmentation(pad=1), generator).flatten(1).argmax(1).unique()
    assert places.tolist() == [5 * row + column for row in (1, 2, 3) for column in (0, 1, 2)]
    flipped = augment(x, Augmentation(pad=0, flip=True), generator)[:, 0, 2, 3].mean()
    assert 0.45 < flipped < 0.55


def test_scaled_augmentation() -> None:
    assert Augmentation(4, True).scaled(32, 16) == Augmentation(2, True)
    assert Augmentation(1).scaled(8, 4) == Augmentation(1)
    assert Augmentation(0).scaled(8, 4) == Augmentation(0)


def test_halving_is_averaging() -> None:
    x = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
    assert resize(x, (2, 2)).flatten().tolist() == [2, 4, 10, 12]  # 2.5, 4.5, 10.5, 12.5 to even
    assert torch.equal(resize(x.float(), (2, 2)).flatten(), torch.tensor([2.5, 4.5, 10.5, 12.5]))


def test_other_sizes_keep_type_and_level() -> None:
    x = torch.full((2, 3, 9, 9), 200, dtype=torch.uint8)
    small = resize(x, (7, 5))
    assert small.dtype == torch.uint8
    assert small.shape == (2, 3, 7, 5)
    assert small.unique().tolist() == [200]


def test_channels() -> None:
    grey = torch.randint(0, 256, (2, 1, 4, 4)).to(torch.uint8)
    assert torch.equal(match_channels(match_channels(grey, 3), 1), grey)
    with pytest.raises(UserError, match="3 channels and cannot become 2"):
        match_channels(torch.zeros(1, 3, 4, 4), 2)


def test_stratified_sample_keeps_proportions_and_count() -> None:
    y = torch.tensor([0] * 70 + [1] * 25 + [2] * 5)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    for count in (1, 7, 20, 99, 100):
        chosen = stratified_sample(y, count, seed=1)
        assert len(chosen.unique()) == count
        sizes = torch.bincount(y[chosen], minlength=3)
        assert (sizes - count * torch.tensor([0.7, 0.25, 0.05])).abs().max() < 1
    assert without(5, torch.tensor([1, 3])).tolist() == [0, 2, 4]


def test_validation_split_is_a_tenth() -> None:
    train, val = validation_split(torch.arange(10).repeat(30))
    assert (len(train), len(val)) == (270, 30)
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(300))


def test_mean_and_std() -> None:
    x = np.random.RandomState(0).randint(0, 256, (50, 3, 4, 4)).astype(np.uint8)
    mean, std = mean_and_std(torch.from_numpy(x))
    np.testing.assert_allclose(mean.flatten(), (x / 255).mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(std.flatten(), (x / 255).std((0, 2, 3)), rtol=1e-5)
    assert mean_and_std(torch.full((4, 1, 2, 2), 7.0))[1].item() == 1
