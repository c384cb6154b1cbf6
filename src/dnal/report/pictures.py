"""Images in a page: each is in it, as a data URI."""

from __future__ import annotations

import base64
import io

import torch
from PIL import Image

from dnal.data.dataset import Dataset, Part, plain

LEAST_SIDE = 64
"""Pixels of the side of a picture."""
MOST_SIDE = 160
"""Larger ones are made smaller: a page holds many."""


def picture_of(dataset: Dataset, part: Part, number: int) -> str:
    """An image of a part of a data set as a data URI; "" where its examples are no images."""
    if dataset.kind != "images":
        return ""
    inputs, _ = plain(part).batch(torch.tensor([number]), 0)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (dataset.mean, dataset.std))
    values = inputs[0] * std + mean
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] != 3 else pixels)
    times = max(1, -(-LEAST_SIDE // max(picture.size)))
    picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
