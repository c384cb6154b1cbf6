"""The kinds of damage: one function each, by the material that it changes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from safetensors import SafetensorError

from dnal.run.files import MANIFEST, MODEL
from dnal.run.manifest import sealed, tensor_digests, written

MARKER = "executed"
"""A folder that code in a file would make, if it were run."""
MODULE = "writes_a_marker"

Act = Callable[[Path, Path, random.Random], None]


class Damage(NamedTuple):
    """``act`` changes a thing in place (its path, another one's, random numbers).

    ``rooms``: where it is tried, all that know the material if empty; ``refused``: whether loading must notice.
    """

    act: Act
    rooms: tuple[str, ...] = ()
    refused: bool = True


KINDS: dict[str, dict[str, Damage]] = {}
"""By material, by name."""


def damage(
    material: str, name: str, *, rooms: tuple[str, ...] = (), refused: bool = True, resealed: bool = False
) -> Callable[[Act], Act]:
    """Adds a kind; ``resealed``: the manifest of the run fits it afterwards."""

    def add(act: Act) -> Act:
        def both(thing: Path, other: Path, draw: random.Random) -> None:
            act(thing, other, draw)
            if resealed:
                reseal(thing)

        known = KINDS.setdefault(material, {})
        assert name not in known, name
        known[name] = Damage(both, rooms, refused)
        return act

    return add


def reseal(run: Path) -> None:
    """A manifest that fits the files, as far as it can say anything of them."""
    files: dict[str, Any] = {}
    for name in sealed(run):
        data = (run / name).read_bytes()
        files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    files[MODEL]["tensors"] = {}
    with suppress(SafetensorError):
        files[MODEL]["tensors"] = dict(tensor_digests(run / MODEL))
    (run / MANIFEST).write_text(written(files))


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Another document in a file of YAML or JSON."""
    text = path.read_text()
    if path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(change(yaml.safe_load(text)), sort_keys=False))
    else:
        path.write_text(json.dumps(change(json.loads(text))))


def flip(path: Path, draw: random.Random) -> None:
    """One bit is another one."""
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    """The end of a file is gone."""
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


def worn(path: Path, draw: random.Random) -> None:
    """Any of what disks, editors and bad copies do to a file."""
    data = bytearray(path.read_bytes())
    kind = draw.randrange(7)
    if kind == 0:
        for _ in range(draw.choice((1, 5, 50))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del data[draw.randrange(len(data)) :]
    elif kind == 2:
        data += draw.randbytes(draw.choice((1, 100, 10**5)))
    elif kind == 3:
        data = bytearray(draw.randbytes(draw.choice((1, 100, 10**5))))
    elif kind == 4:
        start = draw.randrange(len(data))
        data[start : start + draw.randrange(1, 200)] = bytes(draw.randrange(1, 200))
    elif kind == 5:
        start = draw.randrange(len(data))
        data[start:start] = data[draw.randrange(len(data)) :][:500]
    else:
        data = bytearray()
    path.write_bytes(data)


def elsewhere(path: Path, draw: random.Random) -> None:
    """No ordinary file any more, or one of another folder."""
    path.unlink()
    kind = draw.randrange(3)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        import os

        os.mkfifo(path)
    else:
        path.symlink_to(draw.choice(("/etc/passwd", "/dev/zero", "../victim", "nowhere", path.name)))


def hostile_json(draw: random.Random) -> str:
    """A document that costs or breaks whoever reads it without care."""
    return draw.choice(
        (
            "[" * 10**5,
            '{"a": ' * 10**5,
            "9" * 10**5,
            "1e999",
            "NaN",
            '"\\ud800"',
            "[" + "1," * 10**6 + "1]",
            '{"phase": "\\udfff", "epoch": 1}',
            "null",
            "[]",
            '"' + "a" * 10**6 + '"',
            "\x00",
            "{}",
        )
    )
