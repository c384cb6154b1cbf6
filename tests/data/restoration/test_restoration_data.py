"""Clean images as data: what spoils them, what is handed out, what measures them, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from dnal import data
from dnal.base.errors import UserError
from dnal.data.restoration.degradations import DEGRADATIONS, gaussian_noise, haze, streaks
from dnal.data.restoration.quality import quality_by_task
from dnal.train.outcomes import outcomes_of
from dnal.train.restored import psnr, psnr_of_each, ssim_of_each


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photographs(number: int, height: int = 40, width: int = 33, channels: int = 3, seed: int = 0) -> np.ndarray:
    draw = np.random.RandomState(seed)
    return draw.randint(0, 256, (number, height, width, channels), dtype=np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "photos.npz", clean_train=photographs(5), clean_test=photographs(2, seed=1))
    return tmp_path / "photos.npz"


def test_noise_has_its_deviation_and_is_cut() -> None:
    grey = torch.full((2, 3, 64, 64), 0.5)
    for sigma in (15, 25, 50):
        found = (gaussian_noise(grey, sigma, drawing()) - grey) * 255
        assert float(found.std()) == pytest.approx(sigma, rel=0.03)
        assert abs(float(found.mean())) < sigma / 40
    black = gaussian_noise(torch.zeros(1, 3, 64, 64), 50, drawing())
    assert float(black.min()) == 0
    assert 0.4 < float((black == 0).float().mean()) < 0.6


def test_streaks_brighten_along_lines_that_are_nearly_upright() -> None:
    dark = torch.zeros(8, 3, 64, 64)
    found = streaks(dark, drawing())
    assert torch.equal(found[:, 0], found[:, 1])
    assert float(found.min()) == 0
    assert 0.02 < float((found > 0.1).float().mean()) < 0.6
    down = float((found[..., 1:, :] - found[..., :-1, :]).abs().mean())
    across = float((found[..., 1:] - found[..., :-1]).abs().mean())
    assert down < 0.7 * across, "they are longer than they are wide"
    bright = torch.rand(2, 3, 32, 32)
    assert bool((streaks(bright, drawing()) >= bright).all())


def test_haze_is_one_line_of_the_image() -> None:
    clean = torch.rand(4, 3, 16, 16)
    found = haze(clean, drawing())
    for own, spoilt in zip(clean, found, strict=True):
        slope, at = np.polyfit(own.flatten().numpy(), spoilt.flatten().numpy(), 1)
        assert np.allclose(own.numpy() * slope + at, spoilt.numpy(), atol=1e-5)
        assert 0.4 <= slope <= 0.8
        assert 0.8 <= at / (1 - slope) <= 1


def test_outside_training_an_example_is_always_the_same_one(file: Path) -> None:
    dataset = data.load(str(file), input_shape=(3, 16, 16))
    assert dataset.kind == "restoration"
    places, tasks = 2 * 2 * 2, len(DEGRADATIONS)  # of a photograph of 40x33 there are 2x2 pieces of 16x16
    assert len(dataset.test) == places * tasks
    assert (len(dataset.train) + len(dataset.val)) == 5 * 4 * tasks
    everything, clean = dataset.test.batch(torch.arange(len(dataset.test)), 0)
    for index in (0, 7, 23):
        alone, own = dataset.test.batch(torch.tensor([index]), 99)
        assert torch.equal(alone[0], everything[index])
        assert torch.equal(own[0], clean[index])
    raw = np.load(file)["clean_test"]
    assert torch.equal(clean[tasks], torch.from_numpy(raw[0, :16, 16:32]).permute(2, 0, 1) / 255)
    assert torch.equal(clean[0], clean[tasks - 1])
    assert len({piece.numpy().tobytes() for piece in everything}) == len(everything)


def test_in_training_pieces_and_draws_are_others_every_time(file: Path) -> None:
    train = data.load(str(file), input_shape=(3, 16, 16)).train
    rows = torch.arange(20)
    one, again, other = (train.batch(rows, seed) for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    same = [torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True)]
    assert sum(same) < 5
    assert [int(task) for task in train.y[rows]] == [0, 1, 2, 3, 4] * 4
    noise = (one[0] - one[1])[train.y[rows] == 2]
    assert 0.1 < float(noise.std()) < 50 / 255
    raw = torch.from_numpy(np.load(file)["clean_train"]).permute(0, 3, 1, 2)
    whole = {piece.numpy().tobytes() for image in raw for piece in image.unfold(1, 16, 1).unfold(2, 16, 1).permute(
        1, 2, 0, 3, 4).reshape(-1, 3, 16, 16)}  # fmt: skip
    clean = (one[1] * 255).round().to(torch.uint8)
    assert all(p.numpy().tobytes() in whole or p.flip(-1).contiguous().numpy().tobytes() in whole for p in clean)


def test_parts_share_no_photograph_and_say_the_same_however_they_are_cut(file: Path) -> None:
    dataset = data.load(str(file), input_shape=(3, 16, 16))
    own = [{p.numpy().tobytes() for p in part.photographs} for part in (dataset.train, dataset.val, dataset.test)]
    assert [len(each) for each in own] == [4, 1, 2]
    assert not own[0] & own[1]
    assert not (own[0] | own[1]) & own[2]
    few = data.load(str(file), input_shape=(3, 16, 16), limit_train=10)
    assert torch.bincount(few.train.y).tolist() == [2] * 5
    assert (
        data.fingerprint(few)
        != data.fingerprint(dataset)
        == data.fingerprint(data.load(str(file), input_shape=(3, 16, 16)))
    )
    noise = data.load(f"{file}:tasks=noise15/noise50", input_shape=(1, 32, 32))
    assert (noise.train.tasks, noise.classes, noise.class_names) == (("noise15", "noise50"), 1, ("grey",))
    assert noise.test.batch(torch.tensor([0]), 0)[0].shape == (1, 1, 32, 32)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for part, seed in (("train", 0), ("test", 1), ("val", 2)):
        (tmp_path / part).mkdir()
        for number, image in enumerate(photographs(2, 24, 32 + seed, seed=seed)):
            Image.fromarray(image).save(tmp_path / part / f"{number}.png")
    dataset = data.load(str(tmp_path))
    assert (dataset.kind, dataset.input_shape) == ("restoration", (3, 24, 24))
    assert [len(part.photographs) for part in (dataset.train, dataset.val, dataset.test)] == [2, 2, 2]
    assert np.array_equal(dataset.val.photographs[0].permute(1, 2, 0).numpy(), photographs(2, 24, 34, seed=2)[0])
    with pytest.raises(UserError, match="smaller than a piece of 32x32"):
        data.load(str(tmp_path), input_shape=(3, 32, 32))


WRONG = {
    "floats": ({"clean_train": np.zeros((3, 20, 20, 3)), "clean_test": photographs(1)}, "", "of uint8"),
    "no test part": ({"clean_train": photographs(3)}, "", "clean_test"),
    "one photograph": ({"clean_train": photographs(1), "clean_test": photographs(1)}, "", "single training image"),
    "unknown task": ({"clean_train": photographs(3), "clean_test": photographs(1)}, ":tasks=snow", "snow"),
    "a task twice": ({"clean_train": photographs(3), "clean_test": photographs(1)}, ":tasks=haze/haze", "at most once"),
    "a number": ({"clean_train": np.uint8(3), "clean_test": photographs(1)}, "", "single number"),
    "two channels": ({"clean_train": photographs(3, channels=2), "clean_test": photographs(1)}, "", "(H, W, 3)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_restored_is_refused(case: str, tmp_path: Path) -> None:
    arrays, options, expected = WRONG[case]
    np.savez(tmp_path / "photos.npz", **arrays)
    with pytest.raises(UserError) as refused:
        data.load(f"{tmp_path / 'photos.npz'}{options}", input_shape=(3, 16, 16))
    assert expected in str(refused.value)


def ssim_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """The mean of the map, in which a Gaussian of 1.5 pixels weighs 11 x 11 pixels, mirrored at the borders; of grey
    images."""

    def smooth(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, radius=5, mode="mirror")

    ma, mb = smooth(a), smooth(b)
    va, vb, both = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def test_psnr_and_ssim_are_those_of_the_formulas() -> None:
    clean = torch.rand(3, 1, 24, 24, generator=drawing())
    restored = clean + 0.2 * torch.randn(clean.shape, generator=drawing(1))
    shown = restored.clamp(0, 1)
    expected = [-10 * math.log10(float(((a - b) ** 2).mean())) for a, b in zip(shown, clean, strict=True)]
    assert psnr_of_each(restored, clean).tolist() == pytest.approx(expected, abs=1e-4)
    similar = [ssim_by_hand(a[0].double().numpy(), b[0].double().numpy()) for a, b in zip(shown, clean, strict=True)]
    assert ssim_of_each(restored, clean).tolist() == pytest.approx(similar, abs=1e-3)
    assert psnr_of_each(clean, clean).tolist() == [100.0] * 3
    assert ssim_of_each(clean[:1], clean[:1]).tolist() == pytest.approx([1.0])


class Brighter(nn.Module):
    """Adds a tenth."""

    def __init__(self) -> None:
        super().__init__()
        self.much = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.much


def test_quality_is_told_of_each_task_and_its_mean_is_the_metric(file: Path) -> None:
    dataset = data.load(str(file), input_shape=(3, 16, 16))
    found = quality_by_task(Brighter(), dataset.test, batch=7)
    assert list(found) == list(DEGRADATIONS)
    loader = data.loaders(dataset, 8).test
    assert psnr(Brighter(), loader) == pytest.approx(sum(q.psnr for q in found.values()) / 5, abs=1e-4)
    each = outcomes_of(psnr, Brighter(), loader)
    assert each is not None
    assert sum(each.values) / len(each.values) == pytest.approx(psnr(Brighter(), loader), abs=1e-6)
    assert found["noise15"].degraded_psnr > found["noise25"].degraded_psnr > found["noise50"].degraded_psnr
    nothing = quality_by_task(nn.Sequential(nn.Identity(), nn.Conv2d(3, 3, 1)), dataset.test)
    assert nothing["haze"].degraded_psnr == found["haze"].degraded_psnr
    few = data.loaders(dataset, 8).test.only(torch.tensor([0, 5])).part
    assert list(quality_by_task(Brighter(), few)) == ["noise15"]
