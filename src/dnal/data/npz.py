"""Arrays of numbers in .npz files, which may be anybody's."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError, one_line, reason_of
from dnal.base.reading import opened

ENCRYPTED = 0x1
"""Of the flags of an entry of a zip file."""
MOST_ARRAYS = 2**10
"""Of a file that are looked at."""
LARGE, MOST_TIMES = 2**26, 200
"""From so many bytes on, an array may not be so many times as large as it is compressed: images hardly ever are."""


def read_arrays(path: Path, keys: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file by name.

    Before memory is taken for an array, the file must have the bytes for it.

    Args:
        keys: that it must hold. optional: that it may hold.

    Raises:
        UserError: no such file, not an npz file, a key missing, Python objects inside, damage, or an array larger than
            the memory.
    """
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}; give the path of an .npz file with {', '.join(keys)}")
    try:
        if not zipfile.is_zipfile(path):
            raise UserError(f"{str(path)!r} is not an npz file; write one with numpy.savez(path, {keys[0]}=..., ...)")
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            missing = [key for key in keys if key not in entries]
            if missing:
                raise UserError(f"{str(path)!r} has no {', '.join(missing)}; it must hold {', '.join(keys)}")
            names = [*keys, *(key for key in optional if key in entries)]
            return {key: _array(archive, entries[key], key, path) for key in names}
    except UserError:
        raise
    except Exception as error:  # each way of compression has errors of its own, and so has each kind of damage
        reason = reason_of(error)
        raise UserError(f"{str(path)!r} is damaged ({reason}); write it again with numpy.savez") from error


def read_array(path: Path) -> NDArray[np.generic]:
    """The array of an .npy file.

    Raises:
        UserError: as :func:`read_arrays`.
    """
    what = repr(str(path))
    with opened(path.resolve(), remedy="give another file") as file:
        shape, fortran, dtype = _header(file, what)
        taken, held = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
        if taken != held:
            raise UserError(f"{what} is damaged (it takes {taken:,} bytes, and has {held:,}); write it again")
        flat = np.empty(math.prod(shape), dtype)
        _fill(flat, file)
    return flat.reshape(shape, order="F" if fortran else "C")


def heads(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in a file, as far as they can be read, by name; nothing else of it is read."""
    found: dict[str, tuple[int, ...]] = {}
    if not path.is_file():  # a pipe would be waited for
        return found
    with suppress(Exception), zipfile.ZipFile(path) as archive:  # reading it says what is wrong with it
        for entry in archive.infolist()[:MOST_ARRAYS]:
            with suppress(Exception), archive.open(entry) as file:
                found[entry.filename.removesuffix(".npy")] = _header(file, entry.filename)[0]
    return found


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, key: str, path: Path) -> NDArray[np.generic]:
    """One array of the file.

    Raises:
        UserError: it is none of numbers, or the file has other bytes than it takes.
    """
    what = f"{key} in {str(path)!r}"
    if entry.flag_bits & ENCRYPTED:
        raise UserError(f"{what} is encrypted; write the file with numpy.savez")
    if entry.compress_size > path.stat().st_size:
        raise UserError(f"{what} is damaged (it says that it is larger than the file); write it again with numpy.savez")
    if entry.file_size > LARGE and entry.file_size > MOST_TIMES * entry.compress_size:
        raise UserError(
            f"{what} unpacks {entry.compress_size:,} bytes to {entry.file_size:,}, which images do not; if it is "
            "right, write it with numpy.savez, not compressed"
        )
    with archive.open(entry) as file:
        shape, fortran, dtype = _header(file, what)
        taken, held = math.prod(shape) * dtype.itemsize, entry.file_size - file.tell()
        if taken != held:
            raise UserError(
                f"{what} is damaged (an array {shape} of {dtype} takes {taken:,} bytes, and it has {held:,}); write it "
                "again with numpy.savez"
            )
        try:
            flat = np.empty(math.prod(shape), dtype)
        except MemoryError:
            raise UserError(f"{what} takes {taken:,} bytes, for which there is no memory; give fewer images") from None
        _fill(flat, file)
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first dimension is the fastest, and type of an array of numbers.

    Raises:
        UserError: it is no array, or one of something else.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        sizes = tuple(shape)
    except Exception as error:  # the header is a text of Python, and whatever is wrong with it ends numpy's reading
        raise UserError(f"{what} is not an array or damaged; write the file with numpy.savez") from error
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise UserError(f"{what} is damaged (its shape is {one_line(str(shape), 80)}); write it again with numpy.savez")
    if dtype.hasobject:
        raise UserError(f"{what} holds Python objects; save it as an array of numbers, all images of one size")
    return sizes, bool(fortran), dtype


def _fill(array: NDArray[np.generic], file: IO[bytes]) -> None:
    """Reads an array from the rest of an entry, past its end too: there its checksum is compared.

    Raises:
        EOFError: there are fewer bytes.
    """
    view = array.view(np.uint8).data if array.size and array.itemsize else memoryview(b"")
    done = 0
    while done < len(view):
        got = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError(f"{done:,} of {len(view):,} bytes")
        done += got
    file.read(1)
