"""Weights and data of anybody's."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from damaged.kinds import MARKER, damage, elsewhere, worn


class _Harm:
    """Unpickled, it makes the marker."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (MARKER,)


@damage("weights", "weights, worn")
def _(path: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, worn, elsewhere))(path, draw)


@damage("weights", "weights that are a pickle")
def _(path: Path, other: Path, draw: random.Random) -> None:
    torch.save({"weight": _Harm()}, path, _use_new_zipfile_serialization=draw.random() < 0.5)


@damage("weights", "weights of other shapes and types")
def _(path: Path, other: Path, draw: random.Random) -> None:
    tensors = load_file(path)
    name = draw.choice(sorted(tensors))
    new = draw.choice(
        (torch.zeros(0), torch.zeros(3, 3), tensors[name].double() * float("nan"), tensors[name].to(torch.int8))
    )
    save_file({**tensors, name: new}, path)


@damage("weights", "header of weights tells much")
def _(path: Path, other: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    name = draw.choice([name for name in header if name != "__metadata__"])
    header[name]["shape"] = draw.choice(([2**40], [2**31, 2**31], [-1], [2**64], []))
    text = draw.choice(
        (json.dumps(header), "[" * 10**6, json.dumps({f"t{i}": header[name] for i in range(10**4)}))
    ).encode()
    size = draw.choice((len(text), len(text), 2**40, 2**63))
    path.write_bytes(struct.pack("<Q", size) + text + data[8 + length :])


def npy(header: str, body: bytes = b"") -> bytes:
    """A file of numpy with any header."""
    raw = header.encode()
    raw += b" " * ((64 - (10 + len(raw) + 1) % 64) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(raw)) + raw + body


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in files.items():
            file.writestr(name, data)


def saved(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=True)
    return buffer.getvalue()


@damage("npz", "arrays, worn")
def _(path: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, worn, elsewhere))(path, draw)


@damage("npz", "arrays that declare much")
def _(path: Path, other: Path, draw: random.Random) -> None:
    shape = draw.choice(
        ("(1000000000000, 8, 8)", "(9" + "9" * 30 + ", 8, 8)", "(True, 8, 8)", "(-1, 8, 8)", "(0, 8, 8)", "(64,)", "()",
         "(64, 8, 8" + ", 1" * 60 + ")")
    )  # fmt: skip
    kind = draw.choice(("|u1", "<f8", "|O", "<c16", "|V9", "<U99999999", "<M8[s]", "|S9"))
    header = draw.choice((f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}", "{" * 900, "x", "{}"))
    packed(path, {**members(path), draw.choice(("x_train.npy", "y_train.npy")): npy(header, b"\0" * 4096)})


@damage("npz", "a zip that is none")
def _(path: Path, other: Path, draw: random.Random) -> None:
    kind = draw.randrange(5)
    files = members(path)
    if kind == 0:
        header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000, 8, 8), }"
        packed(path, {**files, "x_train.npy": npy(header, bytes(4000000 * 64))})
        return
    if kind == 1:
        packed(path, files, zipfile.ZIP_LZMA)
        data = bytearray(path.read_bytes())
        data[80:120] = bytes(40)
    else:
        data = bytearray(path.read_bytes())
        places = ((b"PK\3\4", 6), (b"PK\1\2", 8)) if kind == 2 else ((b"PK\3\4", 8), (b"PK\1\2", 10))
        for mark, offset in places:
            at = data.find(mark)
            while at >= 0:
                data[at + offset : at + offset + 2] = struct.pack("<H", 1 if kind == 2 else draw.choice((99, 12, 97)))
                at = data.find(mark, at + 4)
    path.write_bytes(data)


