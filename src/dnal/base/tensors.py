"""Tensors as bytes: what goes into a file, and into a checksum.

Files are written tensor by tensor, in the layout of safetensors, to the byte what its own ``save`` makes. That would
hold all tensors three times: as they are, one after another, and as the content of the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

CHUNK = 2**20
"""Bytes that are hashed and written at a time: few enough to be in a processor's cache still."""
SHA256 = "sha256"
DTYPES = (
    ("U64", torch.uint64), ("I64", torch.int64), ("F64", torch.float64), ("C64", torch.complex64),
    ("F32", torch.float32), ("U32", torch.uint32), ("I32", torch.int32), ("BF16", torch.bfloat16),
    ("F16", torch.float16), ("U16", torch.uint16), ("I16", torch.int16), ("F8_E4M3", torch.float8_e4m3fn),
    ("F8_E5M2", torch.float8_e5m2), ("I8", torch.int8), ("U8", torch.uint8), ("BOOL", torch.bool),
)  # fmt: skip
"""In the order in which they lie in a file: what is wider comes first, so that all is aligned."""
_PLACES = {dtype: place for place, (_, dtype) in enumerate(DTYPES)}


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, in the plain order of its numbers."""
    flat = tensor.detach().contiguous().reshape(-1)
    # A single number is contiguous with any stride, and the view below wants 1.
    return flat.as_strided(flat.shape, (1,), flat.storage_offset()).view(torch.uint8).numpy().data


def described(name: str, tensor: Tensor) -> bytes:
    """What a checksum takes in of a tensor before its bytes."""
    return f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()


def stream(
    file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, digest: Any = None
) -> None:
    """Writes a safetensors file of tensors on any device, which may share memory: only the one that is being
    written is there twice.

    Args:
        file: open for writing and at its beginning.
        tensors: by name.
        metadata: texts by name, for the file's header.
        digest: of hashlib; takes in every tensor, sorted by name, as :func:`described` and its bytes. What it has come
            to joins the metadata, under :data:`SHA256`.

    Raises:
        TypeError: a type of numbers that such a file does not know.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _PLACES:
            raise TypeError(f"'{name}' is of {tensor.dtype}, which no safetensors file can hold")
    names = sorted(tensors, key=lambda name: (_PLACES[tensors[name].dtype], name))
    known = dict(metadata or {}) if digest is None else {SHA256: "0" * 2 * digest.digest_size, **(metadata or {})}
    header: dict[str, Any] = {"__metadata__": known} if known else {}
    places, end = {}, 0
    for name in names:
        places[name], tensor = end, tensors[name]
        end += tensor.numel() * tensor.element_size()
        kind = DTYPES[_PLACES[tensor.dtype]][0]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [places[name], end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    at = 0
    for name in sorted(names) if digest is not None else names:  # the order of the checksum, and of the file
        if at != places[name]:
            file.seek(8 + len(text) + places[name])
        if digest is not None:
            digest.update(described(name, tensors[name]))
        _write(file, tensors[name], digest)
        at = places[name] + tensors[name].numel() * tensors[name].element_size()
    if digest is not None:
        file.seek(8 + text.index(f'"{SHA256}":"'.encode()) + len(SHA256) + 4)
        file.write(digest.hexdigest().encode())


def _write(file: BinaryIO, tensor: Tensor, digest: Any) -> None:
    whole = raw(tensor.detach().cpu())
    for start in range(0, len(whole), CHUNK):
        chunk = whole[start : start + CHUNK]
        if digest is not None:
            digest.update(chunk)
        file.write(chunk)
