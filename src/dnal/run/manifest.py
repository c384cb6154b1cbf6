"""manifest.json: size and SHA-256 of every file that loading reads, so that damage is found and named.

It finds damage, not forgery: a file that is changed on purpose can have a new manifest. That such a folder does no
harm either is the business of :mod:`dnal.run.loading`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from dnal.base.errors import UserError
from dnal.base.reading import REMEDY, content, opened, ordinary
from dnal.base.tensors import raw
from dnal.run.change import change_file
from dnal.run.files import ARCHITECTURE, CONFIG, MANIFEST, MODEL, OF_CHANGES
from dnal.run.limits import LARGEST, MOST_ENTRIES

FORMAT = 1

SEALED = (CONFIG, ARCHITECTURE, MODEL)
"""What loading reads. result.json is not among it: `dnal eval` holds it against the network itself."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Entry(BaseModel):
    """What is known of a file; ``tensors``: SHA-256 of each tensor's bytes by name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    size: Annotated[int, Field(ge=0)]
    sha256: Digest
    tensors: dict[str, Digest] | None = None


class Manifest(BaseModel):
    """manifest.json. ``sha256`` is that of the manifest without it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    files: dict[str, Entry]
    sha256: Digest


def sealed(run: Path) -> tuple[str, ...]:
    """``SEALED`` of a run, with the file that its own change has."""
    return tuple(change_file(run) if name == ARCHITECTURE else name for name in SEALED)


def manifest_of(run: Path) -> str:
    """The text of manifest.json for the files that stand in a run's folder. No time, no path."""
    files: dict[str, Any] = {}
    for name in sealed(run):
        files[name] = {"size": ordinary(run / name), "sha256": _digest(run / name)}
    files[MODEL]["tensors"] = dict(tensor_digests(run / MODEL))
    return written(files)


def written(files: dict[str, Any]) -> str:
    """The text of a manifest with these entries."""
    document = {"format": FORMAT, "files": files}
    digest = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    return json.dumps({**document, "sha256": digest}, indent=1) + "\n"


def read_manifest(run: Path) -> Manifest:
    """manifest.json of a run.

    Raises:
        UserError: it is none, or not as it was written.
    """
    path = run / MANIFEST
    wrong = UserError(f"'{path}' is not a run's manifest; {REMEDY}.")
    text = content(path, LARGEST[MANIFEST])
    if text.count(b",") > MOST_ENTRIES + 100:  # a tensor each, and the rest
        raise wrong
    try:
        found = Manifest.model_validate_json(text)
    except (ValidationError, RecursionError):
        raise wrong from None
    files = found.model_dump(exclude_none=True)["files"]
    changes = set(files) - {CONFIG, MODEL}
    if len(files) != 3 or len(changes) != 1 or not changes <= set(OF_CHANGES) or written(files).encode() != text:
        raise UserError(f"'{path}' is not as the run wrote it; {REMEDY}.")
    return found


def verify(run: Path) -> None:
    """Refuses a folder whose files are not those of its manifest.

    Raises:
        UserError: naming the first tensor that differs, where that can be seen, or else the file.
    """
    manifest, change = read_manifest(run), change_file(run)
    if change not in manifest.files:
        raise UserError(f"'{run / change}' is none of the run's files, as {MANIFEST} tells them; {REMEDY}.")
    for name in manifest.files:
        path, entry = run / name, manifest.files[name]
        size = ordinary(path)
        if size == entry.size and _digest(path) == entry.sha256:
            continue
        tensor = _first_difference(path, entry.tensors or {}) if name == MODEL else None
        if tensor is not None:
            raise UserError(f"'{path}' is not as the run wrote it: {tensor}; {REMEDY}.")
        if size != entry.size:
            raise UserError(f"'{path}' has {size:,} bytes, {MANIFEST} says {entry.size:,}; {REMEDY}.")
        raise UserError(f"'{path}' is not as the run wrote it; {REMEDY}.")


def tensor_digests(path: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of the bytes of each tensor of a safetensors file, by name.

    Raises:
        SafetensorError: it is no such file.
    """
    with safe_open(path, framework="pt") as file:
        for name in sorted(file.keys()):
            yield name, hashlib.sha256(raw(file.get_tensor(name))).hexdigest()


def _digest(path: Path) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_difference(path: Path, expected: dict[str, str]) -> str | None:
    """Which tensor of a damaged file differs first, in words; None where the file tells no tensors."""
    remaining = dict(sorted(expected.items()))
    try:
        for name, digest in tensor_digests(path):
            first = next(iter(remaining), None)
            if first is not None and first < name:
                return f"it has no tensor '{first}'"
            if name not in remaining:
                return f"it has a tensor '{name}', which the run has not"
            if remaining.pop(name) != digest:
                return f"tensor '{name}' has other values"
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError):
        return None  # a file this broken is named as a whole
    return next((f"it has no tensor '{name}'" for name in remaining), None)