@damage("npz", "strange labels and pixels")
def _(path: Path, other: Path, draw: random.Random) -> None:
    files = members(path)
    count = 64
    labels = [0, 1] * (count // 2 - 1)
    strange = draw.choice(
        (np.array([*labels, 2, 2**63 + 5], dtype=np.uint64), np.array([*labels, 2, 2 * 10**8]), np.full(count, np.nan),
         np.array([None] * count), np.array(["a"] * count), np.zeros((count, 2)), np.zeros(count - 1), np.zeros(count),
         np.array([_Harm()] * count), np.array([*labels, 0.5, 1]), np.array([*labels, -1, 0]))
    )  # fmt: skip
    pixels = draw.choice(
        (np.full((count, 8, 8), np.inf), np.zeros((count, 8, 8), np.complex64), np.zeros((count, 8, 8, 3, 3)),
         np.zeros((count, 0, 8)), np.array([_Harm()] * count))
    )  # fmt: skip
    if draw.random() < 0.7:
        packed(path, {**files, "y_train.npy": saved(strange)})
    else:
        packed(path, {**files, "x_train.npy": saved(pixels)})


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of little that tells of much."""
    squeezed = zlib.compressobj(9)
    body = b"".join(squeezed.compress(b"\0" * (width + 1)) for _ in range(height)) + squeezed.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@damage("images", "image, worn")
def _(path: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, worn, elsewhere))(draw.choice(sorted(path.rglob("*.png"))), draw)


@damage("images", "image that is none")
def _(path: Path, other: Path, draw: random.Random) -> None:
    name, data = draw.choice(
        (
            ("e.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n(hi) show\n%%EOF\n"),
            ("x.pgm", b"P5 4 4 70000\n"), ("x.ppm", b"P3 4 4 255\nx y z"), ("x.ppm", b"P6 9999999 9999999 255\n"),
            ("bomb.png", bomb(20_000, 20_000)), ("x.tif", b"II*\0\x08\0\0\0\xff\xff"), ("x.bmp", b"BM" + b"\xff" * 60),
            ("x.webp", b"RIFF\xff\xff\xff\x7fWEBPVP8 "), ("x.jpg", b"\xff\xd8\xff\xe0" + b"\0" * 20),
            ("x.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), ("x.png", b"GIF89a" + b"\xff" * 30),
            ("x.png", b"SIMPLE  =                    T"), ("x.png", b"\xd7\xcd\xc6\x9a" + b"\0" * 30),
        )
    )  # fmt: skip
    (draw.choice(sorted(folder for folder in (path / "train").iterdir())) / name).write_bytes(data)


@damage("images", "image with a long text")
def _(path: Path, other: Path, draw: random.Random) -> None:
    image = draw.choice(sorted(path.rglob("*.png")))
    data = image.read_bytes()
    texts = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"A" * 10**8, 9))
    image.write_bytes(
        data[:33] + draw.choice((texts, texts * 5, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**7))))) + data[33:]
    )


@damage("images", "folders and names")
def _(path: Path, other: Path, draw: random.Random) -> None:
    kind = draw.randrange(7)
    first = path / "train" / "a"
    if kind == 0:
        for part in ("train", "val"):
            os.rename(os.fsencode(path / part / "a"), os.fsencode(path / part) + b"/\xff\xfe")  # noqa: PTH104
    elif kind == 1:
        os.rename(os.fsencode(first / "0.png"), os.fsencode(first) + b"/\xff.png")  # noqa: PTH104
    elif kind == 2:
        shutil.rmtree(path / draw.choice(("val", "train/a", "val/b")))
    elif kind == 3:
        (first / "1.png").unlink()
        (first / "1.png").symlink_to(
            draw.choice(("/dev/zero", "../../../../victim/precious", "nowhere", "/etc/passwd"))
        )
    elif kind == 4:
        shutil.rmtree(first)
        first.symlink_to(draw.choice(("..", "../../..", "/etc", ".")))
    elif kind == 5:
        (first / "\x1b[31m.png").write_bytes(b"no image")
    else:
        for image in (*first.iterdir(),):
            image.unlink()
