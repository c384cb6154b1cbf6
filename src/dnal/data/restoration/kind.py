"""Image restoration as a kind of data: degraded images in, clean ones out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from dnal.data.dataset import Dataset, Part
from dnal.data.images.sides import OfImages
from dnal.data.kind import Heads, Sizes, Wanted
from dnal.data.objective import Objective
from dnal.data.restoration.files import ARRAYS, PARTS, holds_pictures, read_photographs
from dnal.data.restoration.photographs import RestorationOptions, from_photographs
from dnal.data.restoration.quality import quality_by_task
from dnal.data.restoration.raw import RawPhotographs
from dnal.data.restoration.sets import read_photographs as read_sample


class Restoration(OfImages):
    name = "restoration"
    usual = (3, 64, 64)
    raw = RawPhotographs
    options = RestorationOptions
    normalisation = "none: degraded images from 0 to 1, and so are the clean ones that are answered"
    sets = {  # noqa: RUF012
        "photographs": (
            "two photographs in colour, 427x640, degraded by noise, streaks and haze; ships with scikit-learn",
            read_sample,
        ),
    }
    files = (
        ("FILE.npz", "your own clean images, which are degraded: clean_train, clean_test, perhaps clean_val"),
        ("FOLDER", "your own clean images, which are degraded: train/*, test/*, perhaps val/*, without class folders"),
    )

    def claims(self, path: Path, heads: Heads) -> bool:
        if path.is_dir():
            return any(holds_pictures(path / part) for part in PARTS)
        return any(name in heads for name in ARRAYS)

    def read(self, path: Path) -> RawPhotographs:
        return read_photographs(path)

    def dataset(self, name: str, raw: Any, wanted: Wanted, options: RestorationOptions) -> Dataset:
        return from_photographs(name, raw, wanted, options)

    def answered(self, sizes: Sizes, objective: Objective) -> tuple[int, ...]:
        return sizes[1:]

    def apart(self, network: nn.Module, part: Part) -> dict[str, dict[str, float | None]]:
        return {task: found._asdict() for task, found in quality_by_task(network, part).items()}
