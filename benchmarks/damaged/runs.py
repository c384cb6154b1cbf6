"""Damage to a run's folder: what loading reads of it, by accident and on purpose."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import torch

from damaged.kinds import MARKER, MODULE, cut, damage, edit, flip
from dnal import models
from dnal.architecture.architecture import fingerprint
from dnal.run.files import ARCHITECTURE, CONFIG, LATENCY, LOG, MANIFEST, MODEL, RESULT
from dnal.run.manifest import SEALED

READ = (CONFIG, ARCHITECTURE, MODEL, MANIFEST)
UNREAD = (LOG, LATENCY, RESULT)
READING = ("load", "eval", "export", "report")
"""Commands that only read a run: `--like` does what it asks for, however much that is."""


# Damage: the manifest does not know of it.


@damage("run", "bytes flipped")
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(READ)
    for _ in range(draw.choice((1, 1, 5))):
        flip(run / name, draw)


@damage("run", "file cut")
def _(run: Path, other: Path, draw: random.Random) -> None:
    cut(run / draw.choice(READ), draw)


@damage("run", "file longer")
def _(run: Path, other: Path, draw: random.Random) -> None:
    with (run / draw.choice(READ)).open("ab") as file:
        file.write(draw.randbytes(draw.choice((1, 100, 10**6))))


@damage("run", "file missing")
def _(run: Path, other: Path, draw: random.Random) -> None:
    (run / draw.choice(READ)).unlink()


@damage("run", "file empty")
def _(run: Path, other: Path, draw: random.Random) -> None:
    (run / draw.choice(READ)).write_bytes(b"")


@damage("run", "file of another run")
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(READ)
    shutil.copyfile(other / name, run / name)


@damage("run", "other files hurt", rooms=("load",), refused=False)
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = run / draw.choice(UNREAD)
    path.write_bytes(draw.randbytes(1000))
    draw.choice((flip, cut, lambda path, _: path.unlink(), lambda path, _: path.write_text("[" * 10**5)))(path, draw)


# Not files at all, or not of the folder.


@damage("run", "folder for a file")
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = run / draw.choice(READ)
    path.unlink()
    path.mkdir()


@damage("run", "pipe for a file")
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = run / draw.choice(READ)
    path.unlink()
    os.mkfifo(path)


@damage("run", "link out of the folder")
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = run / draw.choice(READ)
    target = draw.choice(
        ("/etc/passwd", "/dev/zero", str(other / path.name), f"../{other.name}/{path.name}", "nowhere")
    )
    path.unlink()
    path.symlink_to(target)


# Made to do harm: the manifest fits.


@damage("run", "file of another run, resealed", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(SEALED)
    shutil.copyfile(other / name, run / name)


@damage("run", "file cut, resealed", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    # Half of config.yaml may be a whole one: what loading needs stands in its first lines.
    name = draw.choice(SEALED)
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: draw.randrange(60 if name == CONFIG else len(data))])


@damage("run", "header of tensors tells huge shapes", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    data = (run / MODEL).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    name = draw.choice([name for name in header if name != "__metadata__"])
    shape = draw.choice(([2**40], [2**31, 2**31], [2**63, 2**63], [2**20, 2**20, 2**24], [-1], [2**64]))
    header[name]["shape"] = shape
    if draw.random() < 0.5:
        header[name]["data_offsets"][1] = draw.choice((2**40, 2**62, 2**64))
    text = json.dumps(header).encode()
    length = draw.choice((len(text), len(text), 2**40, 2**63))
    (run / MODEL).write_bytes(struct.pack("<Q", length) + text + data[8 + struct.unpack("<Q", data[:8])[0] :])


@damage("run", "architecture tells huge shapes", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    def change(document: Any) -> Any:
        name = draw.choice(list(document["tensors"]))
        shape = document["tensors"][name]["shape"] or [1]
        shape[0] = draw.choice((2**30, 2**40, 2**62, 2**70))
        document["tensors"][name] = {"shape": shape}
        shapes = {name: tuple(entry["shape"]) for name, entry in document["tensors"].items()}
        return {**document, "fingerprint": fingerprint(shapes)}

    edit(run / ARCHITECTURE, change)


@damage("run", "config asks for a huge network", rooms=READING, resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    huge = draw.choice(
        (
            {"classes": 10**7},
            {"classes": 10**18},
            {"classes": 900},
            {"input": [10**6, 32, 32]},
            {"input": [3, 10**6, 10**6]},
            {"model": "timm/vit_giant_patch14_dinov2"},
            {"model": "timm/swin_base_patch4_window7_224", "input": [3, 8192, 8192]},
            {"model": "torchvision/regnet_y_128gf"},
        )
    )
    edit(run / CONFIG, lambda document: {**document, **huge})


@damage("run", "config and architecture agree on a huge network", rooms=READING, resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    """The shapes of a network that is much larger than the file, all in order, with one channel kept where any."""
    model, classes, shape = draw.choice(
        (
            ("torchvision/vgg19", 1000, (3, 224, 224)),
            ("torchvision/wide_resnet101_2", 1000, (3, 224, 224)),
            ("timm/swin_base_patch4_window7_224", 10, (3, 8192, 8192)),
            ("timm/vit_giant_patch14_dinov2", 10, (3, 2240, 2240)),
        )
    )
    with torch.device("meta"):
        network = models.create(model, classes=classes, input_shape=shape)
    shapes = {name: tuple(t.shape) for name, t in [*network.named_parameters(), *network.named_buffers()]}
    tensors = {name: {"shape": list(s), "kept": [[0] if n > 1 else None for n in s]} for name, s in shapes.items()}
    document = {"format": 1, "fingerprint": fingerprint(shapes), "open": "01", "readers": [], "tensors": tensors}
    (run / ARCHITECTURE).write_text(json.dumps(document))
    edit(run / CONFIG, lambda d: {**d, "model": model, "classes": classes, "input": list(shape)})


@damage("run", "names that are paths", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = draw.choice(
        ("/etc/passwd", "../other/model.safetensors", "..", "a/../../b", "\x00", "C:\\x", "file:///etc/passwd")
    )

    def change(document: Any) -> Any:
        where = draw.choice(("tensors", "baked", "sizes", "bypasses"))
        if where == "tensors":
            document["tensors"][path] = document["tensors"].pop(next(iter(document["tensors"])))
            shapes = {name: tuple(entry["shape"]) for name, entry in document["tensors"].items()}
            return {**document, "fingerprint": fingerprint(shapes)}
        values = {
            "baked": [path],
            "sizes": [[path, ["groups", -1], 2, 1, False]],
            "bypasses": [["b", [next(iter(document["tensors"]))], [[path, "chain", [], 0]]]],
        }
        return {**document, where: values[where]}

    if draw.random() < 0.3:
        edit(run / CONFIG, lambda document: {**document, "model": path})
    else:
        edit(run / ARCHITECTURE, change)


class _Harm:
    """Unpickled, it writes the marker."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (MARKER,)


