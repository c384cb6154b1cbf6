"""Damaged and hostile run folders: refused in one sentence or harmless, and nothing is run, reached or taken."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark_script import script

SMALL, LARGE = 40, 200


damaged: Any = script("damaged_runs")
kinds: Any = sys.modules["damaged.kinds"]
material: Any = sys.modules["damaged.material"]
watching: Any = sys.modules["damaged.watch"]
KINDS: dict[str, Any] = damaged.kinds_of("load")


@pytest.fixture(scope="module")
def watch() -> Any:
    return watching.Watch()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another network."""
    run = tmp_path_factory.mktemp("runs") / "other"
    material.honest(run, "cifar/resnet20", (3, 16, 16), 7, seed=1)
    return run


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with tensors of a size that can be seen."""
    run = tmp_path_factory.mktemp("runs") / "good"
    material.honest(run, "torchvision/resnet18", (3, 64, 64), 10)
    return run


@pytest.fixture
def place(here: Path) -> Iterator[Path]:
    """A current directory in which a module waits to be imported."""
    path = list(sys.path)
    material.workplace(here)
    yield here
    assert not (here / kinds.MARKER).exists()
    assert sys.path == path


def check(number: int, finished: Path, other: Path, place: Path, watch: Any) -> None:
    kind = list(KINDS)[number % len(KINDS)]
    shutil.copytree(finished, place / "run")
    KINDS[kind].act(place / "run", other, random.Random(f"test {number}"))
    sentence = watching.attempt(place / "run", watch)
    assert watch.seen == [], kind
    assert (sentence is not None) == KINDS[kind].refused, f"{kind}: {sentence}"
    assert sentence is None or watching.one_sentence(sentence), f"{kind}: {sentence}"
    assert not (place / kinds.MARKER).exists(), kind
    shutil.rmtree(place / "run")


def test_every_kind_of_damage(finished: Path, other: Path, place: Path, watch: Any) -> None:
    watching.attempt(finished, watch)  # imports
    assert len(KINDS) <= SMALL
    for number in range(SMALL):
        check(number, finished, other, place, watch)


def test_the_watch_sees_what_it_is_for(finished: Path, place: Path, watch: Any) -> None:
    shutil.copytree(finished, place / "run")
    kinds.edit(place / "run" / "config.yaml", lambda d: {**d, "model": f"{kinds.MODULE}:net"})
    kinds.reseal(place / "run")
    assert "another network" in watching.attempt(place / "run", watch, trust=(kinds.MODULE,))
    assert f"open {place / kinds.MODULE}.py" in watch.seen
    assert "os.mkdir" in watch.seen
    (place / kinds.MARKER).rmdir()
    sys.path.remove(str(place))
    del sys.modules[kinds.MODULE]


def test_the_watch_sees_what_is_written_outside_a_zone(place: Path, watch: Any) -> None:
    (place / "zone").mkdir()
    (place / "zone" / "link").symlink_to("../precious")
    watch.seen.clear()
    watch.zone = str((place / "zone").resolve())
    try:
        (place / "zone" / "own").write_text("mine")
        (place / "zone" / "own").read_text()
        assert watch.seen == []
        (place / "zone" / "link").write_text("through a link")
        (place / "zone" / "own").replace(place / "moved")
    finally:
        watch.zone = None
    assert watch.seen == [f"write {place / 'precious'}", f"os.rename {place / 'moved'}"]


@pytest.mark.slow
def test_two_hundred_damaged_runs(finished: Path, other: Path, place: Path, watch: Any) -> None:
    watching.attempt(finished, watch)
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
    assert watching.attempt(good, watch) is None
    honest = watching.peak_of(lambda: watching.attempt(good, watch))
    assert honest > (good / "model.safetensors").stat().st_size / 2
    for seed in range(4):
        shutil.copytree(good, place / "run")
        KINDS[kind].act(place / "run", other, random.Random(seed))
        assert watching.peak_of(lambda: watching.attempt(place / "run", watch)) <= 1.5 * honest
        shutil.rmtree(place / "run")


GIANT = "dnal shape 1\nmodel {}\n"
LITTLE = 96 * 2**20
"""Bytes: what a network may take for values that no file holds, and a little."""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GIANT.format("timm/vit_giant_patch14_dinov2, 10 classes, images 3x224x224"), "they lack 'cls_token'"),
        (GIANT.format("torchvision/regnet_y_128gf, 10 classes, images 3x224x224"), "they lack 'stem.0.weight'"),
        (
            GIANT.format("torchvision/vgg19, 10 classes, images 3x224x224") + "chain features\nchain classifier\n",
            "build the network yourself",
        ),
        (GIANT.format("vgg_small, 10 classes, images 1x8x8") + "absent a\n" * 10**5, "gone already"),
        (
            GIANT.format("vgg_small, 10 classes, images 1x8x8") + "".join(f"absent a{i}\n" for i in range(10**5)),
            "they lack 'features.0.weight'",
        ),
        (
            GIANT.format("vgg_small, 10 classes, images 1x8x8") + "".join(f"plain a{i}\n" for i in range(200_000)),
            "no network has more than",
        ),
    ],
    ids=["vit", "regnet", "hidden by its own lines", "equal lines", "many lines", "too many lines"],
)
def test_no_list_of_shapes_takes_what_it_does_not_tell_of(text: str, says: str, here: Path) -> None:
    import dnal

    Path("shape.txt").write_text(text)

    def load() -> None:
        with pytest.raises(dnal.UserError, match=says):
            dnal.load("shape.txt")

    load()  # imports
    assert watching.peak_of(load) < LITTLE


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
def test_the_image_of_a_list_of_shapes_takes_no_memory(here: Path) -> None:
    """An honest list for the largest image that there may be: its first layer alone would make a quarter of a GiB."""
    import dnal
    from dnal import models
    from dnal.run.shape import Model, shape_of, written

    model = Model("vgg_small", 10, (1, 2048, 2048))
    network = models.create(model.name, classes=10, input_shape=(1, 8, 8))
    space = dnal.Space.of(network, torch.rand(2, 1, 8, 8))
    Path("shape.txt").write_text(written(shape_of(dnal.Architecture.random(space, 0.5), model)))
    dnal.load("shape.txt")
    assert watching.peak_of(lambda: dnal.load("shape.txt")) < LITTLE
