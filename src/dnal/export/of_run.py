"""A finished run as a standard file."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnal import data as dnal_data
from dnal.base.errors import UserError
from dnal.data import Dataset
from dnal.export.format import Run
from dnal.export.formats import format_of
from dnal.export.int8 import quantize_onnx
from dnal.export.metadata import metadata_of
from dnal.export.onnx_file import Onnx
from dnal.export.writing import Exported, check_place, export
from dnal.latency.measure import medians
from dnal.run.change import read_change
from dnal.run.config import Config, read_config
from dnal.run.data import batch_of, data_of
from dnal.run.loading import load, read_result
from dnal.space.surgery.inputs import Inputs

CALIBRATION = 256
"""Training images from which the scales of the activations come."""
CALIBRATION_BATCH = 32


@dataclass(frozen=True)
class Quantized:
    """What 8 bits cost and bring.

    Attributes:
        exported: the check of the file in 32 bits from which the one in 8 bits was made.
        path: the file in 8 bits.
        figures: of "float32" and "int8": accuracy (0 to 1, test data), latency_ms of ``batch`` examples in ONNX Runtime
            on this CPU (medians of interleaved runs), bytes of the file.
    """

    exported: Exported
    path: Path
    batch: int
    figures: dict[str, dict[str, float]]


def default_file(run: str | Path, to: str, *, int8: bool = False) -> Path:
    """Where a run is exported to by default: into its folder. ``dnal learn --overwrite`` replaces it with the
    rest of the run.

    Raises:
        UserError: an unknown format, or one whose packages are missing.
    """
    return Path(run) / f"model{'.int8' if int8 else ''}{format_of(to).suffix}"


def export_run(
    run: str | Path,
    to: str,
    *,
    out: str | Path | None = None,
    trust: Iterable[str] = (),
) -> Exported:
    """Writes the compact network of a finished run as a standard file, checked against the network.

    The metadata tell the model, its input and how images are normalised, the classes, the figures of result.json, the
    architecture and the licence of the base. The data are not needed.

    Args:
        run: the folder.
        to: a name of ``FORMATS``.
        out: the file; default: :func:`default_file`.
        trust: packages whose functions may build the network, as in :func:`dnal.load`.

    Raises:
        UserError: as :func:`dnal.load` and :func:`export`.
    """
    path = Path(out) if out is not None else default_file(run, to)
    config = _checked(run, to, path)
    network = load(run, trust=tuple(trust))
    return _export(run, config, network, to, path)


def quantize_run(
    run: str | Path,
    *,
    out: str | Path | None = None,
    data: str | None = None,
    root: str | Path | None = None,
    trust: Iterable[str] = (),
) -> Quantized:
    """Writes the compact network of a finished run as ONNX in 8-bit integers, calibrated on training images of the
    run, and measures it beside the one in 32 bits.

    Args:
        data, root: where the data are now, as in :func:`dnal.run.evaluate`: they are downloaded only where one of these
            is given. The others are those of :func:`export_run`.

    Raises:
        UserError: as :func:`export_run` and :func:`dnal.data.load`.
    """
    path = Path(out) if out is not None else default_file(run, "onnx", int8=True)
    config = _checked(run, "onnx", path)
    trust = tuple(trust)
    _check_quantizable(config)
    network = load(run, trust=trust)
    # The training images as they are, not augmented; validation and test data are the same either way.
    dataset = data_of(config, data=data, root=root, augment=False, trust=trust)
    with tempfile.TemporaryDirectory() as folder:
        exported = _export(run, config, network, "onnx", Path(folder) / "model.onnx", resizable=False)
        quantize_onnx(exported.path, path, calibration_batches(dataset))
        files = {"float32": exported.path, "int8": path}
        runs = {name: Onnx().runner(file.read_bytes()) for name, file in files.items()}
        test = dnal_data.loaders(dataset, batch_of(config), workers=min(config.workers, os.cpu_count() or 1)).test
        images = config.of_kind.example(config.input, config.deploy_batch_size)
        times = medians([_timed(one, images) for one in runs.values()], least=30, warm_up=5)
        accuracies = accuracies_of(list(runs.values()), test)
        figures = {
            name: {"accuracy": accuracy, "latency_ms": ms, "bytes": file.stat().st_size}
            for (name, file), accuracy, ms in zip(files.items(), accuracies, times, strict=True)
        }
    return Quantized(exported, path, config.deploy_batch_size, figures)


def calibration_batches(dataset: Dataset) -> Iterator[Tensor]:
    """Some training images, spread over the set, in batches as the network takes them."""
    count = min(CALIBRATION, len(dataset.train))
    indices = torch.linspace(0, len(dataset.train) - 1, count).round().long()
    for some in indices.split(CALIBRATION_BATCH):
        yield dataset.train.batch(some, seed=0)[0]


def accuracies_of(runs: list[Run], loader: Iterable[Any]) -> list[float]:
    """Top-1 accuracy of each, 0 to 1."""
    right, seen = [0] * len(runs), 0
    for images, labels in loader:
        seen += len(labels)
        for number, run in enumerate(runs):
            right[number] += int((run(images)[0].argmax(1) == labels).sum())
    return [count / max(1, seen) for count in right]


def _timed(run: Run, images: Inputs) -> Callable[[], float]:
    def once() -> float:
        begun = time.perf_counter()
        run(images)
        return 1e3 * (time.perf_counter() - begun)

    return once


def _checked(run: str | Path, to: str, path: Path) -> Config:
    """The run's configuration; what cannot work is refused before anything is loaded."""
    config = read_config(run)
    read_result(run)
    check_place(path, format_of(to))
    return config


def _export(
    run: str | Path, config: Config, network: nn.Module, to: str, path: Path, *, resizable: bool = True
) -> Exported:
    metadata = metadata_of(config, read_result(run), read_change(Path(run)))
    # Normalised images are about standard normal; zeros are replaced by such noise.
    return export(network, config.of_kind.example(config.input), path, to, metadata=metadata, resizable=resizable)


def _check_quantizable(config: Config) -> None:
    """Refuses a run whose network ONNX Runtime is not given calibration data for, or whose metric is no accuracy."""
    kind = config.of_kind
    if not isinstance(kind.example(config.input), Tensor) or config.aim.metric is not None:
        raise UserError(
            f"8 bits are calibrated for networks of one tensor that tell classes, not for {config.objective} of "
            f"{kind.name}; export it without --quantize."
        )
