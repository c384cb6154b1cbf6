"""What would a network of ten billion parameters, ImageNet-21k, 64 nodes and 1,000 trials cost?

From the committed results of this folder and of benchmarks/, by the laws that they show: nothing is measured here. A
power law y = a x^b is fitted by least squares of the logarithms, with the standard error of b and the scatter of the
points; where what is asked lies is told as a multiple of the largest point. Every row says whether it is measured, a
law, or arithmetic on numbers that are assumed, which stand at the top.

PYTHONPATH=benchmarks python benchmarks/speed/scale.py
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from result_file import read_rows, write_rows

SPEED = Path(__file__).parent
PARAMETERS = {
    "torchvision/resnet18": 11.7e6, "torchvision/resnet50": 25.6e6, "torchvision/wide_resnet101_2": 126.9e6,
    "torchvision/densenet121": 8.0e6, "torchvision/mobilenet_v2": 3.5e6, "torchvision/efficientnet_b0": 5.3e6,
    "torchvision/convnext_tiny": 28.6e6, "torchvision/vit_b_16": 86.6e6, "torchvision/vit_l_16": 304.3e6,
    "torchvision/swin_b": 87.8e6, "timm/eva02_small_patch14_224": 22.0e6,
}  # fmt: skip
"""As torchvision and timm state them. A supernet is not among them: what is asked of is an ordinary network."""
LAYERS, WIDTH, HEADS, TOKENS = 48, 4096, 32, 197
"""A plain vision transformer of about ten billion parameters: a fixed choice of shape."""
IMAGES, EPOCHS, SHARE = 14_197_122, (40, 4, 56), 0.3
"""Of ImageNet-21k; the default epochs of the three phases, and the share of the MACs that is left."""
NODES, PER_NODE, RATE, TRIALS = 64, 8, 4e14, 1000
"""Devices of a node, and the operations per second that each is assumed to reach: nothing of it was measured."""


class Law(NamedTuple):
    """y = factor x^power, with the standard error of the power, the points' scatter as a factor, and the largest x."""

    factor: float
    power: float
    error: float
    scatter: float
    largest: float

    def __call__(self, x: float) -> float:
        return float(self.factor * x**self.power)


def law(x: Sequence[float], y: Sequence[float]) -> Law:
    u, v = [math.log(each) for each in x], [math.log(each) for each in y]
    mean, at = statistics.fmean(u), statistics.fmean(v)
    spread = sum((each - mean) ** 2 for each in u)
    power = sum((a - mean) * (b - at) for a, b in zip(u, v, strict=True)) / spread
    rest = [b - at - power * (a - mean) for a, b in zip(u, v, strict=True)]
    deviation = math.sqrt(sum(r * r for r in rest) / (len(x) - 2))
    return Law(math.exp(at - power * mean), power, deviation / math.sqrt(spread), math.exp(deviation), max(x))


