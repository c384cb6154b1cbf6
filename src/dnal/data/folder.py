"""Image folders: train/CLASS/*, val/CLASS/* and perhaps test/CLASS/*, read when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dnal.base.errors import UserError
from dnal.data.arrays import limited, mean_and_std
from dnal.data.dataset import Batch, Dataset, Shape
from dnal.data.labels import check_labels
from dnal.data.splits import stratified_sample, validation_split

ENDINGS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
DEFAULT_INPUT: Shape = (3, 224, 224)
STATISTICS_IMAGES = 256
# Resize before the centre crop by the field's ratio, 256 / 224.
RESIZE_RATIO = 256 / 224


@dataclass(frozen=True, eq=False)
class FolderPart:
    """Image files and their labels; every image is read, transformed to (C, H, W) in 0 to 1, and normalised."""

    files: tuple[Path, ...]
    y: Tensor
    transform: Callable[[Image.Image], Tensor]
    mode: str
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, indices: Tensor, seed: int) -> Batch:
        # torchvision's transforms draw from torch's global generator: it is seeded for this batch and put back.
        # Only the CPU's: torch.manual_seed would reset the accelerators' too, and fork_rng would not restore those.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            images = [self.transform(read_image(self.files[index], self.mode)) for index in indices.tolist()]
        return ((torch.stack(images) - self.mean) / self.std), self.y[indices]


def load_folder(
    path: Path,
    *,
    input_shape: Shape | None = None,
    classes: int | None = None,
    limit_train: int | None = None,
    seed: int = 0,
    augment: bool = True,
) -> Dataset:
    """A data set from a folder of images.

    The class folders of train/ are the classes, in alphabetical order. With test/, val/ is the validation part;
    without, val/ is the test set and 10 % of train/, stratified and the same in every run, are the validation part.
    Training images get RandomResizedCrop and flips, the others Resize and CenterCrop. The mean and standard deviation
    are those of at most 256 training images.

    Raises:
        UserError: folders or images that are missing or cannot be read, with what should be there.
    """
    for needed in ("train", "val"):
        if not (path / needed).is_dir():
            raise UserError(
                f"image folder {str(path)!r} has no {needed}/; it must hold train/CLASS/ and val/CLASS/ folders"
            )
    shape = input_shape or DEFAULT_INPUT
    if shape[0] not in (1, 3):
        raise UserError(f"images of a folder have 3 channels, or 1 as grey ones, not {shape[0]}")
    names = _class_names(path / "train")
    if classes is not None and classes < len(names):
        raise UserError(
            f"{str(path / 'train')!r} has {len(names)} class folders, more than {classes} classes; "
            f"say at least {len(names)}"
        )
    classes = classes or len(names)

    files, y = _files(path / "train", names)
    others = _files(path / "val", names)
    if (path / "test").is_dir():
        train, val, test = torch.arange(len(files)), others, _files(path / "test", names)
    else:
        if len(files) < 2:
            raise UserError(f"{str(path / 'train')!r} holds a single image; at least two are needed")
        train, held_out = validation_split(y)
        val, test = (_pick(files, held_out), y[held_out]), others
    train = limited(train, y, limit_train, seed)

    mode = "L" if shape[0] == 1 else "RGB"
    plain = _plain_transform((shape[1], shape[2]))
    few = train[stratified_sample(y[train], min(STATISTICS_IMAGES, len(train)), seed=0)]
    mean, std = mean_and_std(torch.stack([plain(read_image(file, mode)) for file in _pick(files, few)]))
    training = _training_transform((shape[1], shape[2])) if augment else plain
    return Dataset(
        name=str(path),
        classes=classes,
        class_names=names + tuple(str(c) for c in range(len(names), classes)),
        input_shape=shape,
        train=FolderPart(_pick(files, train), y[train], training, mode, mean, std),
        val=FolderPart(*val, plain, mode, mean, std),
        test=FolderPart(*test, plain, mode, mean, std),
        mean=tuple(mean.flatten().tolist()),
        std=tuple(std.flatten().tolist()),
    )


def read_image(path: Path, mode: str) -> Image.Image:
    """An image file as Pillow's ``mode`` ("RGB" or "L").

    Raises:
        UserError: the file cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            return image.convert(mode)
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"{str(path)!r} cannot be read as an image ({error}); remove or replace it") from error


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")))
    if not names:
        raise UserError(f"{str(folder)!r} has no class folders; put the images of each class into a folder of its own")
    return names


def _files(folder: Path, names: tuple[str, ...]) -> tuple[tuple[Path, ...], Tensor]:
    """All images below the class folders and their labels, by the class order of train/."""
    unknown = [name for name in _class_names(folder) if name not in names]
    if unknown:
        raise UserError(
            f"{str(folder)!r} has a class {unknown[0]!r} that train/ has not; add it there or remove it here"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(file for file in (folder / name).rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
        files += found
        labels += [label] * len(found)
    if not files:
        endings = ", ".join(sorted(ENDINGS))
        raise UserError(f"{str(folder)!r} holds no images; put files ending in {endings} into its class folders")
    return tuple(files), check_labels(torch.tensor(labels), images=len(files), classes=len(names), what=str(folder))


def _pick(files: tuple[Path, ...], indices: Tensor) -> tuple[Path, ...]:
    return tuple(files[index] for index in indices.tolist())


def _training_transform(size: tuple[int, int]) -> Callable[[Image.Image], Tensor]:
    from torchvision import transforms

    transform: Callable[[Image.Image], Tensor] = transforms.Compose(
        [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    return transform


def _plain_transform(size: tuple[int, int]) -> Callable[[Image.Image], Tensor]:
    from torchvision import transforms

    # Both sides are given a length when the target is no square: one length is the shorter side's.
    before: int | tuple[int, int] = round(size[0] * RESIZE_RATIO)
    if size[0] != size[1]:
        before = (round(size[0] * RESIZE_RATIO), round(size[1] * RESIZE_RATIO))
    transform: Callable[[Image.Image], Tensor] = transforms.Compose(
        [transforms.Resize(before), transforms.CenterCrop(size), transforms.ToTensor()]
    )
    return transform
