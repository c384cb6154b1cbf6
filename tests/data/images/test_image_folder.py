"""Image folders made with Pillow: parts, classes, reading, and mistakes."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dnal import data
from dnal.base.errors import UserError
from dnal.data.images.folder import FolderPart, _files
from dnal.data.images.image_file import ENDINGS

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def make(folder: Path, count: int, names: tuple[str, ...] = tuple(COLOURS)) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((20 + number, 24, 3), COLOURS.get(name, (9, 9, 9)), np.uint8)
            pixels[: number + 1] = 128
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "train", 10)
    make(tmp_path / "val", 2)
    return tmp_path


def files(part: object) -> set[Path]:
    assert isinstance(part, FolderPart)
    return {part.root / file for file in part.files}


def test_without_a_test_folder_val_is_the_test_set(folder: Path) -> None:
    loaded = data.load(str(folder), input_shape=(3, 16, 16))
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (27, 3, 6)
    assert loaded.class_names == ("blue", "green", "red")
    assert sorted(loaded.val.y.tolist()) == [0, 1, 2]
    assert not files(loaded.train) & files(loaded.val)
    assert all(file.parts[-3] == "val" for file in files(loaded.test))
    assert files(data.load(str(folder), seed=9).val) == files(loaded.val)


def test_with_a_test_folder(folder: Path) -> None:
    make(folder / "test", 3, ("blue", "red"))
    loaded = data.load(str(folder), input_shape=(3, 16, 16))
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (30, 6, 6)
    # A class without test images does not shift the labels of the others.
    assert sorted(loaded.test.y.tolist()) == [0, 0, 0, 2, 2, 2]


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 24), (3, 32, 32)])
def test_batches(folder: Path, shape: tuple[int, int, int]) -> None:
    loaded = data.load(str(folder), input_shape=shape)
    for loader in data.loaders(loaded, 4):
        for x, y in loader:
            assert x.shape == (len(y), *shape)
            assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


def test_images_and_labels_belong_together(folder: Path) -> None:
    loaded = data.load(str(folder), input_shape=(3, 16, 16))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (loaded.mean, loaded.std))
    x, y = next(iter(data.loaders(loaded, 6).test))
    colours = (x * std + mean)[:, :, -1, -1].mul(255).round().int()
    assert [tuple(colour) for colour in colours.tolist()] == [list(COLOURS.values())[label] for label in y.tolist()]


def test_workers_change_nothing(folder: Path) -> None:
    loaded = data.load(str(folder), input_shape=(3, 16, 16))
    alone, helped = (data.loaders(loaded, 5, seed=2, workers=workers).train for workers in (0, 2))
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    for _ in range(2):
        for (x, y), (u, v) in zip(alone, helped, strict=True):
            assert torch.equal(x, u)
            assert torch.equal(y, v)
    assert torch.equal(torch.rand(2), expected)


def test_training_images_are_augmented_and_others_are_not(folder: Path) -> None:
    loaded = data.load(str(folder), input_shape=(3, 16, 16))
    first = torch.arange(3)
    assert not torch.equal(loaded.train.batch(first, 1)[0], loaded.train.batch(first, 2)[0])
    for part in (loaded.val, loaded.test, data.load(str(folder), augment=False).train):
        assert torch.equal(part.batch(first, 1)[0], part.batch(first, 2)[0])


def test_limit(folder: Path) -> None:
    assert data.load(str(folder), limit_train=6).train.y.bincount().tolist() == [2, 2, 2]
    with pytest.raises(UserError, match="from 1 to the 27 training images, not 28"):
        data.load(str(folder), limit_train=28)


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is none of: your own images: train/CLASS/"):
        data.load(str(tmp_path))
    make(tmp_path / "val", 2)
    with pytest.raises(UserError, match="has no train/"):
        data.load(str(tmp_path))
    (tmp_path / "val").rename(tmp_path / "train")
    with pytest.raises(UserError, match="has no val/"):
        data.load(str(tmp_path))


def test_no_class_folders(folder: Path) -> None:
    other = folder / "other"
    (other / "train").mkdir(parents=True)
    (other / "val").mkdir()
    with pytest.raises(UserError, match="train' has no class folders"):
        data.load(str(other))
    (other / "train" / "red").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        data.load(str(other))


def test_classes_that_do_not_agree(folder: Path) -> None:
    with pytest.raises(UserError, match="has 3 class folders, more than 2 classes"):
        data.load(str(folder), classes=2)
    make(folder / "val", 1, ("violet",))
    with pytest.raises(UserError, match="has a class 'violet' that train/ has not"):
        data.load(str(folder))


def test_an_image_that_is_none(folder: Path) -> None:
    loaded = data.load(str(folder), input_shape=(3, 16, 16))
    (folder / "val" / "red" / "0.png").write_text("no image")
    with pytest.raises(UserError, match=r"0\.png' cannot be read as an image"):
        list(data.loaders(loaded, 2).test)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_wrong_with_an_image_is_the_same_sentence_from_a_worker(folder: Path, workers: int) -> None:
    loaded = data.load(str(folder), input_shape=(3, 16, 16))
    (folder / "val" / "red" / "0.png").write_text("no image")
    with pytest.raises(UserError) as caught:
        list(data.loaders(loaded, 2, workers=workers).test)
    assert str(caught.value).startswith(f"{str(folder / 'val' / 'red' / '0.png')!r} cannot be read as an image")
    assert "\n" not in str(caught.value)


def test_grey_images_of_16_bits_are_as_those_of_8(tmp_path: Path) -> None:
    """The same pictures in both: they are the same data but for what 8 bits cannot hold."""
    draw = np.random.RandomState(0)
    for part, count in (("train", 6), ("val", 3)):
        for name in "ab":
            for bits in ("8", "16"):
                (tmp_path / bits / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.randint(0, 256, (20, 24), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "8" / part / name / f"{number}.png")
                Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "16" / part / name / f"{number}.png")
    for shape in ((1, 16, 16), (3, 16, 16)):
        few, many = (data.load(str(tmp_path / bits), input_shape=shape) for bits in ("8", "16"))
        for one, other in zip(data.loaders(few, 4, seed=1), data.loaders(many, 4, seed=1), strict=True):
            for (x, y), (u, v) in zip(one, other, strict=True):
                assert x.shape == (len(y), *shape)
                assert torch.equal(y, v)
                torch.testing.assert_close(x, u, rtol=0, atol=0.05)  # what resizing rounds


def test_the_files_are_those_that_a_walk_finds_in_the_order_of_their_paths(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", 2, ("far",))
    root = tmp_path / "root"
    make(root / "val", 1, ("red",))
    red = root / "train" / "red"
    for place in ("", "a", "a-b", "a.png", "a/deep/er", ".hidden"):
        (red / place).mkdir(parents=True, exist_ok=True)
        for name in ("b.PNG", "a.png.jpeg", "..png", ".png", "png", "c.txt", "é.webp"):
            if not (red / place / name).exists():
                (red / place / name).write_bytes(b"x")
    (red / "linked.png").symlink_to(tmp_path / "elsewhere" / "far" / "0.png")
    (red / "folder.png").symlink_to(tmp_path / "elsewhere" / "far")
    (red / "loop.png").symlink_to("loop.png")
    (red / "gone.png").symlink_to("nowhere.png")
    (root / "train" / "blue").symlink_to(tmp_path / "elsewhere" / "far")
    found, labels = _files(root, "train", ("blue", "red"))
    expected = [
        sorted(file for file in (root / "train" / name).rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
        for name in ("blue", "red")
    ]
    assert [root / file for file in found] == expected[0] + expected[1]
    assert labels.tolist() == [0] * 2 + [1] * len(expected[1])
    assert len(expected[1]) > 20


def test_an_empty_class_folder_is_asked_about(folder: Path) -> None:
    (folder / "train" / "cyan").mkdir()
    (folder / "train" / "cyan" / "notes.txt").write_text("none yet")
    with pytest.raises(UserError, match=r"class folder .*train/cyan' holds no images .*there are 4 classes"):
        data.load(str(folder))
    kept = data.load(str(folder), classes=4)
    assert kept.class_names == ("blue", "cyan", "green", "red")
    assert sorted(set(kept.train.y.tolist())) == [0, 2, 3]
    (folder / "train" / "cyan" / "notes.txt").unlink()
    (folder / "train" / "cyan").rmdir()
    assert data.load(str(folder)).classes == 3


def test_names_that_are_no_text(folder: Path) -> None:
    loaded = data.load(str(folder))
    before = data.fingerprint(loaded)
    odd = os.fsencode(folder / "train" / "red") + b"/\xff.png"
    (folder / "train" / "red" / "0.png").rename(os.fsdecode(odd))
    again = data.load(str(folder), input_shape=(3, 8, 8))
    assert len(again.train) == len(loaded.train)
    assert data.fingerprint(again) != before
    assert all(len(x) for x, _ in data.loaders(again, 4).train)
    (folder / "train" / "red").rename(os.fsdecode(os.fsencode(folder / "train") + b"/\xff\xfe"))
    with pytest.raises(UserError, match=r"class folder '\\xff\\xfe' in .*train' has a name that is no UTF-8"):
        data.load(str(folder))


def test_an_image_that_is_too_long_for_the_input(folder: Path) -> None:
    Image.fromarray(np.zeros((1, 60_000, 3), np.uint8)).save(folder / "val" / "red" / "long.png")
    loaded = data.load(str(folder))
    with pytest.raises(UserError, match=r"long\.png' cannot be read .*60000x1 pixels it is too long"):
        list(data.loaders(loaded, 3).test)


def test_channels_that_images_do_not_have(folder: Path) -> None:
    with pytest.raises(UserError, match="3 channels, or 1 as grey ones, not 2"):
        data.load(str(folder), input_shape=(2, 8, 8))
