"""What `dnal resume` and `--like` read of a run that is not finished: checkpoints, and a latency model."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from damaged.kinds import damage, elsewhere, hostile_json, worn
from dnal.run.files import LATENCY, LOG
from dnal.train.resume.checkpoint import BEFORE, LAST, _digest, _read
from dnal.train.resume.tree import packed


@damage("unfinished", "checkpoint, worn")
def _(run: Path, other: Path, draw: random.Random) -> None:
    for name in draw.choice(((LAST,), (LAST, BEFORE))):
        if (run / name).exists():
            draw.choice((worn, worn, worn, elsewhere))(run / name, draw)


@damage("unfinished", "checkpoint that says other things")
def _(run: Path, other: Path, draw: random.Random) -> None:
    """Its checksum fits: whoever forged it wrote that too."""
    tree = _read(run / LAST)
    strange = draw.choice((None, 0, -1, "text", [], {}, torch.zeros(3), [[1]], 2**70, float("nan"), True))

    def changed(node: Any, depth: int) -> Any:
        if isinstance(node, dict) and node:
            key = draw.choice(list(node))
            if depth and isinstance(node[key], (dict, list, tuple)) and node[key]:
                return {**node, key: changed(node[key], depth - 1)}
            if draw.random() < 0.5:
                return {k: v for k, v in node.items() if k != key}
            return {**node, key: strange}
        if isinstance(node, (list, tuple)) and node:
            at = draw.randrange(len(node))
            parts = list(node)
            parts[at] = changed(parts[at], depth - 1) if depth else strange
            return type(node)(parts)
        return strange

    forge(run / LAST, changed(tree, draw.randrange(5)))
    (run / BEFORE).unlink(missing_ok=True)


@damage("unfinished", "checkpoint that is no state")
def _(run: Path, other: Path, draw: random.Random) -> None:
    text = draw.choice(
        ('{"tensor": "9"}', '{"dict": [[{"dict": []}, 1]]}', "[" * 10**5, '{"float": "x"}', '{"odd": 1}', "5", "null",
         '{"dict": [["phase", "base"]]}', '{"tuple": {}}', '{"dict": [["phase", "\\ud800"]]}', '{"a": 1, "b": 2}')
    )  # fmt: skip
    tensors = {"0": torch.zeros(2)}
    metadata = {"state": text, "sha256": _digest(tensors, text)}
    if draw.random() < 0.2:
        metadata = draw.choice(({}, {"state": text}, {"sha256": metadata["sha256"]}))
    save_file(tensors, run / LAST, metadata or None)
    (run / BEFORE).unlink(missing_ok=True)


@damage("unfinished", "checkpoint of another job")
def _(run: Path, other: Path, draw: random.Random) -> None:
    tree = _read(run / LAST)
    with safe_open(run / LAST, framework="pt") as file:
        assert file.metadata()
    for name, value in tree["parts"]["network"].items() if "network" in tree["parts"] else ():
        if draw.random() < 0.3 and isinstance(value, torch.Tensor) and value.dim():
            tree["parts"]["network"][name] = value.repeat(2, *(1,) * (value.dim() - 1))
    tree["job"][draw.choice(list(tree["job"]))] = draw.choice(("other", 0, None, [1]))
    forge(run / LAST, tree)
    (run / BEFORE).unlink(missing_ok=True)


@damage("unfinished", "log of a killed run")
def _(run: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, elsewhere, lambda path, d: path.write_text(hostile_json(d))))(run / LOG, draw)


@damage("unfinished", "latency model, worn")
@damage("latency", "latency model, worn")
def _(run: Path, other: Path, draw: random.Random) -> None:
    shutil.copyfile(other / LATENCY, run / LATENCY)
    draw.choice((worn, worn, elsewhere, lambda path, d: path.write_text(hostile_json(d))))(run / LATENCY, draw)


@damage("latency", "latency model of strange values")
def _(run: Path, other: Path, draw: random.Random) -> None:
    shutil.copyfile(other / LATENCY, run / LATENCY)
    strange = draw.choice(
        (None, 0, -1, "text", [], {}, [[1]], 2**70, 10**308, True, [0, 0], {"a": 1}, 1e-320, [None], "\ud800")
    )
    document = json.loads((run / LATENCY).read_text())
    node: Any = document
    for _ in range(draw.randrange(1, 6)):
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        if not keys:
            break
        key = draw.choice(list(keys))
        if not isinstance(node[key], (dict, list)) or draw.random() < 0.3:
            node[key] = strange
            break
        node = node[key]
    (run / LATENCY).write_text(json.dumps(document))


def forge(path: Path, tree: Any) -> None:
    """A checkpoint with a checksum that fits."""
    tensors, document = packed(tree)
    copies = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(document, separators=(",", ":"))
    save_file(copies, path, {"state": text, "sha256": _digest(copies, text)})
