"""Files of text that are given by themselves: lists of shapes, and the configurations of sweeps."""

from __future__ import annotations

import random
from pathlib import Path

from damaged.kinds import damage, elsewhere, worn

GIANTS = (
    "timm/vit_giant_patch14_dinov2, 10 classes, images 3x224x224",
    "torchvision/regnet_y_128gf, 10 classes, images 3x224x224",
    "timm/swin_large_patch4_window7_224, 10 classes, images 3x1024x1024",
    "torchvision/vgg19, 65536 classes, images 3x224x224",
    "vgg_small, 10 classes, images 1x2048x2048",
    "supernet/proxyless, 1000 classes, images 3x1024x1024",
    "vgg_small, 10 classes, images 1x1x1",
)


@damage("shape", "shapes, worn")
def _(path: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, worn, worn, elsewhere))(path, draw)


@damage("shape", "shapes of a giant")
def _(path: Path, other: Path, draw: random.Random) -> None:
    lines = path.read_text().splitlines()
    lines[1] = f"model {draw.choice(GIANTS)}"
    path.write_text("\n".join(lines if draw.random() < 0.5 else lines[:2]) + "\n")


@damage("shape", "a giant that its own lines hide")
def _(path: Path, other: Path, draw: random.Random) -> None:
    """What is gone has no line, so it could be as large as it likes."""
    text = draw.choice(
        (
            "model timm/vit_giant_patch14_dinov2, 10 classes, images 3x224x224\nzero blocks\nabsent a\n",
            "model torchvision/vgg19, 10 classes, images 3x224x224\nchain features\nchain classifier\n",
            "model torchvision/regnet_y_128gf, 10 classes, images 3x224x224\nzero trunk_output\nzero stem\nzero fc\n",
        )
    )
    path.write_text("dnal shape 1\n" + text)


@damage("shape", "lines without end")
def _(path: Path, other: Path, draw: random.Random) -> None:
    line, count = draw.choice(
        (
            ("absent a\n", 10**5), ("absent a{}\n", 10**5), ("plain p{}\n", 10**5), ("chain a{}: b c\n", 10**5),
            ("number n{} x 64 -> 48\n", 10**5), ("l{}: weight = 8x8 of 16x16\n", 10**5), ("#\n", 10**6), ("\n", 10**6),
            ("absent " + "a." * 1000 + "{}\n", 1000), ("x: w = " + "9x" * 60 + "9\n", 1000), ("absent a\n", 10**6),
        )
    )  # fmt: skip
    with path.open("a") as file:
        file.write("".join(line.format(i) for i in range(count)))


@damage("shape", "names that are paths or code, in shapes")
def _(path: Path, other: Path, draw: random.Random) -> None:
    name = draw.choice(
        ("os:system", "writes_a_marker:net", "timm/hf-hub:a/b", "/etc/passwd", "..", "timm/local-dir:/etc")
    )
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace(lines[1].split()[1], f"{name},")
    path.write_text(
        "\n".join([*lines, draw.choice(("", "zero .", "zero ../x", "chain __class__", "first 0: 99"))]) + "\n"
    )


@damage("shape", "numbers that fit nothing")
def _(path: Path, other: Path, draw: random.Random) -> None:
    text = path.read_text()
    digits = [i for i, c in enumerate(text) if c.isdigit() and i > 12]
    for _ in range(draw.choice((1, 1, 3))):
        at = draw.choice(digits)
        new = draw.choice(("0", "1", "9", "99", "999999999999999999", "", "-1", "x", "16x16"))
        text = text[:at] + new + text[at + 1 :]
    path.write_text(text)


@damage("sweep.yaml", "sweep, worn")
def _(path: Path, other: Path, draw: random.Random) -> None:
    draw.choice((worn, worn, worn, elsewhere))(path, draw)


@damage("sweep.yaml", "sweep that grows")
def _(path: Path, other: Path, draw: random.Random) -> None:
    path.write_text(
        draw.choice(
            (
                "job: {model: vgg_small}\ngrid:\n" + "".join(f"  k{i}: [1, 2, 3]\n" for i in range(40)),
                "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)),
                "job: {data: digits}\ngrid: {seed: [" + "1," * 10**6 + "1]}\n",
                "job: {data: digits}\nrandom: {trials: 1000000000, lr: {uniform: [0, 1]}}\n",
                "job: " + "[" * 10**5,
                "job: {a: " * 5000,
                "job: {seed: " + "1:" * 10**5 + "1}\n",
                "grid: {seed: [" + "9" * 10**5 + "]}\n",
            )
        )
    )


@damage("sweep.yaml", "sweep of strange options")
def _(path: Path, other: Path, draw: random.Random) -> None:
    value = draw.choice(
        ("!!python/object/apply:os.mkdir [executed]", "!!python/name:os.system", '"\\ud800"', '"\\e[31m"', ".nan",
         ".inf", "[[1]]", "{a: 1}", "null", "2001-01-01", "!!binary aGk=", "=1+1", "-x", "--help", "'; rm -rf /'",
         "1e400")
    )  # fmt: skip
    key = draw.choice(("model", "data", "seed", "budget", "out", "trust", "odd", "include"))
    path.write_text(f"job: {{model: vgg_small, data: digits, {key}: {value}}}\ngrid: {{seed: [0]}}\n")
