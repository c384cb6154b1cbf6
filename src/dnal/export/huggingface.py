"""A run's network as a folder that transformers' from_pretrained reads, where a configuration says its widths."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnal import models
from dnal.base.atomic import refusal, write_bytes
from dnal.base.errors import UserError, one_line, reason_of
from dnal.export.inputs import varied
from dnal.export.quiet import quiet
from dnal.export.writing import BATCHES, Exported, difference
from dnal.models.huggingface.place import library
from dnal.models.huggingface.widths import said
from dnal.run.config import Config, read_config
from dnal.run.files import HUGGING_FACE
from dnal.run.loading import load, read_result
from dnal.space.surgery.running import call
from dnal.train.outputs import logits_of

FOLDER = HUGGING_FACE
"""How a user asks for it, and the folder in the run."""
FILES = ("config.json", "model.safetensors")
CLOSE = 1e-5
"""Largest difference of the logits, relative to the largest of them."""


def export_folder(run: str | Path, *, out: str | Path | None = None, trust: Iterable[str] = ()) -> Exported:
    """Writes the compact network of a finished run of an ``hf/`` model as config.json and model.safetensors, read back
    by transformers and compared with the network before they take their place.

    Args:
        run: the folder.
        out: the folder to write; default: ``hf`` in the run. It may hold these two files, which are replaced.
        trust: as in :func:`dnal.load`.

    Raises:
        UserError: as :func:`dnal.load`; another model; widths that no configuration says, naming a layer; a place that
            cannot be written.
    """
    path = Path(out) if out is not None else Path(run) / FOLDER
    config = read_config(run)
    read_result(run)
    if not models.is_written_out(config.model):
        raise UserError(
            f"a folder of Hugging Face is made of a run whose model was hf/FOLDER, not "
            f"'{one_line(config.model, 60)}'; export it to onnx or pt2."
        )
    _check_place(path)
    small = load(run, trust=tuple(trust))
    with quiet():
        network = _plain(config, small)
        written, found = _written(config, network, small)
    try:
        path.mkdir(exist_ok=True)
        for name in FILES:
            write_bytes(path / name, written[name])
    except OSError as error:
        raise UserError(f"'{path}' cannot be written ({refusal(error)}); choose another place with --out.") from None
    return Exported(path, found)


def _plain(config: Config, small: nn.Module) -> Any:
    """The same network as transformers builds it from its own configuration."""
    shapes = {name: tuple(tensor.shape) for name, tensor in small.state_dict().items()}
    configuration = models.configuration_of(config.model)
    own = said(configuration, config.classes, config.input, shapes)
    own.architectures = [configuration.architecture]
    if len(config.class_names) == config.classes:
        own.id2label = dict(enumerate(config.class_names))
        own.label2id = {name: number for number, name in own.id2label.items()}
    with torch.random.fork_rng(devices=[]):
        network = getattr(library(), configuration.architecture)._from_config(own)
    network.load_state_dict(small.state_dict())
    return network.eval()


def _written(config: Config, network: Any, small: nn.Module) -> tuple[dict[str, bytes], dict[int, float]]:
    """The bytes of the files, and the largest difference per batch of what transformers reads of them."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            network.save_pretrained(folder)
            again = type(network).from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        except Exception as error:  # whatever it meets
            raise UserError(
                f"transformers cannot write and read this network ({reason_of(error, 160)}); export it to onnx or pt2."
            ) from error
        found = {}
        for batch in BATCHES:
            inputs = varied(config.of_kind.example(config.input), batch)
            expected, got = (logits_of(call(one, inputs)) for one in (small, again))
            found[batch] = difference(*([t.detach()] for t in (expected, got) if isinstance(t, Tensor)))
            if not found[batch] <= CLOSE:
                raise UserError(
                    f"what transformers reads of the folder computes something else: its logits differ by "
                    f"{found[batch]:.1e} of the largest; nothing was written, export it to onnx or pt2."
                )
        return {name: (Path(folder) / name).read_bytes() for name in FILES}, found


def _check_place(path: Path) -> None:
    if os.path.lexists(path):
        if not path.is_dir() or path.is_symlink():
            raise UserError(f"'{path}' is no folder; choose another place with --out.")
        others = sorted(entry.name for entry in path.iterdir() if entry.name not in FILES)
        if others:
            raise UserError(f"'{path}' holds other files ('{others[0]}'); choose another place with --out.")
    elif not path.parent.is_dir():
        raise UserError(f"there is no folder '{path.parent}' for '{path.name}'; make it first.")
