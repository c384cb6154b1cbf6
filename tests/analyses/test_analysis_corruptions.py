"""Corruptions: each is drawn once, and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dnal.analyses.corruptions import NAMES, chosen, corrupted, usual_number
from dnal.base.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def test_every_one_is_made_once_and_kept(tmp_path: Path) -> None:
    library = pytest.importorskip("corrupt_tta", reason="it is in the extra corruptions")
    assert set(NAMES) == set(library.corruption_dict)
    state = np.random.get_state()[1].tolist()
    for name in NAMES:
        first = corrupted(IMAGES, name, 3, place=tmp_path)
        assert first.dtype == np.uint8
        assert first.shape == IMAGES.shape
        assert not np.array_equal(first, IMAGES), name
        assert np.array_equal(first, corrupted(IMAGES, name, 3, place=tmp_path)), name
    assert np.random.get_state()[1].tolist() == state  # nobody's else draws move
    assert len(list(tmp_path.iterdir())) == len(NAMES)
    assert not np.array_equal(first, corrupted(IMAGES, NAMES[-1], 5, place=tmp_path))


def test_grey_images_stay_grey_and_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    pytest.importorskip("corrupt_tta", reason="it is in the extra corruptions")
    grey = IMAGES[..., :1]
    found = corrupted(grey, "contrast", 1, place=tmp_path)
    assert found.shape == grey.shape
    assert found.std() < grey.std()
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"torn")
    assert np.array_equal(corrupted(grey, "contrast", 1, place=tmp_path), found)


def test_what_cannot_be_is_one_sentence() -> None:
    with pytest.raises(UserError, match="there is no corruption 'rain'"):
        chosen(["rain"])
    with pytest.raises(UserError, match="1 or 3 channels"):
        corrupted(np.zeros((2, 8, 8, 2), dtype=np.uint8), "fog", 1)
    assert usual_number(32, 32, 10_000) == 1000
    assert usual_number(224, 224, 50_000) == 81
    assert usual_number(32, 32, 300) == 300