def rows() -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    def put(what: str, value: float, unit: str, kind: str, of: str, beyond: float | None = None) -> float:
        text = "" if beyond is None else f"{beyond:.2g}"
        found.append({"what": what, "value": f"{value:.3g}", "unit": unit, "kind": kind, "beyond": text, "of": of})
        return value

    parameters = put("parameters", 12 * LAYERS * WIDTH**2, "", "arithmetic", f"{LAYERS} layers of width {WIDTH}")
    put("variables", LAYERS * (4 * WIDTH + HEADS) + WIDTH, "", "arithmetic", "hidden widths, heads, the stream")
    weights = put("weights", 4e-9 * parameters, "GB", "arithmetic", "32 bits each")

    spaces = [row for row in read_rows(SPEED / "space_of.csv") if row["network"] in PARAMETERS]
    forward = [float(row["forward_seconds"]) for row in spaces]
    analysis = law(forward, [float(row["space_seconds"]) for row in spaces])
    put("Space.of grows with the forward pass to the power", analysis.power, "", "law", "space_of.csv")
    put("standard error of that power", analysis.error, "", "law", "space_of.csv")
    put("scatter of Space.of around it, a factor", analysis.scatter, "", "law", "space_of.csv")
    large = next(row for row in spaces if row["network"] == "torchvision/vit_l_16")
    times = parameters / PARAMETERS["torchvision/vit_l_16"]
    passes = put(
        "forward pass of two images, one core", float(large["forward_seconds"]) * times, "s", "law",
        "space_of.csv, MACs as the parameters of vit_l_16", times,
    )  # fmt: skip
    put(
        "Space.of, one core", analysis(passes) / 60, "min", "law", "space_of.csv", passes / analysis.largest
    )  # fmt: skip
    memory = law([PARAMETERS[row["network"]] for row in spaces], [float(row["peak_mb"]) for row in spaces])
    put("memory of Space.of grows with the parameters to the power", memory.power, "", "law", "space_of.csv")
    put("memory of Space.of by that law", memory(parameters) / 1e3, "GB", "law", "space_of.csv", times)
    put(
        "memory of Space.of, in proportion to vit_l_16's", float(large["peak_mb"]) / 1e3 * times, "GB", "law",
        "space_of.csv", times,
    )  # fmt: skip

    ways = {row["way"]: row for row in read_rows(SPEED / "checkpoints.csv")}
    kept = put("state of a search: weights, momentum, base", 3 * weights, "GB", "arithmetic", "32 bits each")
    per_gb = float(ways["checkpoint"]["computed_seconds"]) / (float(ways["checkpoint"]["mb"]) * 2**20 / 1e9)
    put("one checkpoint, one core", per_gb * kept, "s", "law", "checkpoints.csv", kept / 0.268)
    put("on each device: weights, gradients, momentum, teacher", 4 * weights, "GB", "arithmetic", "32 bits each")

    index = read_rows(SPEED / "folder_index.csv")[-1]
    put("index of the folder", float(index["index_us"]) * IMAGES / 1e6, "s", "law", "folder_index.csv",
        IMAGES / float(index["files"]))  # fmt: skip
    put("fingerprint of the folder", float(index["fingerprint_us"]) * IMAGES / 1e6, "s", "law", "folder_index.csv",
        IMAGES / float(index["files"]))  # fmt: skip

    operations = 2 * parameters * TOKENS
    base, search, retrain = (
        count * IMAGES * operations * each
        for count, each in zip(
            EPOCHS, (3.0, 3.0 * gated_ratio() + 1.0, 3.0 * SHARE + 1.0), strict=True
        )  # the base teaches
    )
    devices = NODES * PER_NODE
    for name, work in (("base", base), ("search, with the teacher", search), ("retraining, with the teacher", retrain)):
        put(name, work / devices / RATE / 3600, "h", "arithmetic", f"{devices} devices at {RATE:.0e} a second")
    one = put("one job", (base + search + retrain) / devices / RATE / 3600, "h", "arithmetic", "the three above")
    put("1,000 trials, each with a base of its own", TRIALS * one / 8766, "years", "arithmetic", "one after another")
    shared = (base + TRIALS * (search + retrain)) / devices / RATE / 3600
    put("1,000 trials from one base", shared / 8766, "years", "arithmetic", "one after another")
    needed = put("images that the base reads", devices * RATE / (3 * operations), "1/s", "arithmetic", "all devices")
    loader = max(float(row["images_per_second"]) for row in read_rows(SPEED / "loader.csv"))
    core = put("images of 224 pixels that a core augments", loader * 32**2 / 224**2, "1/s", "law", "loader.csv", 49)
    put("cores of a node that this takes, without decoding", needed / NODES / core, "", "arithmetic", "the two above")
    return found


def gated_ratio() -> float:
    """The mean over networks of a search's step over a plain one, at the largest batch that each was measured at."""
    largest: dict[str, tuple[int, float]] = {}
    for row in read_rows(SPEED / "gated_step.csv"):
        largest[row["network"]] = max(largest.get(row["network"], (0, 0.0)), (int(row["batch"]), float(row["ratio"])))
    return statistics.fmean(ratio for _, ratio in largest.values())


def line(row: Mapping[str, object]) -> str:
    """A row as docs/scale.md has it."""
    value = f"{row['value']} {row['unit']}".strip()
    return f"| {row['what']} | {value} | {row['kind']} | {row['beyond']} |"


if __name__ == "__main__":
    write_rows(Path(__file__).with_suffix(".csv"), rows())
    for row in rows():
        print(line(row))
