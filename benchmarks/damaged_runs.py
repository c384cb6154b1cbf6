"""What does loading do with a run folder that is damaged, or that was made to do harm?

    python benchmarks/damaged_runs.py --out benchmarks/damaged_runs.csv

200 folders, each a copy of a finished run (VGG16 for CIFAR, half of its channels, untrained) with one damage, drawn by
seed. A folder that was made to do harm has a manifest that fits its files (`resealed`). Per kind of damage: how many
were refused and how many loaded; how many of these wrongly (`wrong`); how many did not end in one sentence (`other`);
how many ran something or opened a file outside the folder (`escaped`: Python's audit events); and the worst peak memory
of loading, over that of loading the run as it was. Linux only, for the memory.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import json
import os
import random
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors import SafetensorError

import dnal
from dnal import models
from dnal.architecture import fingerprint
from dnal.learned import Learned
from dnal.run import RunWriter
from dnal.run.files import ARCHITECTURE, CONFIG, LATENCY, LOG, MANIFEST, MODEL, RESULT
from dnal.run.manifest import SEALED, tensor_digests, written
from result_file import append_rows

READ = (CONFIG, ARCHITECTURE, MODEL, MANIFEST)
UNREAD = (LOG, LATENCY, RESULT)
MARKER = "executed"
MODULE = "writes_a_marker"
FIELDS = ("damage", "folders", "refused", "loaded", "wrong", "other", "escaped", "memory_ratio")


class Damage(NamedTuple):
    """``act`` changes a run (its folder, another run's, random numbers); ``refused``: whether loading must notice."""

    act: Callable[[Path, Path, random.Random], None]
    refused: bool = True


KINDS: dict[str, Damage] = {}


def damage(name: str, *, refused: bool = True, resealed: bool = False) -> Callable[[Any], Any]:
    def add(act: Callable[[Path, Path, random.Random], None]) -> Callable[[Path, Path, random.Random], None]:
        def both(run: Path, other: Path, draw: random.Random) -> None:
            act(run, other, draw)
            if resealed:
                reseal(run)

        KINDS[name] = Damage(both, refused)
        return act

    return add


def reseal(run: Path) -> None:
    """A manifest that fits the files, as far as it can say anything of them."""
    files: dict[str, Any] = {}
    for name in SEALED:
        data = (run / name).read_bytes()
        files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    files[MODEL]["tensors"] = {}
    with suppress(SafetensorError):
        files[MODEL]["tensors"] = dict(tensor_digests(run / MODEL))
    (run / MANIFEST).write_text(written(files))


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    text = path.read_text()
    if path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(change(yaml.safe_load(text)), sort_keys=False))
    else:
        path.write_text(json.dumps(change(json.loads(text))))


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


# Damage: the manifest does not know of it.


@damage("bytes flipped")
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(READ)
    for _ in range(draw.choice((1, 1, 5))):
        flip(run / name, draw)


@damage("file cut")
def _(run: Path, other: Path, draw: random.Random) -> None:
    cut(run / draw.choice(READ), draw)


@damage("file longer")
def _(run: Path, other: Path, draw: random.Random) -> None:
    with (run / draw.choice(READ)).open("ab") as file:
        file.write(draw.randbytes(draw.choice((1, 100, 10**6))))


@damage("file missing")
def _(run: Path, other: Path, draw: random.Random) -> None:
    (run / draw.choice(READ)).unlink()


@damage("file empty")
def _(run: Path, other: Path, draw: random.Random) -> None:
    (run / draw.choice(READ)).write_bytes(b"")


@damage("file of another run")
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(READ)
    shutil.copyfile(other / name, run / name)


@damage("other files hurt", refused=False)
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = run / draw.choice(UNREAD)
    path.write_bytes(draw.randbytes(1000))
    draw.choice((flip, cut, lambda path, _: path.unlink(), lambda path, _: path.write_text("[" * 10**5)))(path, draw)


# Not files at all, or not of the folder.


@damage("folder for a file")
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = run / draw.choice(READ)
    path.unlink()
    path.mkdir()


@damage("pipe for a file")
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = run / draw.choice(READ)
    path.unlink()
    os.mkfifo(path)


@damage("link out of the folder")
def _(run: Path, other: Path, draw: random.Random) -> None:
    path = run / draw.choice(READ)
    target = draw.choice(
        ("/etc/passwd", "/dev/zero", str(other / path.name), f"../{other.name}/{path.name}", "nowhere")
    )
    path.unlink()
    path.symlink_to(target)


# Made to do harm: the manifest fits.


@damage("file of another run, resealed", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(SEALED)
    shutil.copyfile(other / name, run / name)


@damage("file cut, resealed", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    # Half of config.yaml may be a whole one: what loading needs stands in its first lines.
    name = draw.choice(SEALED)
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: draw.randrange(60 if name == CONFIG else len(data))])


@damage("header of tensors tells huge shapes", resealed=True)
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


