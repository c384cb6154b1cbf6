"""What a report is made of, and where it and exports are written."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from damaged.kinds import damage, edit, elsewhere, hostile_json, worn
from dnal.run.files import ARCHITECTURE, DETAILS, LOG, REPORT


@damage("run", "log, worn", rooms=("report",))
def _(run: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, elsewhere, lambda path, d: path.write_text(hostile_json(d) + "\n")))(run / LOG, draw)


@damage("run", "log that grows the report", rooms=("report",))
def _(run: Path, other: Path, draw: random.Random) -> None:
    count = draw.choice((3000, 20_000, 40_000))
    kind = draw.randrange(5)

    def record(i: int) -> dict[str, Any]:
        if kind == 0:
            return {"phase": f"p{i}", "epoch": 1, "loss": 1.0}
        if kind == 1:
            return {"phase": "architecture", "epoch": i, f"multiplier_{i}": 1.0, "gates": [1, 2]}
        if kind == 2:
            return {"phase": "architecture", "epoch": i, "gates": [1] * 500}
        if kind == 3:
            return {"phase": "base", "epoch": i, "loss": 1.0, "accuracy": 0.5}
        return {"phase": "base", "epoch": i, **{f"k{n}": n for n in range(100)}}

    (run / LOG).write_text("".join(json.dumps(record(i)) + "\n" for i in range(count)))


@damage("run", "log of strange values", rooms=("report",))
def _(run: Path, other: Path, draw: random.Random) -> None:
    value = draw.choice(
        (float("nan"), 10**400, -(10**300), "\ud800", [], {}, None, True, 2**70, "<b>", [1, -1], [0, 0])
    )
    lines = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    key = draw.choice(("loss", "accuracy", "phase", "epoch", "gates", "delta", "macs_hard", "seconds", "limit_macs"))
    for line in draw.sample(lines, draw.randrange(1, len(lines) + 1)):
        line[key] = value
    (run / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))


@damage("run", "details, worn", rooms=("report",))
def _(run: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, elsewhere, lambda path, d: path.write_text(hostile_json(d))))(run / DETAILS, draw)


@damage("run", "details that grow the report", rooms=("report",))
def _(run: Path, other: Path, draw: random.Random) -> None:
    group = {"name": "g", "width": 1, "left": 1, "written_by": ["w"] * 7, "read_by": ["r"] * 7}
    side = {"size": 1, "left": 1, "groups": [0], "reasons": []}
    layer = {"path": "p", "macs": [1, 1], "weights": [{"name": "features.0.weight", "sides": [side]}]}
    many = draw.choice((10**3, 10**4, 10**5))
    grown = draw.choice(
        (
            {"layers": [layer] * many},
            {"groups": [group] * many},
            {"groups": [{**group, "written_by": ["w"] * many}]},
            {"layers": [{**layer, "weights": [{"name": "features.0.weight", "sides": [side] * many}]}]},
            {"groups": [group], "layers": [{**layer, "weights": [{"name": "features.0.weight", "sides": [
                {**side, "groups": [0] * many}]}]}]},
            {"classes": 1000, "confusion": {"base": [[i % 1000, i // 1000 % 1000, 2**60] for i in range(many)]}},
            {"blocks": ["b" * 100] * many},
        )
    )  # fmt: skip
    edit(run / DETAILS, lambda document: {**document, **grown})


@damage("run", "names that are markup", rooms=("report",))
def _(run: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(("<script>alert(1)</script>", "</script>", "\x1b[31m", "a" * 10**5, "\u202e", "{{ 1 }}", "<b>"))

    def change(document: Any) -> Any:
        for layer in document["layers"]:
            layer["path"] = name
        for group in document["groups"]:
            group["name"] = name
        return {**document, "blocks": [name]}

    edit(run / DETAILS, change)


@damage("run", "architecture, worn", rooms=("report", "export"))
def _(run: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, elsewhere, lambda path, d: path.write_text(hostile_json(d))))(run / ARCHITECTURE, draw)


@damage("run", "links where files are written", rooms=("report", "export", "eval"))
def _(run: Path, other: Path, draw: random.Random) -> None:
    """Whatever is written must not go through them."""
    (run / REPORT).unlink(missing_ok=True)
    names = (REPORT, f"{REPORT}.tmp", "model.pt2", "model.pt2.tmp", "model.onnx", "model.onnx.tmp", "model.int8.onnx")
    target = draw.choice(("../victim/precious", "../victim/new", "../victim", "/dev/full", "..", "../victim/keys"))
    for name in names:
        (run / name).symlink_to(target)


@damage("run", "something else where files are written", rooms=("report", "export"))
def _(run: Path, other: Path, draw: random.Random) -> None:
    import os

    for name in (REPORT, "model.pt2"):
        (run / name).unlink(missing_ok=True)
        draw.choice((os.mkfifo, os.mkdir, lambda path: Path(path).write_text("mine")))(run / name)
