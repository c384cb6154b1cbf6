"""What config.yaml, and the figures beside it, may ask of the commands that measure, write and show."""

from __future__ import annotations

import random
from pathlib import Path

from damaged.kinds import MODULE, damage, edit, elsewhere, hostile_json, worn
from dnal.run.files import CONFIG, RESULT

SHOWING = ("eval", "export", "report", "like", "resume")


@damage("run", "config asks for much memory or time", rooms=SHOWING, resealed=True)
@damage("unfinished", "config asks for much memory or time")
def _(run: Path, other: Path, draw: random.Random) -> None:
    much = draw.choice(
        (
            {"deploy_batch_size": draw.choice((5000, 2 * 10**5, 2**62, -1, 0))},
            {"input": draw.choice(([1, 4096, 4096], [1, 2**40, 8], [1, 1, 10**9], [0, 8, 8], [1, 2**21, 3]))},
            {"batch_size": draw.choice((10**9, 2**62, 0))},
            {"workers": draw.choice((10**6, 2**40, -1))},
            {"seed": draw.choice((2**32, 2**40, -1, 2**64, 2**70)), "limit_train": 9},
            {"limit_train": draw.choice((2**40, 2**62, -1))},
            {"classes": draw.choice((2**16, 2**40, 0))},
            {"class_names": ["name"] * draw.choice((11, 10**5))},
            {"epochs": draw.choice(([10**9, 1, 1], [2**62] * 3, [-1, 1, 1]))},
            {"threads": draw.choice((10**6, 2**40, -1))},
        )
    )
    edit(run / CONFIG, lambda document: {**document, **much})


@damage("run", "config is shown, not obeyed", rooms=SHOWING, resealed=True)
@damage("unfinished", "config is shown, not obeyed")
def _(run: Path, other: Path, draw: random.Random) -> None:
    text = draw.choice(
        (
            "\x1b]0;owned\x07\x1b[2J", "[red]markup[/red]", "[/]", "<script>alert(1)</script>", "</script><script>",
            "{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "\u202egnp.exe", "a\nb\rc", "x" * 3000, "x" * 9000, "%s%n",
            "", "=cmd|' /C calc'!A0", "\ufeff", "\x85\u2028", "javascript:alert(1)",
        )
    )  # fmt: skip
    key = draw.choice(("data", "root", "model", "weights", "backend", "class_names", "budget", "note", "method"))
    edit(run / CONFIG, lambda document: {**document, key: [text] * 10 if key == "class_names" else text})


@damage("run", "config names other data", rooms=("eval", "like"), resealed=True)
@damage("unfinished", "config names other data")
def _(run: Path, other: Path, draw: random.Random) -> None:
    where = draw.choice(
        (
            {"data": "cifar10", "root": "theirs"},
            {"data": "fashion-mnist", "root": "../victim"},
            {"data": "cifar100"},
            {"data": "/etc"},
            {"data": "/dev/zero.npz"},
            {"data": "../victim/precious.npz"},
            {"data": "~nobody-here/x.npz"},
            {"data": "x" * 300},
            {"data": "a\x00b"},
            {"data": "https://example.org/x.npz"},
            {"data": ".", "input": [1, 8, 8]},
            {"data": f"{MODULE}:images"},
            {"data": f"{MODULE}.sub:images"},
        )
    )
    edit(run / CONFIG, lambda document: {**document, **where})


@damage("run", "config names pretrained weights", rooms=("eval", "like"), resealed=True)
@damage("unfinished", "config names pretrained weights")
def _(run: Path, other: Path, draw: random.Random) -> None:
    model = draw.choice(("torchvision/mobilenet_v3_small", "torchvision/squeezenet1_1", "timm/mobilenetv3_small_050"))
    wish = {"weights": "pretrained", "model": model, "input": [3, 64, 64], "data_sha256": None}
    edit(run / CONFIG, lambda document: {**document, **wish})


@damage("run", "half of a character in config", rooms=SHOWING, resealed=True)
@damage("unfinished", "half of a character in config")
def _(run: Path, other: Path, draw: random.Random) -> None:
    key = draw.choice(("data", "root", "note", "class_names"))
    value = '["\\ud800"]' if key == "class_names" else '"\\udfff"'
    lines = [line for line in (run / CONFIG).read_text().splitlines() if not line.startswith((f"{key}:", "- "))]
    (run / CONFIG).write_text("\n".join([*lines, f"{key}: {value}"]) + "\n")


@damage("run", "config, worn", rooms=("export", "report", "like", "eval"))
@damage("unfinished", "config, worn")
def _(run: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, worn, elsewhere))(run / CONFIG, draw)


@damage("run", "result is none", rooms=("eval", "export", "report"))
def _(run: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, elsewhere, lambda path, d: path.write_text(hostile_json(d))))(run / RESULT, draw)


@damage("run", "result of strange figures", rooms=("eval", "export", "report"))
def _(run: Path, other: Path, draw: random.Random) -> None:
    value = draw.choice((None, float("nan"), 10**400, -1, "text", [], {}, True, 1e308, "\ud800"))
    group = draw.choice(("base", "compact", "constraints", "seconds", "budget", "method"))
    key = draw.choice(("macs", "accuracy", "latency_ms", "memory"))

    def change(document: dict[str, object]) -> dict[str, object]:
        inner = document.get(group)
        if isinstance(inner, dict) and draw.random() < 0.7:
            return {**document, group: {**inner, key: value}}
        return {**document, group: value}

    edit(run / RESULT, change)
