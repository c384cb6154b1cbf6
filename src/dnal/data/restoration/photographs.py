"""A data set from clean images: pieces of them, degraded when they are handed out; what is asked is the clean piece."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.base.options import Options, option
from dnal.data.dataset import Batch, Dataset
from dnal.data.images.resize import match_channels
from dnal.data.kind import Sizes, Wanted
from dnal.data.loader import mixed_seed
from dnal.data.objective import RESTORATION
from dnal.data.restoration.degradations import DEGRADATIONS, LEVELS, Degradation
from dnal.data.restoration.raw import Photographs, RawPhotographs
from dnal.data.splits import VALIDATION_SEED, VALIDATION_SHARE, limited, without

SIDE = 64
"""Of a piece, if nothing is said."""
COLOURS = {1: ("grey",), 3: ("red", "green", "blue")}


@dataclass(frozen=True)
class RestorationOptions(Options):
    """What can be said of clean images."""

    tasks: tuple[str, ...] = option(
        tuple(DEGRADATIONS), f"What spoils them, joined by /: {', '.join(DEGRADATIONS)}; all by default.",
        known=tuple(DEGRADATIONS),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class PiecePart:
    """Pieces of clean images in memory, each of which is degraded in one way.

    Attributes:
        photographs: each uint8 (C, H, W).
        places: of each example, (N, 3): the number of its photograph, and the row and column where its piece begins.
        y: the number of its task, (N,).
        tasks: their names. size: (H, W) of a piece.
        augmentation: whether an example is another piece of the same photograph every time, mirrored by lot, and
            degraded with other draws; None: it is always the same one.
    """

    photographs: tuple[Tensor, ...]
    places: Tensor
    y: Tensor
    tasks: tuple[str, ...]
    size: tuple[int, int]
    augmentation: bool | None = None

    @property
    def x(self) -> tuple[tuple[Tensor, ...], Tensor]:
        """What the fingerprint of the data is of, beside the tasks."""
        return self.photographs, self.places

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor, seed: int) -> Batch:
        """Degraded pieces (B, C, H, W) and clean ones, both from 0 to 1."""
        places, tasks = self.places[indices], self.y[indices]
        if self.augmentation is None:
            clean = self._clean(places)
            degraded = torch.empty_like(clean)
            for row, (place, task) in enumerate(zip(places.tolist(), tasks.tolist(), strict=True)):
                draw = torch.Generator().manual_seed(mixed_seed(*place, task))
                degraded[row] = self._spoil(task)(clean[row : row + 1], draw)[0]
            return degraded, clean
        draw = torch.Generator().manual_seed(seed)
        clean = self._clean(self._elsewhere(places, draw))
        mirrored = torch.rand(len(clean), 1, 1, 1, generator=draw) < 0.5
        clean = torch.where(mirrored, clean.flip(-1), clean)
        degraded = torch.empty_like(clean)
        for task in range(len(self.tasks)):
            own = tasks == task
            if bool(own.any()):
                degraded[own] = self._spoil(task)(clean[own], draw)
        return degraded, clean

    def _spoil(self, task: int) -> Degradation:
        return DEGRADATIONS[self.tasks[task]]

    def _elsewhere(self, places: Tensor, draw: torch.Generator) -> Tensor:
        """Pieces of the same photographs, anywhere in them."""
        height, width = self.size
        room = torch.tensor(
            [
                [self.photographs[n].shape[1] - height, self.photographs[n].shape[2] - width]
                for n, _, _ in places.tolist()
            ]
        )
        moved = (torch.rand((len(places), 2), generator=draw, dtype=torch.float64) * (room + 1)).long()
        return torch.cat((places[:, :1], moved), 1)

    def _clean(self, places: Tensor) -> Tensor:
        height, width = self.size
        pieces = [
            self.photographs[n][:, down : down + height, right : right + width] for n, down, right in places.tolist()
        ]
        return torch.stack(pieces).float().div_(LEVELS)


def from_photographs(name: str, raw: RawPhotographs, wanted: Wanted, options: RestorationOptions) -> Dataset:
    """A data set of as many pieces as fit into the photographs side by side, each once for every task.

    In training a piece is anywhere in its photograph, and degraded with other draws, every time; elsewhere both are
    always the same. Where the source has no validation part, it is a tenth of the training photographs.

    Raises:
        UserError: something else than 8-bit images, images smaller than a piece, too few of them, or a wish that
            cannot be fulfilled.
    """
    train, test = _images(raw.train, "training"), _images(raw.test, "test")
    if raw.val is not None:
        val = _images(raw.val, "validation")
    elif len(train) < 2:
        raise UserError(f"'{name}' has a single training image; give another one, for validation.")
    else:
        draw = np.random.RandomState(VALIDATION_SEED)  # whose stream is promised never to change
        held = np.sort(draw.permutation(len(train))[: max(1, round(VALIDATION_SHARE * len(train)))])
        left = without(len(train), torch.from_numpy(held))
        train, val = [train[n] for n in left.tolist()], [train[n] for n in held.tolist()]
    channels, height, width = wanted.input_shape or _usual(train[0], [*train, *val, *test])
    if channels not in COLOURS:
        raise UserError(f"clean images have 3 channels, or 1 as grey ones, not {channels}.")
    if wanted.classes not in (None, channels):
        raise UserError(f"an image of {channels} channels is restored as one, not as {wanted.classes}; leave classes.")
    if not options.tasks or len(set(options.tasks)) < len(options.tasks):
        raise UserError(f"the tasks are each of {', '.join(DEGRADATIONS)} at most once, and one at least.")
    parts = [
        _part([match_channels(one[None], channels)[0] for one in images], options.tasks, (height, width), which)
        for images, which in ((train, "training"), (val, "validation"), (test, "test"))
    ]
    chosen = limited(torch.arange(len(parts[0])), parts[0].y, wanted.limit_train, wanted.seed, "pieces")
    parts[0] = replace(
        parts[0], places=parts[0].places[chosen], y=parts[0].y[chosen], augmentation=True if wanted.augment else None
    )
    first, second, third = parts
    return Dataset(
        name, channels, COLOURS[channels], (channels, height, width), first, second, third, kind="restoration",
        objective=RESTORATION,
    )  # fmt: skip


def _images(given: Photographs, which: str) -> list[Tensor]:
    """Each uint8 (C, H, W)."""
    if isinstance(given, np.ndarray) and not given.ndim:
        raise UserError(f"the {which} images are a single number; clean images are (N, H, W) or (N, H, W, 3) of uint8.")
    found = []
    for image in given:
        array = np.asarray(image)
        array = array[..., None] if array.ndim == 2 else array
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] not in COLOURS or not array.size:
            raise UserError(
                f"a {which} image is {array.dtype} of shape {np.asarray(image).shape}; clean images are (H, W) or "
                "(H, W, 3) of uint8."
            )
        found.append(torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))))
    if not found:
        raise UserError(f"there are no {which} images; give some.")
    if len({len(image) for image in found}) > 1:
        raise UserError(f"some {which} images are grey and others are not; make them alike.")
    return found


def _usual(first: Tensor, images: list[Tensor]) -> Sizes:
    """Square pieces of 64 pixels, or of the largest multiple of 8 that fits into every image."""
    least = min(min(image.shape[1:]) for image in images)
    return (len(first), *[min(SIDE, max(1, least - least % 8))] * 2)


def _part(images: list[Tensor], tasks: tuple[str, ...], size: tuple[int, int], which: str) -> PiecePart:
    """All pieces side by side, once for each task, the tasks of a piece after one another."""
    height, width = size
    places = [
        (number, down, right)
        for number, image in enumerate(images)
        for down in range(0, image.shape[1] - height + 1, height)
        for right in range(0, image.shape[2] - width + 1, width)
    ]
    whole = {number for number, _, _ in places}
    if len(whole) < len(images):
        small = next(image for number, image in enumerate(images) if number not in whole)
        raise UserError(
            f"a {which} image of {small.shape[1]}x{small.shape[2]} is smaller than a piece of {height}x{width}; choose "
            "a smaller --input, or leave it out."
        )
    repeated = torch.tensor(places).repeat_interleave(len(tasks), 0)
    return PiecePart(tuple(images), repeated, torch.arange(len(tasks)).repeat(len(places)), tasks, size)
