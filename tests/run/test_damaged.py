"""Damaged and hostile run folders: refused in one sentence or harmless, and nothing is run, reached or taken."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark_script import script

SMALL, LARGE = 40, 200


damaged: Any = script("damaged_runs")


@pytest.fixture(scope="module")
def watch() -> Any:
    return damaged.Watch()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another network."""
    run = tmp_path_factory.mktemp("runs") / "other"
    damaged.honest(run, "cifar/resnet20", (3, 16, 16), 7, seed=1)
    return run


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with tensors of a size that can be seen."""
    run = tmp_path_factory.mktemp("runs") / "good"
    damaged.honest(run, "torchvision/resnet18", (3, 64, 64), 10)
    return run


@pytest.fixture
def place(here: Path) -> Iterator[Path]:
    """A current directory in which a module waits to be imported."""
    path = list(sys.path)
    damaged.workplace(here)
    yield here
    assert not (here / damaged.MARKER).exists()
    assert sys.path == path


def check(number: int, finished: Path, other: Path, place: Path, watch: Any) -> None:
    kind = list(damaged.KINDS)[number % len(damaged.KINDS)]
    shutil.copytree(finished, place / "run")
    damaged.KINDS[kind].act(place / "run", other, random.Random(f"test {number}"))
    sentence = damaged.attempt(place / "run", watch)
    assert watch.seen == [], kind
    assert (sentence is not None) == damaged.KINDS[kind].refused, f"{kind}: {sentence}"
    assert sentence is None or damaged.one_sentence(sentence), f"{kind}: {sentence}"
    assert not (place / damaged.MARKER).exists(), kind
    shutil.rmtree(place / "run")


def test_every_kind_of_damage(finished: Path, other: Path, place: Path, watch: Any) -> None:
    damaged.attempt(finished, watch)  # imports
    assert len(damaged.KINDS) <= SMALL
    for number in range(SMALL):
        check(number, finished, other, place, watch)


def test_the_watch_sees_what_it_is_for(finished: Path, place: Path, watch: Any) -> None:
    shutil.copytree(finished, place / "run")
    damaged.edit(place / "run" / damaged.CONFIG, lambda d: {**d, "model": f"{damaged.MODULE}:net"})
    damaged.reseal(place / "run")
    assert "another network" in damaged.attempt(place / "run", watch, trust=(damaged.MODULE,))
    assert f"open {place / damaged.MODULE}.py" in watch.seen
    assert "os.mkdir" in watch.seen
    (place / damaged.MARKER).rmdir()
    sys.path.remove(str(place))
    del sys.modules[damaged.MODULE]


@pytest.mark.slow
def test_two_hundred_damaged_runs(finished: Path, other: Path, place: Path, watch: Any) -> None:
    damaged.attempt(finished, watch)
    for number in range(SMALL, SMALL + LARGE):
        check(number, finished, other, place, watch)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize(
    "kind",
    [
        "config asks for a huge network",
        "config and architecture agree on a huge network",
        "architecture tells huge shapes",
        "header of tensors tells huge shapes",
        "YAML that grows",
        "bytes flipped",
    ],
)
def test_no_damage_costs_more_memory_than_the_honest_run(
    kind: str, good: Path, other: Path, place: Path, watch: Any
) -> None:
    assert damaged.attempt(good, watch) is None
    honest = damaged.peak_of(lambda: damaged.attempt(good, watch))
    assert honest > (good / damaged.MODEL).stat().st_size / 2
    for seed in range(4):
        shutil.copytree(good, place / "run")
        damaged.KINDS[kind].act(place / "run", other, random.Random(seed))
        assert damaged.peak_of(lambda: damaged.attempt(place / "run", watch)) <= 1.5 * honest
        shutil.rmtree(place / "run")
