"""What every kind of data has whose example is an image."""

from __future__ import annotations

import math

from dnal.base.errors import UserError
from dnal.data.kind import Entry, Kind, Sizes

MOST_VALUES = 2**28
"""Of one image: a gigabyte."""


class OfImages(Kind):
    one = "image"
    several = "images"
    classified = "images"
    sizes = ("channels", "height", "width")

    def inputs(self, sizes: Sizes) -> Entry:
        return Entry(sizes)

    def arguments(self, sizes: Sizes) -> dict[str, int]:
        return dict.fromkeys(("in_channels", "in_chans", "input_channels"), sizes[0])

    def kept(self, sizes: Sizes) -> dict[str, int]:
        return {"channels": sizes[0]}

    def check(self, sizes: Sizes) -> None:
        super().check(sizes)
        if math.prod(sizes) > MOST_VALUES:
            raise UserError(
                f"an image of {math.prod(sizes):,} values ({sizes}) is more than the {MOST_VALUES:,} that one "
                "may have; choose a smaller input"
            )
