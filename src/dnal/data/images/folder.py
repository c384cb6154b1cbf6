"""Image folders: train/CLASS/*, val/CLASS/* and perhaps test/CLASS/*, read when they are needed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dnal.base.errors import UserError, printable
from dnal.base.names import possible
from dnal.data.dataset import Batch, Dataset, Shape
from dnal.data.images.arrays import mean_and_std
from dnal.data.images.image_file import ENDINGS, MOST_PIXELS, read_image, unreadable
from dnal.data.kind import Sizes
from dnal.data.labels import check_labels
from dnal.data.splits import limited, stratified_sample, validation_split

DEFAULT_INPUT: Shape = (3, 224, 224)
STATISTICS_IMAGES, STATISTICS_VALUES = 256, 2**28
# Resize before the centre crop by the field's ratio, 256 / 224.
RESIZE_RATIO = 256 / 224


@dataclass(frozen=True, eq=False)
class FolderPart:
    """Image files and their labels; every image is read, transformed to (C, H, W) in 0 to 1, and normalised.

    ``files`` are paths below ``root``, as texts: a million of :class:`Path` take seconds and half a gigabyte.
    """

    root: Path
    files: tuple[str, ...]
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
            files = [self.root / self.files[index] for index in indices.tolist()]
            images = [_pixels(file, self.mode, self.transform) for file in files]
        return ((torch.stack(images) - self.mean) / self.std), self.y[indices]


def load_folder(
    path: Path,
    *,
    input_shape: Sizes | None = None,
    classes: int | None = None,
    limit_train: int | None = None,
    seed: int = 0,
    augment: bool = True,
) -> Dataset:
    """A data set from a folder of images.

    The class folders of train/ are the classes, in alphabetical order; one without images is asked about, unless the
    number of classes is given. Grey images of 16 bits keep them: 0 to 65535 are 0 to 1, as 0 to 255 of 8 bits.

    With test/, val/ is the validation part; without, val/ is the test set and 10 % of train/, stratified and the same
    in every run, are the validation part. Training images get RandomResizedCrop and flips, the others Resize and
    CenterCrop. The mean and standard deviation are those of at most 256 training images, fewer of large ones.

    Raises:
        UserError: folders or images that are missing or cannot be read, with what should be there.
    """
    path = possible(path, "path of the data")
    for needed in ("train", "val"):
        if not (path / needed).is_dir():
            raise UserError(
                f"image folder {str(path)!r} has no {needed}/; it must hold train/CLASS/ and val/CLASS/ folders"
            )
    shape = (input_shape[0], input_shape[1], input_shape[2]) if input_shape else DEFAULT_INPUT
    if shape[0] not in (1, 3):
        raise UserError(f"images of a folder have 3 channels, or 1 as grey ones, not {shape[0]}")
    names = _class_names(path / "train")
    if classes is not None and classes < len(names):
        raise UserError(
            f"{str(path / 'train')!r} has {len(names)} class folders, more than {classes} classes; "
            f"say at least {len(names)}"
        )
    files, y = _files(path, "train", names)
    if classes is None:
        _check_none_is_empty(path / "train", names, y)
    classes = classes or len(names)
    others = _files(path, "val", names)
    if (path / "test").is_dir():
        train, val, test = torch.arange(len(files)), others, _files(path, "test", names)
    else:
        if len(files) < 2:
            raise UserError(f"{str(path / 'train')!r} holds a single image; at least two are needed")
        train, held_out = validation_split(y)
        val, test = (_pick(files, held_out), y[held_out]), others
    train = limited(train, y, limit_train, seed)

    mode = "L" if shape[0] == 1 else "RGB"
    plain = _plain_transform((shape[1], shape[2]))
    enough = max(1, min(STATISTICS_IMAGES, len(train), STATISTICS_VALUES // math.prod(shape)))
    few = train[stratified_sample(y[train], enough, seed=0)]
    mean, std = mean_and_std(torch.stack([_pixels(path / file, mode, plain) for file in _pick(files, few)]))
    training = _training_transform((shape[1], shape[2])) if augment else plain
    return Dataset(
        name=str(path),
        classes=classes,
        class_names=names + tuple(str(c) for c in range(len(names), classes)),
        input_shape=shape,
        train=FolderPart(path, _pick(files, train), y[train], training, mode, mean, std),
        val=FolderPart(path, *val, plain, mode, mean, std),
        test=FolderPart(path, *test, plain, mode, mean, std),
        mean=tuple(mean.flatten().tolist()),
        std=tuple(std.flatten().tolist()),
    )


def _pixels(file: Path, mode: str, transform: Callable[[Image.Image], Tensor]) -> Tensor:
    """The transformed image; one of mode "F" is grey, whatever is asked for."""
    image = read_image(file, mode)
    try:
        return transform(image).expand(1 if mode == "L" else 3, -1, -1)
    except ValueError as error:
        raise unreadable(file, str(error)) from None


def _class_names(folder: Path) -> tuple[str, ...]:
    try:
        found = [entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{str(folder)!r} cannot be read ({error.strerror}); let its files be read") from None
    if not found:
        raise UserError(f"{str(folder)!r} has no class folders; put the images of each class into a folder of its own")
    for name in found:
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise UserError(
                f"the class folder '{printable(name)}' in {str(folder)!r} has a name that is no UTF-8; rename it"
            )
    return tuple(sorted(found))


def _check_none_is_empty(folder: Path, names: tuple[str, ...], y: Tensor) -> None:
    """Refuses a class without images: it is a mistake, or the number of classes is known.

    Raises:
        UserError: naming the first.
    """
    counts = torch.bincount(y, minlength=len(names)).tolist()
    if 0 in counts:
        empty = folder / names[counts.index(0)]
        raise UserError(
            f"the class folder {str(empty)!r} holds no images ({_endings()}); put some into it, remove it, or say "
            f"that there are {len(names)} classes"
        )


def _files(root: Path, part: str, names: tuple[str, ...]) -> tuple[tuple[str, ...], Tensor]:
    """All images below the class folders of a part, by their paths below ``root``, and their labels, by the class
    order of train/."""
    unknown = [name for name in _class_names(root / part) if name not in names]
    if unknown:
        raise UserError(
            f"{str(root / part)!r} has a class {unknown[0]!r} that train/ has not; add it there or remove it here"
        )
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = _images(root, part + os.sep + name)
        files += found
        labels += [label] * len(found)
    what = str(root / part)
    if not files:
        raise UserError(f"{what!r} holds no images; put files ending in {_endings()} into its class folders")
    return tuple(files), check_labels(torch.tensor(labels), images=len(files), classes=len(names), what=what)


def _images(root: Path, folder: str) -> list[str]:
    """The images below a folder, if there is one, by their paths below ``root``, in the order of the parts of these.

    Links to files count, those to folders are not followed. The system says with each name what it is, so that only
    links are asked about one by one; a :class:`Path` for each of a million files would take seconds.
    """
    found: list[str] = []
    folders = [folder] if (root / folder).is_dir() else []
    for below in folders:  # which grows meanwhile
        try:
            with os.scandir(root / below) as entries:
                for entry in entries:
                    name = entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(below + os.sep + name)
                    elif (dot := name.rfind(".")) > 0 and name[dot:].lower() in ENDINGS and _is_file(entry):
                        found.append(below + os.sep + name)
        except OSError as error:
            raise UserError(
                f"'{printable(str(root / below))}' cannot be read ({error.strerror}); let its files be read"
            ) from None
    return sorted(found) if len(folders) == 1 else sorted(found, key=lambda name: name.split(os.sep))  # noqa: PTH206 - as above


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) or Path(entry.path).is_file()


def _endings() -> str:
    return ", ".join(sorted(ENDINGS))


def _pick(files: tuple[str, ...], indices: Tensor) -> tuple[str, ...]:
    return tuple(files[index] for index in indices.tolist())


def _training_transform(size: tuple[int, int]) -> Callable[[Image.Image], Tensor]:
    from torchvision import transforms

    transform: Callable[[Image.Image], Tensor] = transforms.Compose(
        [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    return transform


@dataclass(frozen=True)
class _NotTooLong:
    """Passes an image whose shorter side shall become so many pixels, unless its longer one would fill the memory."""

    shorter: int

    def __call__(self, image: Image.Image) -> Image.Image:
        least, most = sorted(image.size)
        if most / least * self.shorter**2 > MOST_PIXELS:
            raise ValueError(f"with {image.width}x{image.height} pixels it is too long for such an input")
        return image


def _plain_transform(size: tuple[int, int]) -> Callable[[Image.Image], Tensor]:
    from torchvision import transforms

    # Both sides are given a length when the target is no square: one length is the shorter side's.
    before: int | tuple[int, int] = round(size[0] * RESIZE_RATIO)
    if size[0] != size[1]:
        before = (round(size[0] * RESIZE_RATIO), round(size[1] * RESIZE_RATIO))
    transform: Callable[[Image.Image], Tensor] = transforms.Compose(
        [
            _NotTooLong(round(size[0] * RESIZE_RATIO)),
            transforms.Resize(before),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
        ]
    )
    return transform
