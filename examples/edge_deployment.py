"""From a network to a file on a small device: learn, export to ONNX, 8 bits, and time all of it in ONNX Runtime.

    pip install '.[onnx]'
    python examples/edge_deployment.py
    python examples/edge_deployment.py --data cifar10

The device is stood for by this CPU with one thread. The three files are timed in turn, an image at a time, so that
whatever else the machine does hits all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import dnal

BUDGET = "macs<=25%"
MULTIPLE = 8
"""Widths that suit the vector instructions of most CPUs."""
INPUT = (3, 32, 32)


def make_network() -> nn.Module:
    """Your network."""
    return dnal.models.create("cifar/resnet20", classes=10, input_shape=INPUT)


def session(file: Path) -> onnxruntime.InferenceSession:
    """As on the device: one thread, and no part of PyTorch or dnal."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def outputs(one: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    return one.run(None, {one.get_inputs()[0].name: images})[0]


def accuracy(one: onnxruntime.InferenceSession, test: list[tuple[Tensor, Tensor]]) -> float:
    right = [outputs(one, images.numpy()).argmax(1) == labels.numpy() for images, labels in test]
    return float(np.concatenate(right).mean())


def milliseconds(sessions: list[onnxruntime.InferenceSession], image: np.ndarray, turns: int) -> list[float]:
    """The median of each, over interleaved turns."""
    times: list[list[float]] = [[] for _ in sessions]
    for turn in range(turns + 10):
        for one, own in zip(sessions, times, strict=True):
            begun = time.perf_counter()
            outputs(one, image)
            if turn >= 10:  # before that it warms up
                own.append(1e3 * (time.perf_counter() - begun))
    return [statistics.median(own) for own in times]


def calibration(data: dnal.data.Dataset) -> Iterator[Tensor]:
    """Training images from which the scales of the 8-bit numbers come, as they are."""
    for some in torch.linspace(0, len(data.train) - 1, 256).long().split(32):
        yield data.train.batch(some, seed=0)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn, export, and time a network for a small device.")
    parser.add_argument("--data", default="digits", help="a name of `dnal data`, an .npz file, or a folder of images")
    parser.add_argument("--epochs", type=int, default=4, help="of each of the three phases")
    parser.add_argument("--turns", type=int, default=200, help="how often each file is timed")
    parser.add_argument("--limit-train", type=int, help="use only so many training images")
    parser.add_argument("--out", type=Path, default=Path("runs/edge_deployment"), help="folder for the files")
    args = parser.parse_args()
    torch.manual_seed(0)
    data = dnal.data.load(args.data, input_shape=INPUT, limit_train=args.limit_train)
    train, val, test = dnal.data.loaders(data, 64)

    network = make_network()
    learned = dnal.learn(
        network, train, val, test,
        budget=BUDGET, widths={"divisor": MULTIPLE}, epochs=(args.epochs,) * 3, deployment="backend=onnxruntime-cpu",
    )  # fmt: skip

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(learned.network.state_dict(), args.out / "model.safetensors")
    learned.architecture.save(args.out / "architecture.json")
    image = torch.randn(1, *INPUT)
    base, compact, int8 = (args.out / f"{name}.onnx" for name in ("base", "compact", "compact.int8"))
    dnal.export.to_onnx(network, image, base)  # each file is held against its network before it is there
    dnal.export.to_onnx(learned.network, image, compact)
    plain = dnal.data.load(args.data, input_shape=INPUT, limit_train=args.limit_train, augment=False)
    dnal.export.quantize_onnx(compact, int8, calibration(plain))

    files = {"base": base, "compact": compact, "int8": int8}
    sessions = [session(file) for file in files.values()]
    held_out = list(test)
    times = milliseconds(sessions, held_out[0][0][:1].numpy(), args.turns)

    print(f"{'':10}{'MACs':>12}{'parameters':>12}{'accuracy':>10}")
    for name, figures in (("base", learned.figures.base), ("compact", learned.figures.compact)):
        print(f"{name:10}{figures.macs:>12,}{figures.params:>12,}{figures.metric:>10.1%}")
    print(f"\n{'file':12}{'kB':>8}{'ms an image':>14}{'times as fast':>15}{'accuracy':>10}")
    for (name, file), one, ms in zip(files.items(), sessions, times, strict=True):
        size = file.stat().st_size / 1000
        print(f"{name + '.onnx':12}{size:>8.0f}{ms:>14.3f}{times[0] / ms:>15.2f}{accuracy(one, held_out):>10.1%}")


if __name__ == "__main__":
    main()
