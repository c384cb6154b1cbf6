"""Readers of files that may be anybody's: whatever stands there is read, or refused in one sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

import dnal
from dnal import models
from dnal.base.errors import UserError
from dnal.data.images.npz import read_npz
from dnal.latency import LatencyModel
from dnal.report.page import page
from dnal.report.source import read_source
from dnal.run import load, read_config, read_result
from dnal.run.details import read_details
from dnal.run.files import ARCHITECTURE, CONFIG, DETAILS, LATENCY, LOG, MANIFEST, MODEL, RESULT, SHAPE
from dnal.run.manifest import verify
from dnal.run.repeat import recorded
from dnal.run.shape import read_shape
from dnal.sweep.configuration import read_sweep
from dnal.train.resume.checkpoint import LAST, Checkpoints
from dnal.train.resume.checkpointer import Checkpointer

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")
pytestmark = pytest.mark.slow


class Reader(NamedTuple):
    """``read`` takes a run's folder, in which the file of this ``name`` was changed."""

    name: str
    read: Callable[[Path], object]


READERS = {
    "config": Reader(CONFIG, read_config),
    "recorded": Reader(CONFIG, recorded),
    "result": Reader(RESULT, read_result),
    "manifest": Reader(MANIFEST, verify),
    "architecture": Reader(ARCHITECTURE, lambda run: dnal.Architecture.load(run / ARCHITECTURE)),
    "details": Reader(DETAILS, read_details),
    "details in a report": Reader(DETAILS, lambda run: page([read_source(run)])),
    "log in a report": Reader(LOG, lambda run: page([read_source(run)])),
    "result in a report": Reader(RESULT, lambda run: page([read_source(run)])),
    "shape": Reader(SHAPE, lambda run: read_shape(run / SHAPE)),
    "network of a shape": Reader(SHAPE, lambda run: load(run / SHAPE)),
    "latency": Reader(LATENCY, lambda run: LatencyModel.load(run / LATENCY)),
    "weights": Reader(
        MODEL,
        lambda run: models.load_weights(models.create("vgg_small", classes=10, input_shape=(1, 8, 8)), run / MODEL),
    ),
    "checkpoint": Reader(LAST, lambda run: Checkpointer([], Checkpoints(run)).phase),
    "sweep": Reader("sweep.yaml", lambda run: read_sweep(run / "sweep.yaml")),
    "npz": Reader("arrays.npz", lambda run: read_npz(run / "arrays.npz")),
}
NUMBERS = st.one_of(
    st.integers(), st.integers(2**60, 2**70), st.floats(), st.sampled_from([0, -1, 1e308, 10**30, float("nan")])
)
WORDS = st.one_of(st.text(max_size=20), st.sampled_from(["\x1b[31m", "..", "/etc/passwd", "a" * 5000, "\u202e", ""]))
LEAVES = st.one_of(NUMBERS, WORDS, st.booleans(), st.none())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one file of every kind."""
    import numpy as np

    from dnal.latency import profile, profiling

    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("fuzz") / "run"))
    os.environ["XDG_CACHE_HOME"] = str(folder.parent / "cache")
    network = models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    space = dnal.Space.of(network, torch.rand(2, 1, 8, 8))
    seconds, profiling.MEASURE_SECONDS = profiling.MEASURE_SECONDS, 0.01
    profile(network, space, torch.rand(2, 1, 8, 8), backend="torch-cpu").save(folder / LATENCY)
    profiling.MEASURE_SECONDS = seconds
    checkpointer = Checkpointer([], Checkpoints(folder))
    checkpointer.begin("base", job={"lr": 1.0}, history=[], parts={"network": network}, carried={"latency": None})
    (folder / "sweep.yaml").write_text("job: {model: vgg_small, data: digits}\ngrid: {seed: [0, 1], lr: [0.1]}\n")
    pixels = np.zeros((8, 8, 8), np.uint8)
    np.savez(folder / "arrays.npz", x_train=pixels, y_train=np.arange(8), x_test=pixels, y_test=np.arange(8))
    return folder


def held(reader: Reader, run: Path, data: bytes) -> None:
    """Reads the file with this content, and puts the honest one back."""
    path = run / reader.name
    honest = path.read_bytes()
    try:
        path.write_bytes(data)
        with suppress(UserError):
            reader.read(run)
    finally:
        path.write_bytes(honest)


def settings(examples: int) -> Any:
    return hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_bytes_changed_anywhere(name: str, run: Path) -> None:
    reader = READERS[name]
    honest = (run / reader.name).read_bytes()
    places = st.integers(0, len(honest))
    edits = st.lists(st.tuples(places, st.integers(0, 60), st.binary(max_size=40)), min_size=1, max_size=3)

    @settings(60 if "report" in name or "network" in name else 200)
    @hypothesis.given(edits)
    def check(changes: list[tuple[int, int, bytes]]) -> None:
        data = honest
        for at, gone, new in changes:
            data = data[:at] + new + data[at + gone :]
        held(reader, run, data)

    check()


DOCUMENTS = [name for name, reader in READERS.items() if reader.name.endswith((".json", ".yaml", ".jsonl"))]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_with_anything_in_any_place(name: str, run: Path) -> None:
    reader = READERS[name]
    text = (run / reader.name).read_text()
    lines = reader.name.endswith(".jsonl")
    document = (
        [json.loads(line) for line in text.splitlines()] if lines
        else yaml.safe_load(text) if reader.name.endswith(".yaml") else json.loads(text)
    )  # fmt: skip
    spots = _places(document)

    @settings(80 if "report" in name else 250)
    @hypothesis.given(st.sampled_from(spots), VALUES, st.booleans())
    def check(place: tuple[Any, ...], value: Any, away: bool) -> None:
        changed = _changed(document, place, value, away=away)
        if lines and isinstance(changed, list):
            data = "".join(json.dumps(line) + "\n" for line in changed)
        elif reader.name.endswith(".yaml"):
            data = yaml.safe_dump(changed, sort_keys=False)
        else:
            data = json.dumps(changed)
        held(reader, run, data.encode(errors="surrogatepass"))

    check()


@pytest.mark.parametrize("name", READERS)
def test_anything_at_all(name: str, run: Path) -> None:
    reader = READERS[name]

    @settings(100)
    @hypothesis.given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode), VALUES.map(_written)))
    def check(data: bytes) -> None:
        held(reader, run, data)

    check()


def _written(value: Any) -> bytes:
    return json.dumps(value).encode()


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    own = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [path, *(place for key, value in own[:6] for place in _places(value, (*path, key)))]


def _changed(node: Any, place: tuple[Any, ...], value: Any, *, away: bool) -> Any:
    if not place:
        return value
    own = dict(node) if isinstance(node, dict) else list(node)
    if away and len(place) == 1:
        del own[place[0]]
    else:
        own[place[0]] = _changed(node[place[0]], place[1:], value, away=away)
    return own