@damage("architecture tells huge shapes", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    def change(document: Any) -> Any:
        name = draw.choice(list(document["tensors"]))
        shape = document["tensors"][name]["shape"] or [1]
        shape[0] = draw.choice((2**30, 2**40, 2**62, 2**70))
        document["tensors"][name] = {"shape": shape}
        shapes = {name: tuple(entry["shape"]) for name, entry in document["tensors"].items()}
        return {**document, "fingerprint": fingerprint(shapes)}

    edit(run / ARCHITECTURE, change)


@damage("config asks for a huge network", resealed=True)
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


@damage("config and architecture agree on a huge network", resealed=True)
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


@damage("names that are paths", resealed=True)
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


@damage("pickle named safetensors", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    import pickle

    if draw.random() < 0.5:
        (run / MODEL).write_bytes(pickle.dumps(_Harm()))
    else:
        torch.save({"weight": _Harm()}, run / MODEL)


@damage("model names code", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    names = (
        "os:system", "os:abort", f"{MODULE}:net", f"{MODULE}.sub:net", "builtins:exec", f".{MODULE}:net", f"{MODULE}:",
        "timm/hf-hub:somebody/network", "timm/local-dir:/etc", "hf-hub:somebody/network", f"{MODULE}:os.getcwd",
        "timm/hf_hub:somebody/network", "torchvision/../os:system", ":", "dnal.models:create",
    )  # fmt: skip
    edit(run / CONFIG, lambda document: {**document, "model": draw.choice(names)})


@damage("YAML that makes objects", resealed=True)
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


@damage("YAML that grows", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    merge = draw.random() < 0.5
    lines = ["a0: &a0 {x: 1}" if merge else "a0: &a0 [1, 1]"]
    for n in range(1, 30):
        of = ", ".join([f"*a{n - 1}"] * 9)
        lines.append(f"a{n}: &a{n} {{<<: [{of}]}}" if merge else f"a{n}: &a{n} [{of}]")
    with (run / CONFIG).open("a") as file:
        file.write("\n".join(lines) + "\n")


@damage("giant numbers", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    digits = "9" * draw.choice((30, 4000, 50_000))
    number = draw.choice((digits, f"-{digits}", f"{digits}.5", f"0x{digits}", "1e999"))
    name = draw.choice((CONFIG, ARCHITECTURE))
    text = (run / name).read_text()
    old, new = ("classes: ", f"classes: {number} #") if name == CONFIG else ('"format":1', f'"format":{number}')
    assert old in text
    (run / name).write_text(text.replace(old, new, 1))


@damage("deep nesting", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    depth = draw.choice((50, 5000, 100_000))
    name = draw.choice((CONFIG, ARCHITECTURE))
    opening, closing = draw.choice((("[", "]"), ('{"a": ', "}")))
    deep = opening * depth + draw.choice(("1", "")) * (opening != "[") + (closing * depth) * draw.choice((0, 1))
    if name == CONFIG:
        (run / name).write_text((run / name).read_text() + f"more: {deep}\n")
    else:
        (run / name).write_text('{"format":' + deep + "}")


@damage("deep nesting of the manifest")
def _(run: Path, other: Path, draw: random.Random) -> None:
    (run / MANIFEST).write_text('{"format": 1, "files": ' + '{"a": ' * draw.choice((50, 5000, 100_000)))


@damage("not a number, or not of the kind", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice((CONFIG, ARCHITECTURE))
    keys = ("model", "input", "classes", "data", "batch_size") if name == CONFIG else (
        "format", "fingerprint", "open", "readers", "tensors"
    )  # fmt: skip
    values = (float("nan"), float("inf"), {"a": [1]}, [[1]], None, -1.5)
    edit(run / name, lambda document: {**document, draw.choice(keys): draw.choice(values)})


@damage("chains of chains", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    """Modules that stand in a network many times over would have names without end."""

    def change(document: Any) -> Any:
        place = next(iter(document["tensors"]))
        parent = place.split(".")[0]
        child = place.split(".")[1]
        return {**document, "bypasses": [["b", [place], [[parent, "chain", [child] * 10_000, 0]]]]}

    edit(run / ARCHITECTURE, change)


@damage("text for tensors", resealed=True)
def _(run: Path, other: Path, draw: random.Random) -> None:
    (run / MODEL).write_bytes(
        draw.choice((b"text", b"{}", b"\0" * 8, struct.pack("<Q", 2) + b"{}", draw.randbytes(99)))
    )


def honest(path: Path, model: str, shape: tuple[int, int, int], classes: int, seed: int = 0) -> None:
    """A finished run of an untrained network with half of its channels."""
    torch.manual_seed(seed)
    network = models.create(model, classes=classes, input_shape=shape)
    space = dnal.Space.of(network, torch.rand(2, *shape))
    architecture = dnal.Architecture.random(space, 0.5, seed=seed)
    figures = {"macs": 1, "params": 1, "accuracy": 0.5, "latency_ms": 1.0}
    learned = Learned(
        dnal.compact(network, architecture).eval(), architecture, space, [], figures, figures, [],
        {"budget": "macs<=50%"}, {"base": 1.0},
    )  # fmt: skip
    job = {
        "model": model, "weights": None, "input": list(shape), "classes": classes, "data": "digits", "root": None,
        "limit_train": None, "batch_size": 8, "workers": 0, "seed": seed,
    }  # fmt: skip
    writer = RunWriter(path, job)
    writer.start({"budget": "macs<=50%", "recipe": "budget", "epochs": [1, 1, 1]})
    writer.finish(learned)


def workplace(folder: Path) -> None:
    """A current directory in which a module waits to be imported."""
    (folder / f"{MODULE}.py").write_text(
        f"import os\nos.mkdir({MARKER!r})\nfrom torch import nn\ndef net():\n    return nn.Linear(1, 1)\n"
    )


class Watch:
    """What loading did that it should not: a process, a connection, a foreign module, a file outside its folder."""

    def __init__(self) -> None:
        self.run: Path | None = None
        self.seen: list[str] = []
        self._own = tuple(str(Path(p).resolve()) for p in (sys.prefix, sys.base_prefix, Path(dnal.__file__).parent))
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.run is None:
            return
        if event in (
            "os.system",
            "subprocess.Popen",
            "os.exec",
            "os.fork",
            "os.mkdir",
            "socket.connect",
            "pickle.find_class",
        ):
            self.seen.append(event)
        elif event == "open" and isinstance(args[0], (str, bytes)):
            path = Path(os.path.abspath(os.fsdecode(args[0])))  # noqa: PTH100 (links are not to be followed here)
            inside = path.parent == self.run or str(path).startswith((*self._own, "/proc/self", "/proc/cpuinfo"))
            if not inside:
                self.seen.append(f"open {path}")


def peak_of(act: Callable[[], object]) -> int:
    """Bytes of memory at the worst moment of an act, beyond what there was before."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    act()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return 1024 * int(line.split()[1])


def attempt(run: Path, watch: Watch, trust: tuple[str, ...] = ()) -> str | None:
    """What loading says: None where it loads, else the sentence; anything else is an error of this project."""
    watch.run = Path(os.path.abspath(run))  # noqa: PTH100
    watch.seen.clear()
    try:
        dnal.load(run, trust=trust)
    except dnal.UserError as error:
        return str(error)
    finally:
        watch.run = None
    return None


def one_sentence(text: str) -> bool:
    return text.isprintable() and 20 < len(text) <= 700 and "Traceback" not in text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/damaged_runs.csv"))
    parser.add_argument("--folders", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out = options.out.resolve()
    torch.set_num_threads(1)
    watch = Watch()
    rows = {kind: dict.fromkeys(FIELDS, 0) | {"damage": kind} for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        workplace(Path(folder))
        good, other, run = Path("good"), Path("other"), Path("run")
        honest(good, "cifar/vgg16_bn", (3, 32, 32), 10)
        honest(other, "cifar/resnet20", (3, 32, 32), 7, seed=1)
        for _ in range(2):  # the first time imports
            assert attempt(good, watch) is None, attempt(good, watch)
        models.names()  # imports the registries, as the first name of one does
        reference = min(peak_of(lambda: attempt(good, watch)) for _ in range(3))
        size = (good / MODEL).stat().st_size
        print(f"loading the run as it was: {reference / 2**20:.1f} MiB for tensors of {size / 2**20:.1f} MiB")
        for number in range(options.folders):
            kind = list(KINDS)[number % len(KINDS)]
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(good, run)
            KINDS[kind].act(run, other, random.Random(f"{options.seed} {number}"))
            said: list[str | None] = []
            row = rows[kind]
            row["folders"] += 1
            try:
                peak = peak_of(lambda said=said: said.append(attempt(run, watch)))
            except Exception as error:
                row["other"] += 1
                print(f"{kind}: {type(error).__name__}: {error}")
                continue
            (sentence,) = said
            row["refused" if sentence else "loaded"] += 1
            row["wrong"] += (sentence is not None) != KINDS[kind].refused
            row["other"] += sentence is not None and not one_sentence(sentence)
            row["escaped"] += bool(watch.seen) or Path(MARKER).exists()
            row["memory_ratio"] = max(row["memory_ratio"], round(peak / reference, 2))
            print(f"{kind}: {peak / reference:.2f} {sentence} {watch.seen or ''}", flush=True)
        os.chdir(out.parent)
    out.unlink(missing_ok=True)
    append_rows(out, FIELDS, list(rows.values()))
    for field in FIELDS[1:-1]:
        print(f"{field}: {sum(row[field] for row in rows.values())}")
    print(f"memory_ratio: at most {max(row['memory_ratio'] for row in rows.values())}")


if __name__ == "__main__":
    main()
