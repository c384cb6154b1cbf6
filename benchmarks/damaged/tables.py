"""What `dnal sweep` and `dnal bench` find in a folder that they go on with."""

from __future__ import annotations

import json
import random
from pathlib import Path

from damaged.kinds import damage, elsewhere, hostile_json, worn


@damage("study", "result of a trial")
def _(path: Path, other: Path, draw: random.Random) -> None:
    file = path / "trial-0" / "result.json"
    kinds = (worn, lambda p, d: p.write_text(hostile_json(d)), lambda p, d: p.write_text('{"base":{},"compact":{}}'))
    draw.choice(kinds)(file, draw)


@damage("study", "figures of a trial that are formulas or nothing")
def _(path: Path, other: Path, draw: random.Random) -> None:
    file = path / "trial-0" / "result.json"
    document = json.loads(file.read_text())
    value = draw.choice(("=1+1", "\x1b[31m", None, [], {}, 10**400, "\ud800", float("nan"), "@SUM(A1)"))
    where = draw.choice(("base", "compact", "seconds", "constraints"))
    document[where] = draw.choice((value, {"macs": value}, [{"cost": value, "holds": value}], [value]))
    file.write_text(json.dumps(document))


@damage("study", "files of the sweep")
def _(path: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, elsewhere))(
        path / draw.choice(("sweep.yaml", "trial-0/config.yaml", "trial-0/log.jsonl")), draw
    )


@damage("bench", "files of the benchmark")
def _(path: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, worn, elsewhere))(path / draw.choice(("suite.json", "results.csv")), draw)


@damage("bench", "rows that are none")
def _(path: Path, other: Path, draw: random.Random) -> None:
    file = path / "results.csv"
    heading, first, *_ = file.read_text().splitlines()
    cells = first.split(",")
    for _ in range(draw.choice((1, 1, 4))):
        cells[draw.randrange(len(cells))] = draw.choice(
            (
                "",
                "nan",
                "inf",
                "-1",
                "1e999",
                "=1+1",
                "\x1b[31m",
                "9" * 5000,
                "x",
                '"',
                "\ud83d".encode(errors="ignore").decode(),
            )
        )
    file.write_text(
        "\n".join((heading, draw.choice((first + ",1", ",".join(cells))), "a" * draw.choice((1, 200_000)))) + "\n"
    )


@damage("bench", "row of a finished run")
def _(path: Path, other: Path, draw: random.Random) -> None:
    for file in path.rglob("row.json"):
        draw.choice((worn, elsewhere, lambda p, d: p.write_text(hostile_json(d))))(file, draw)
    (path / "results.csv").unlink()
