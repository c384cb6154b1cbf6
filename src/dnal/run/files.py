"""The files of a run folder, and how they are written: whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dnal.base.atomic import write_through
from dnal.base.claim import LOCK as LOCK
from dnal.base.tensors import stream
from dnal.changes import CHANGES
from dnal.loggers.names import BOARD, LOGGERS
from dnal.train.resume.checkpoint import BEFORE as BEFORE
from dnal.train.resume.checkpoint import LAST as LAST

RUNS = Path("runs")
"""Where runs go by default."""
CONFIG = "config.yaml"
LATENCY = "latency.json"
LOG = "log.jsonl"
ARCHITECTURE = "architecture.json"
MODEL = "model.safetensors"
BASE = "base.safetensors"
MANIFEST = "manifest.json"
SHAPE = "shape.txt"
DETAILS = "details.json"
RESULT = "result.json"
REPORT = "report.html"
ANALYSIS = "analysis"
"""A folder with what `dnal analyse` made of the run, or beside several runs of theirs, and ..."""
ANALYSIS_PAGE = "analysis.html"
"""... the page in it."""
TRADE_OFF = "trade_off.json"
"""In the folder of a trade-off, until all its runs are begun."""
SEARCH = "search.json"
"""What makes the folder of a search: what it was asked for; and beside it the networks that it trained, ..."""
CANDIDATES = "candidates.jsonl"
MEASURED = "measured.jsonl"
"""... what was measured of them by a clock, ..."""
GENOME = "genome.txt"
"""... and the name of the best."""
OF_SEARCH = (SEARCH, CANDIDATES, MEASURED, GENOME)
EXPORTS = ("model.onnx", "model.int8.onnx", "model.pt2")
"""Made from a finished run on request; they go with it when another takes its place."""
OF_CHANGES = tuple(kind.file for kind in CHANGES)
"""One of them is in a folder: what the method did to the network."""
FILES = (
    CONFIG, LATENCY, LOG, LAST, BEFORE, *OF_CHANGES, MODEL, BASE, MANIFEST, SHAPE, *EXPORTS, REPORT, DETAILS,
    LOGGERS, RESULT, LOCK,
)  # fmt: skip
HUGGING_FACE = "hf"
"""A folder with the network as transformers reads it, made on request like the files of EXPORTS."""
FOLDERS = (BOARD, ANALYSIS, HUGGING_FACE)


def runs_in(path: Path) -> list[Path]:
    """The run folders in a folder, by name; ``path`` itself where it is one."""
    return [path] if (path / CONFIG).exists() else sorted(config.parent for config in path.glob(f"*/{CONFIG}"))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A file of tensors, atomically."""
    write_through(path, lambda file: stream(file, tensors))
