"""How many training images of 32x32 pixels does the loader give a second, with shifts and flips?

Three loaders of the same 50,000 colour images in memory (8 bits), an epoch each in turn, one core: dnal's; dnal's with
the augmentation as it was before, an index of every pixel; and torch's DataLoader over a data set of single images
with torchvision's transforms. The first two must give the same bytes. Seconds are those that the process computed.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/loader.py
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dnal.data.dataset import Batch
from dnal.data.images.arrays import ArrayPart, mean_and_std
from dnal.data.images.augmentation import Augmentation
from dnal.data.loader import EpochLoader
from paired import machine, medians
from result_file import append_rows

IMAGES, PAD, SEED = 50_000, 4, 1
FIELDS = (
    "batch", "images_per_second", "before_per_second", "dataloader_per_second", "over_before", "over_dataloader",
    "machine",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Before(ArrayPart):
    """The same images, each pixel of a batch picked by an index of its own."""

    def batch(self, indices: Tensor, seed: int) -> Batch:
        x, generator = self.x[indices], torch.Generator().manual_seed(seed)
        n, _, height, width = x.shape
        down, right = (torch.randint(2 * PAD + 1, (n,), generator=generator) for _ in range(2))
        flip = torch.rand(n, generator=generator) < 0.5
        rows = down[:, None] + torch.arange(height)
        columns = torch.arange(width).expand(n, width)
        columns = torch.where(flip[:, None], width - 1 - columns, columns) + right[:, None]
        padded, image = F.pad(x, (PAD,) * 4), torch.arange(n)[:, None, None]
        x = padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        x = x.clone(memory_format=torch.contiguous_format)
        return ((x.float().div_(255) - self.mean) / self.std).contiguous(), self.y[indices]


class Singly(Dataset[tuple[Tensor, int]]):
    """One image at a time, as torchvision's data sets give them."""

    def __init__(self, part: ArrayPart) -> None:
        self.images = [transforms.functional.to_pil_image(image) for image in part.x]
        self.transform = transforms.Compose([
            transforms.RandomCrop(32, PAD), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
            transforms.Normalize(part.mean.flatten(), part.std.flatten()),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    arguments = (x, torch.zeros(IMAGES, dtype=torch.int64), *mean_and_std(x), Augmentation(PAD, flip=True))
    for batch in (64, 128, 512):
        now, before = (EpochLoader(kind(*arguments), batch, seed=SEED, shuffle=True) for kind in (ArrayPart, Before))
        assert all(torch.equal(one[0], other[0]) for one, other in zip(now, before, strict=True))
        singly = DataLoader(Singly(now.part), batch, shuffle=True)  # type: ignore[arg-type]
        loaders = {"images": now, "before": before, "dataloader": singly}
        seconds = medians(
            {name: lambda own=own: sum(1 for _ in own) for name, own in loaders.items()},
            options.repeats,
            0,
            time.process_time,
        )
        row = {f"{name}_per_second": round(IMAGES / own) for name, own in seconds.items()}
        row |= {f"over_{name}": round(seconds[name] / seconds["images"], 2) for name in ("before", "dataloader")}
        print(append_rows(options.out, FIELDS, [{"batch": batch, **row, "machine": machine()}]), flush=True)


if __name__ == "__main__":
    main()
