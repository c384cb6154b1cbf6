"""Images of studies: a row is the same whichever rows were made before it."""

from __future__ import annotations

import torch

from dnal.studies.claims.guidance import GuidesMakeNetworksTrain
from dnal.studies.images import image_loaders


def test_every_use_of_the_loaders_begins_with_the_first_epoch() -> None:
    first, again, other = (next(iter(image_loaders("digits", 200, 8, seed, batch=32).train))[0] for seed in (0, 0, 1))
    assert len(first) == 32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_row_of_guidance_does_not_depend_on_those_before() -> None:
    study = GuidesMakeNetworksTrain(data="digits", images=200, side=8, steps=2, depth=3)
    assert study.row(0, "fcn", "none") == study.row(0, "fcn", "none")
