"""Images as a bad camera, bad weather or bad compression leave them: those of CIFAR-10-C and ImageNet-C, made by
corrupt-tta, each drawn once and kept on disk."""

from __future__ import annotations

import hashlib
import importlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnal.base.atomic import refusal, write_bytes
from dnal.base.errors import UserError
from dnal.data.loader import mixed_seed
from dnal.data.npz import read_array
from dnal.latency.cache import directory

LIBRARY = "corrupt_tta"
KINDS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("gaussian_blur", "glass_blur", "defocus_blur", "motion_blur", "zoom_blur"),
    "weather": ("fog", "frost", "snow", "spatter"),
    "digital": ("contrast", "brightness", "saturate", "jpeg_compression", "pixelate", "elastic_transform"),
}
NAMES = tuple(name for names in KINDS.values() for name in names)
SEVERITIES = (1, 2, 3, 4, 5)

Pixels = NDArray[np.uint8]
"""Images (N, H, W, C)."""


def installed() -> bool:
    """Whether the library is there."""
    try:
        importlib.import_module(LIBRARY)
    except ImportError:
        return False
    return True


def corrupted(images: Pixels, name: str, severity: int, *, place: Path | None = None) -> Pixels:
    """The images under a corruption: from the disk where they were made before, else made and kept.

    Nothing is drawn again for another network: comparisons are on the same pixels. The library's strengths are those of
    ImageNet-C, also for small images.

    Args:
        images: uint8 (N, H, W, C), of one channel, which becomes three and their mean again, or of three.
        name: one of ``NAMES``. severity: 1 to 5.
        place: the folder; by default ``corruptions`` in that of dnal's other caches.

    Raises:
        UserError: the library is not installed, images of other channels, or the corruption cannot be made of them.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(f"images of 1 or 3 channels can be corrupted, not {images.shape}; choose --corruptions none.")
    if name not in NAMES or severity not in SEVERITIES:
        raise UserError(
            f"there is no corruption '{name}' of severity {severity}; there are {', '.join(NAMES)}, 1 to 5."
        )
    maker = library()
    digest = hashlib.sha256(f"{maker.__version__} {name} {severity} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    file = (place or directory() / "corruptions") / f"{name}-{severity}-{digest.hexdigest()[:24]}.npy"
    if file.is_file():
        found = _read(file, images)
        if found is not None:
            return found
    made = _made(maker, images, name, severity)
    _keep(file, made)
    return made


def _read(file: Path, like: Pixels) -> Pixels | None:
    """What was kept; None for a damaged file, which is made again."""
    try:
        found = read_array(file)
    except UserError:
        return None
    return found if found.dtype == np.uint8 and found.shape == like.shape else None  # type: ignore[return-value]


def _keep(file: Path, made: Pixels) -> None:
    content = io.BytesIO()
    np.save(content, made)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content.getvalue())
    except (OSError, UserError) as error:
        warnings.warn(
            f"'{file}' cannot be written ({refusal(error) or error}); the images are corrupted again next time.",
            stacklevel=3,
        )


def _made(maker: Any, images: Pixels, name: str, severity: int) -> Pixels:
    colour = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
    seed = mixed_seed(NAMES.index(name), severity) % 2**32
    with _drawing_from(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about ranges and versions
        try:
            found = np.stack([np.asarray(maker.corrupt(one, severity, name), dtype=np.float64) for one in colour])
        except Exception as error:  # such as of images that are too small for it
            raise UserError(
                f"'{name}' cannot be made of images of {'x'.join(map(str, images.shape[1:]))} ({type(error).__name__})."
            ) from error
    if found.shape != colour.shape or not np.isfinite(found).all():
        raise UserError(f"'{name}' cannot be made of images of {'x'.join(map(str, images.shape[1:]))}.")
    if images.shape[-1] == 1:
        found = found.mean(axis=-1, keepdims=True)
    return found.round().clip(0, 255).astype(np.uint8)


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """numpy's global random state, from which the library draws, seeded; it is put back."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def library() -> Any:
    """The library.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return importlib.import_module(LIBRARY)
    except ImportError as error:
        raise UserError(
            f"corruptions are made by corrupt-tta, which cannot be imported ({error}); install it with pip install "
            "'dnal[corruptions]', or choose --corruptions none."
        ) from None


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Corruptions by their names; "all", "none", and the kinds of them stand for several.

    Raises:
        UserError: an unknown name.

    Examples:
        >>> chosen(["noise", "fog"])
        ('gaussian_noise', 'shot_noise', 'impulse_noise', 'speckle_noise', 'fog')
        >>> chosen(["none"]), len(chosen(["all"]))
        ((), 19)
    """
    words = {**KINDS, "all": NAMES, "none": (), **{name: (name,) for name in NAMES}}
    for name in names:
        if name not in words:
            raise UserError(f"there is no corruption '{name}'; there are {', '.join(words)}.")
    wanted = {one for name in names for one in words[name]}
    return tuple(name for name in NAMES if name in wanted)


def usual_number(height: int, width: int, number: int) -> int:
    """How many images are corrupted by default: 1,000 of up to 64x64 pixels, and of larger ones as many as have no more
    pixels, 20 at least."""
    return min(number, max(20, min(1000, math.floor(1000 * 64 * 64 / (height * width)))))
