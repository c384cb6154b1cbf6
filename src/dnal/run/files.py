"""The files of a run folder, and how they are written: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

CONFIG = "config.yaml"
LATENCY = "latency.json"
LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_PROGRESS = "checkpoint.json"
ARCHITECTURE = "architecture.json"
MODEL = "model.safetensors"
RESULT = "result.json"
FILES = (CONFIG, LATENCY, LOG, CHECKPOINT, CHECKPOINT_PROGRESS, ARCHITECTURE, MODEL, RESULT)


def temporary_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")


def atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Lets ``write`` fill a temporary file, and puts that in the place of ``path`` once it is on the disk."""
    temporary = temporary_of(path)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files for their owner alone; a run's files are like any other
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    atomic(path, write)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    # safetensors refuses tensors that share memory: every name gets its own copy, and every name is in the file.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    atomic(path, lambda temporary: save_file(copies, temporary, metadata))
