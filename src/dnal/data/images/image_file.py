"""One image file, which may be anybody's, as an image in the colours that are asked for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dnal.base.errors import UserError, reason_of

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM")
"""Nothing else is opened, whatever a file is called: Pillow starts other programs for some formats."""
ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
MOST_PIXELS = 89_478_485
"""From here on Pillow speaks of decompression bombs; four bytes each are a third of a gigabyte."""
MOST_BYTES = 8 * MOST_PIXELS
"""Of a file: four channels of 16 bits, not compressed."""
SIXTEEN_BITS = 65535


def read_image(path: Path, mode: str) -> Image.Image:
    """An image file, in Pillow's ``mode`` "RGB" or "L" with 8 bits, or in mode "F" from 0 to 1 if it is a grey one of
    16 bits, which 8 would not hold. Of colours with 16 bits the upper 8 are read.

    Raises:
        UserError: the file cannot be read as an image of ``FORMATS``, is larger than ``MOST_PIXELS`` or
            ``MOST_BYTES``, or its numbers have no known black and white.
    """
    try:
        # A file and not its name: Pillow would map a name into memory, and a file that shrinks would end the process.
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise unreadable(path, f"it has {size:,} bytes, and an image has at most {MOST_BYTES:,}")
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise unreadable(path, f"it has {width}x{height} pixels, and an image has at most {MOST_PIXELS:,}")
                return _in_mode(path, image, mode)
    except UserError:
        raise
    except MemoryError:
        raise unreadable(path, "there is no memory for what it says that it holds") from None
    except UnidentifiedImageError:
        raise unreadable(path, f"it is none of {', '.join(FORMATS[:-1])} and {FORMATS[-1]}") from None
    except Image.DecompressionBombError:
        raise unreadable(path, f"it has more than {MOST_PIXELS:,} pixels") from None
    except Exception as error:  # decoders raise whatever the damage makes of their arithmetic
        raise unreadable(path, reason_of(error)) from error


def _in_mode(path: Path, image: Image.Image, mode: str) -> Image.Image:
    of_16_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if of_16_bits:  # converted, all that is above 255 would be white
        return Image.fromarray(np.asarray(image).astype(np.float32) / SIXTEEN_BITS)
    if image.mode in ("I", "F"):
        raise unreadable(
            path, "its numbers have 32 bits, and which of them is white is not known; save it with 8 or 16"
        )
    return image.convert(mode)


def unreadable(path: Path, reason: str) -> UserError:
    """What to say of an image file of no use."""
    return UserError(f"{str(path)!r} cannot be read as an image ({reason}); remove or replace it")
