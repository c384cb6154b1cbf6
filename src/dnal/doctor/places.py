"""The folders that dnal and what it builds on write into: their space, and whether they can be written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from dnal.base.atomic import refusal
from dnal.latency import cache
from dnal.run.files import RUNS


def places() -> list[dict[str, Any]]:
    """what is there, its path, free_bytes, refusal: what the system said to a file of some bytes (else ""), and the
    remedy for that. A folder that is not there yet is judged by the nearest one above it."""
    known = [
        ("runs", RUNS, "go to another directory, or use --out"),
        ("data and timings", cache.directory(), "set XDG_CACHE_HOME to a folder that can"),
        ("pretrained weights", Path(torch.hub.get_dir()), "set TORCH_HOME to a folder that can"),
        ("temporary files", _temporary(), "set TMPDIR to a folder that can"),
    ]
    return [{"what": what, **place(path), "remedy": remedy} for what, path, remedy in known]


def place(path: Path) -> dict[str, Any]:
    """path, free_bytes and refusal of one folder."""
    path = path.absolute()
    folder = next(ancestor for ancestor in (path, *path.parents) if ancestor.exists())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"dnal")
    except OSError as error:
        return {"path": str(path), "free_bytes": None, "refusal": refusal(error)}
    return {"path": str(path), "free_bytes": shutil.disk_usage(folder).free, "refusal": ""}


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # no folder at all can be written
        return Path("/tmp")
