"""A cache is never needed: whatever is wrong with it is a warning, and the layers are timed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from analytic import Analytic, plain

import dnal
from dnal.latency import cache as caches
from dnal.latency import profile
from dnal.latency.cache import Cache

KEY = "a layer"

Document = dict[str, Any]


def measured(backend: Analytic, *, told: int) -> int:
    """How many layers a profile of a network has to time, which warns so many times and gives the right model."""
    network, space, example = plain(8)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model = profile(network, space, example, backend=backend)
    said = [str(warning.message) for warning in heard if "times of layers" in str(warning.message)]
    assert len(said) == told, said
    reference = profile(network, space, example, backend=Analytic(), cache=False)
    assert [table.ms.tolist() for table in model.tables] == [table.ms.tolist() for table in reference.tables]
    return backend.timed


@pytest.fixture
def file(tmp_path: Path, own_cache: None) -> Path:
    """A whole cache, of this network on this device."""
    assert measured(Analytic(), told=0) > 0
    (found,) = (tmp_path / "cache" / "dnal").iterdir()
    assert measured(Analytic(), told=0) == 0
    return found


def every(document: Document, change: Callable[[list[float]], object]) -> str:
    return json.dumps({**document, "layers": {key: change(ms or [0.0]) for key, ms in document["layers"].items()}})


DAMAGED: dict[str, tuple[Callable[[Document], str], int]] = {
    "empty": (lambda d: "", 1),
    "a list": (lambda d: "[]", 1),
    "no layers": (lambda d: "{}", 1),
    "layers in a list": (lambda d: '{"layers": []}', 1),
    "nested": (lambda d: '{"layers":' + "[" * 100_000, 1),
    "NaN": (lambda d: every(d, lambda ms: [float("nan")] * len(ms)), 1),
    "infinity": (lambda d: every(d, lambda ms: [float("inf")] * len(ms)), 1),
    "1e999": (lambda d: every(d, lambda ms: [-7] * len(ms)).replace("-7", "1e999"), 1),
    # What is whole as JSON and is no measurement is left aside.
    "infinity as a number": (lambda d: every(d, lambda ms: [10**400] * len(ms)), 0),
    "below zero": (lambda d: every(d, lambda ms: [-1.0] * len(ms)), 0),
    "too few": (lambda d: every(d, lambda ms: ms[:-1]), 0),
    "too many": (lambda d: every(d, lambda ms: [*ms, 1.0]), 0),
    "text": (lambda d: every(d, lambda ms: "1.0"), 0),
    "truth": (lambda d: every(d, lambda ms: [True] * len(ms)), 0),
    "a list in a list": (lambda d: every(d, lambda ms: [ms]), 0),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_damaged_is_measured_again_and_written_anew(
    damage: Callable[[Document], str], told: int, file: Path
) -> None:
    whole = file.read_text()
    file.write_text(damage(json.loads(whole)))
    assert measured(Analytic(), told=told) > 0
    assert json.loads(file.read_text()) == json.loads(whole)
    assert measured(Analytic(), told=0) == 0


def test_what_is_no_file_of_ours_is_told(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    assert measured(Analytic(), told=1) > 0
    other = file.with_name("other")
    file.replace(other)
    file.symlink_to(other)
    before = other.read_bytes()
    assert measured(Analytic(), told=1) > 0
    assert other.read_bytes() == before  # the link was replaced, not followed
    file.unlink()
    file.mkdir()
    assert measured(Analytic(), told=1) > 0  # and once only, though it cannot be written either


def test_no_larger_file_is_read_than_is_written(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "LARGEST", file.stat().st_size + 20)
    backend = Analytic()
    backend.name = "analytic"
    cache = Cache(backend)
    cache[KEY] = [1.0] * 100  # with what is there it would be too large
    cache.save()
    assert list(json.loads(file.read_text())["layers"]) != [KEY]  # what it read is its own
    monkeypatch.setattr(caches, "LARGEST", file.stat().st_size - 1)
    with pytest.warns(UserWarning, match="more than such a file can have"):
        cache = Cache(backend)
    cache[KEY] = [1.0]
    cache.save()
    assert json.loads(file.read_text())["layers"] == {KEY: [1.0]}


def test_where_nothing_can_be_written_the_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", Path("/proc/none"), tmp_path / ("x" * 300)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        assert measured(Analytic(), told=1) > 0
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert measured(Analytic(), told=1) > 0
    with pytest.raises(dnal.UserError, match="XDG_CACHE_HOME"):
        caches.directory()


def test_a_full_disk_leaves_what_was_there(file: Path) -> None:
    """The file of the whole network is larger than any that this process may write from now on."""
    whole = file.read_bytes()
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    cache = Cache(Analytic())
    cache[KEY] = [0.123456789] * 500
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1][1]))
    try:
        with pytest.warns(UserWarning, match="File too large"):
            cache.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])
    assert file.read_bytes() == whole
    assert list(file.parent.iterdir()) == [file]


def test_what_a_killed_process_left_goes_and_that_of_a_living_one_stays(file: Path) -> None:
    killed, living = (file.with_name(f"{file.name}.{digit * 16}.tmp") for digit in "ab")
    for left in (killed, living):
        left.write_text("{")
    os.utime(killed, (0, 0))
    cache = Cache(Analytic())
    cache[KEY] = [1.0]
    cache.save()
    assert sorted(file.parent.iterdir()) == sorted([file, living])


@pytest.mark.slow
def test_a_job_with_a_bound_on_the_latency_needs_no_cache(tmp_path: Path) -> None:
    program = """if True:
        import dnal.latency.profiling as profiling, dnal.latency.timing as timing
        profiling.MEASURE_SECONDS = timing.SECONDS = 0.02
        profiling.CALIBRATION_SECONDS, timing.TURNS, profiling.TURNS = 0.2, (1, 1), (1, 1)
        from dnal.cli import main
        main()
        """
    job = "learn --limit-train 128 --epochs 1,1,1 --no-report --budget latency<=90% --divisor 1 --out run"
    ended = subprocess.run(
        [sys.executable, "-c", program, *job.split()], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_CACHE_HOME": "/proc/none", "OMP_NUM_THREADS": "1"}, timeout=200,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    notes = [line for line in ended.stderr.splitlines() if "times of layers are not kept" in line]
    assert len(notes) == 1
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "run" / "result.json").exists()