@damage("run", "pickle named safetensors", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    import pickle

    if draw.random() < 0.5:
        (run / MODEL).write_bytes(pickle.dumps(_Harm()))
    else:
        torch.save({"weight": _Harm()}, run / MODEL)


@damage("run", "model names code", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    names = (
        "os:system", "os:abort", f"{MODULE}:net", f"{MODULE}.sub:net", "builtins:exec", f".{MODULE}:net", f"{MODULE}:",
        "timm/hf-hub:somebody/network", "timm/local-dir:/etc", "hf-hub:somebody/network", f"{MODULE}:os.getcwd",
        "timm/hf_hub:somebody/network", "torchvision/../os:system", ":", "dnal.models:create",
    )  # fmt: skip
    edit(run / CONFIG, lambda document: {**document, "model": draw.choice(names)})


@damage("run", "YAML that makes objects", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    harm = draw.choice(
        (
            f"!!python/object/apply:os.mkdir [{MARKER}]",
            f"!!python/object/new:{MODULE}.Net []",
            f"!!python/name:{MODULE}.net",
            "!!binary abc",
            "!!timestamp then",
            "!!int ''",
        )
    )
    text = (run / CONFIG).read_text()
    (run / CONFIG).write_text(text + f"more: {harm}\n")


@damage("run", "YAML that grows", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    merge = draw.random() < 0.5
    lines = ["a0: &a0 {x: 1}" if merge else "a0: &a0 [1, 1]"]
    for n in range(1, 30):
        of = ", ".join([f"*a{n - 1}"] * 9)
        lines.append(f"a{n}: &a{n} {{<<: [{of}]}}" if merge else f"a{n}: &a{n} [{of}]")
    with (run / CONFIG).open("a") as file:
        file.write("\n".join(lines) + "\n")


@damage("run", "giant numbers", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    digits = "9" * draw.choice((30, 4000, 50_000))
    number = draw.choice((digits, f"-{digits}", f"{digits}.5", f"0x{digits}", "1e999"))
    name = draw.choice((CONFIG, ARCHITECTURE))
    text = (run / name).read_text()
    old, new = ("classes: ", f"classes: {number} #") if name == CONFIG else ('"format":1', f'"format":{number}')
    assert old in text
    (run / name).write_text(text.replace(old, new, 1))


@damage("run", "deep nesting", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    depth = draw.choice((50, 5000, 100_000))
    name = draw.choice((CONFIG, ARCHITECTURE))
    opening, closing = draw.choice((("[", "]"), ('{"a": ', "}")))
    deep = opening * depth + draw.choice(("1", "")) * (opening != "[") + (closing * depth) * draw.choice((0, 1))
    if name == CONFIG:
        (run / name).write_text((run / name).read_text() + f"more: {deep}\n")
    else:
        (run / name).write_text('{"format":' + deep + "}")


@damage("run", "deep nesting of the manifest")
def _(run: Path, other: Path, draw: random.Random) -> None:
    (run / MANIFEST).write_text('{"format": 1, "files": ' + '{"a": ' * draw.choice((50, 5000, 100_000)))


@damage("run", "not a number, or not of the kind", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice((CONFIG, ARCHITECTURE))
    keys = ("model", "input", "classes", "data", "batch_size") if name == CONFIG else (
        "format", "fingerprint", "open", "readers", "tensors"
    )  # fmt: skip
    values = (float("nan"), float("inf"), {"a": [1]}, [[1]], None, -1.5)
    edit(run / name, lambda document: {**document, draw.choice(keys): draw.choice(values)})


@damage("run", "chains of chains", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    """Modules that stand in a network many times over would have names without end."""

    def change(document: Any) -> Any:
        place = next(iter(document["tensors"]))
        parent = place.split(".")[0]
        child = place.split(".")[1]
        return {**document, "bypasses": [["b", [place], [[parent, "chain", [child] * 10_000, 0]]]]}

    edit(run / ARCHITECTURE, change)


@damage("run", "text for tensors", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    (run / MODEL).write_bytes(
        draw.choice((b"text", b"{}", b"\0" * 8, struct.pack("<Q", 2) + b"{}", draw.randbytes(99)))
    )
