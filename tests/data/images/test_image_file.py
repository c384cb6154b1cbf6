"""Image files of every format and kind of number, and hostile ones, against arrays and by mutation."""

import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnal.base.errors import UserError
from dnal.data.images.image_file import FORMATS, MOST_BYTES, read_image

GREY = np.arange(0, 65536, 257 * 15, dtype=np.uint16)[None].repeat(2, 0)  # 257 * k are the 8-bit levels
COLOURS = np.random.RandomState(0).randint(0, 256, (24, 31, 3), dtype=np.uint8)


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A black grey one, written by hand: Pillow would not."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(width + 1)) for _ in range(height)) + rows.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encoded(array: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_every_format_under_any_ending(tmp_path: Path, form: str, ending: str) -> None:
    path = tmp_path / f"image.{ending}"
    path.write_bytes(encoded(COLOURS, form, **({"lossless": True} if form == "WEBP" else {})))
    image = read_image(path, "RGB")
    assert (image.mode, image.size) == ("RGB", (31, 24))
    if form != "JPEG":
        assert (np.asarray(image) == COLOURS).all()
    assert read_image(path, "L").mode == "L"


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "content",
    [
        encoded(GREY, "PNG"),
        encoded(GREY, "TIFF"),
        encoded(GREY.astype(">u2"), "TIFF"),
        b"P5 %d %d 65535\n" % GREY.shape[::-1] + GREY.astype(">u2").tobytes(),
    ],
    ids=["png", "tiff", "tiff of big numbers first", "pgm"],
)
def test_16_bits_of_grey_are_0_to_1(tmp_path: Path, content: bytes, mode: str) -> None:
    (tmp_path / "image.png").write_bytes(content)
    image = read_image(tmp_path / "image.png", mode)
    assert image.mode == "F"
    np.testing.assert_allclose(np.asarray(image), GREY / 65535, rtol=1e-6)


def test_16_bits_of_colour_are_their_upper_8(tmp_path: Path) -> None:
    values = np.array([0, 255, 256, 30000, 65535, 40000], dtype=">u2")  # two pixels
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + values.tobytes())
    (tmp_path / "image.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    found = np.asarray(read_image(tmp_path / "image.png", "RGB")).flatten()
    assert found.tolist() == (values >> 8).tolist()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_are_refused(tmp_path: Path, dtype: type) -> None:
    (tmp_path / "image.tif").write_bytes(encoded(GREY.astype(dtype), "TIFF"))
    with pytest.raises(UserError, match=r"image\.tif' cannot be read as an image \(its numbers have 32 bits"):
        read_image(tmp_path / "image.tif", "L")


TEXT = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"A" * 10**8, 9))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n(hi) show\n%%EOF\n"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(9_500, 9_500), "9500x9500 pixels"),
        (png(20_000, 20_000), "more than 89,478,485 pixels"),
        (png(8, 8, TEXT), "too large"),
        (png(64, 64)[:-30], ""),
        (b"P5 4 4 70000\n", "maxval"),
        (b"P3 4 4 255\nx y z", ""),
        (b"P6 99999999 99999999 255\n", "pixels"),
        (b"P5 4 4 255\n", ""),
        (EPS, "it is none of PNG, JPEG, WEBP, TIFF, BMP and PPM"),
        (b"", "it is none of"),
        (encoded(COLOURS, "GIF"), "it is none of"),
    ],
    ids=["large", "bomb", "text bomb", "cut", "maxval", "letters", "huge ppm", "short pgm", "eps", "empty", "gif"],
)
def test_what_is_no_image_is_one_sentence(
    tmp_path: Path, content: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {started}\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_image(path, "RGB")
    assert str(caught.value).startswith(f"{str(path)!r} cannot be read as an image (")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not started.exists()


def test_a_file_of_more_bytes_than_any_image_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "image.webp"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(UserError, match="bytes, and an image has at most"):
        read_image(path, "RGB")


def _seeds() -> list[bytes]:
    forms: list[tuple[str, dict[str, object]]] = [
        ("PNG", {}), ("JPEG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("PPM", {}),
        *(("TIFF", {"compression": kind}) for kind in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
    ]  # fmt: skip
    return [encoded(array, form, **options) for form, options in forms for array in (COLOURS, COLOURS[..., 0])] + [
        encoded(GREY, "PNG"),
        encoded(GREY, "TIFF"),
    ]


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, most of them near the beginning, where the sizes are; or cut."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(found) if draw.random() < 0.5 else min(80, len(found)))
        match draw.randrange(4):
            case 0:
                found[at] = draw.randrange(256)
            case 1:
                found[at : at + 4] = draw.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)))
            case 2:
                del found[max(1, at) :]
            case _:
                found[at:at] = draw.randbytes(draw.randrange(9))
    return bytes(found)


def mutate(folder: Path, count: int, seed: int) -> None:
    draw, seeds, path = random.Random(seed), _seeds(), folder / "image.png"
    warnings.simplefilter("ignore")
    read = refused = 0
    for _ in range(count):
        path.write_bytes(mutated(draw.choice(seeds), draw))
        try:
            read_image(path, draw.choice(("RGB", "L")))
            read += 1
        except UserError:
            refused += 1
    assert min(read, refused) > count // 20


def test_damage_anywhere_is_a_sentence(tmp_path: Path) -> None:
    mutate(tmp_path, 500, 0)


@pytest.mark.slow
def test_damage_anywhere_takes_no_memory(tmp_path: Path) -> None:
    code = f"""import resource, pathlib, test_image_file
test_image_file.mutate(pathlib.Path({str(tmp_path)!r}), 30_000, 1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 2 * 2**20  # KiB
