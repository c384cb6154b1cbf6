"""Whether data that changed are noticed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnal import data
from dnal.base.errors import UserError
from dnal.data.fingerprint import BLOCK, WHOLE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.RandomState(0)
    for part in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for number in range(3):
                pixels = draw.randint(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / part / name / f"{number}.bmp")
            large = draw.randint(0, 256, (160, 160, 3), dtype=np.uint8)
            Image.fromarray(large).save(tmp_path / "set" / part / name / "large.png")
    assert (tmp_path / "set/train/a/large.png").stat().st_size > WHOLE
    return tmp_path / "set"


def found(folder: Path) -> str:
    return data.fingerprint(data.load(str(folder), input_shape=(3, 8, 8)))


def black(path: Path) -> None:
    """The same size and times, other pixels."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    size = path.stat().st_size
    with Image.open(path) as image:
        dark, form = Image.new(image.mode, image.size), image.format
    dark.save(path, form)
    with path.open("ab") as file:
        file.write(bytes(size - path.stat().st_size))
    os.utime(path, ns=times)
    assert path.stat().st_size == size


CHANGES: dict[str, Callable[[Path], object]] = {
    "a small picture is black": lambda folder: black(folder / "train/a/1.bmp"),
    "a large picture is black": lambda folder: black(folder / "train/a/large.png"),
    "a test picture is black": lambda folder: black(folder / "val/b/2.bmp"),
    "two pictures change places": lambda folder: [
        (folder / "train/a/0.bmp").rename(folder / "x"),
        (folder / "train/b/0.bmp").rename(folder / "train/a/0.bmp"),
        (folder / "x").rename(folder / "train/b/0.bmp"),
    ],
    "a picture is gone": lambda folder: (folder / "val/a/0.bmp").unlink(),
    "a picture is new": lambda folder: shutil.copy(folder / "val/a/0.bmp", folder / "val/a/9.bmp"),
    "a picture has another name": lambda folder: (folder / "val/a/0.bmp").rename(folder / "val/a/00.bmp"),
    "a class has another name": lambda folder: [(folder / p / "a").rename(folder / p / "aa") for p in ("train", "val")],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_noticed(folder: Path, change: Callable[[Path], object]) -> None:
    before = found(folder)
    change(folder)
    assert found(folder) != before


def test_where_and_when_do_not_count(folder: Path, tmp_path: Path) -> None:
    before = found(folder)
    shutil.copytree(folder, tmp_path / "copy")
    os.utime(folder / "train/a/0.bmp", (1, 1))
    assert found(folder) == found(tmp_path / "copy") == before


def test_every_byte_of_a_small_file_and_the_sampled_ones_of_a_large_one_count(folder: Path) -> None:
    """As the docstring promises; where the blocks between the ends lie is told by what a change of them does."""
    loaded = data.load(str(folder), input_shape=(3, 8, 8))
    before = data.fingerprint(loaded)

    def noticed(path: Path, place: int) -> bool:
        with path.open("r+b") as file:
            file.seek(place)
            own = file.read(1)
            file.seek(place)
            file.write(bytes([own[0] ^ 1]))
            file.flush()
            changed = data.fingerprint(loaded) != before
            file.seek(place)
            file.write(own)
        return changed

    small, large = folder / "train/a/0.bmp", folder / "train/a/large.png"
    # Of three training pictures in a class, one may be held out; it counts all the same, as part of the validation.
    draw = random.Random(0)
    assert all(noticed(small, draw.randrange(small.stat().st_size)) for _ in range(20))
    size = large.stat().st_size
    assert all(noticed(large, place) for place in (0, 1, BLOCK - 1, size - BLOCK, size - 1))
    inside = [noticed(large, place) for place in range(BLOCK, size - BLOCK, BLOCK // 2)]
    assert any(inside)
    assert not all(inside)
    assert data.fingerprint(loaded) == before


def test_files_that_cannot_be_read_are_told(folder: Path) -> None:
    loaded = data.load(str(folder), input_shape=(3, 8, 8))
    (folder / "train/a/0.bmp").unlink()
    with pytest.raises(UserError, match=r"0\.bmp' cannot be read"):
        data.fingerprint(loaded)
