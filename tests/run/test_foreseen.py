"""Nothing is trained that could not be read again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dnal
from cli_program import SHORT, Program
from dnal import models
from dnal.architecture.architecture import Architecture
from dnal.base.errors import UserError
from dnal.changes.removal import Removal
from dnal.pipeline.result import BaseAndCompact, Figures, Learned
from dnal.run import RunWriter, evaluate, load, read_config
from dnal.run.config import written
from dnal.run.files import ARCHITECTURE, CONFIG, MANIFEST, SHAPE
from dnal.run.foreseen import check_epochs, check_space
from dnal.run.limits import LARGEST, MOST_CLASSES, MOST_EPOCHS, SPARE_TEXT, TIMES_TEXT
from dnal.run.shape import Model, read_shape, shape_of
from dnal.run.shape import written as shape_text

JOB: dict[str, Any] = {
    "model": "vgg_small", "weights": None, "input": [1, 8, 8], "classes": 10, "data": "digits", "root": None,
    "limit_train": None, "batch_size": 8, "workers": 0, "seed": 3,
}  # fmt: skip
VERSIONS = {"dnal": "0", "torch": "2"}
IMAGENET_21K, INATURALIST = 21_841, 10_000


@pytest.mark.parametrize(
    "names",
    [
        [f"n{number:08d}" for number in range(IMAGENET_21K)],
        [f"{number:05d}_" + "Animalia_Chordata_Aves_Passeriformes_" + "x" * 157 for number in range(IMAGENET_21K)],
        [f"{number:05d}_" + "Animalia Chordata Aves: é, 'Paridae' #" + "y" * 30 for number in range(INATURALIST)],
        [f"{number:05d}_" + "Animalia_Chordata_Aves_" * 10 for number in range(1200)],
        [chr(0x4E00 + number) * 85 for number in range(2000)],  # 255 bytes each, as a folder's name may have
    ],
    ids=["ImageNet-21k", "ImageNet-21k with long names", "iNaturalist", "long in sum", "Chinese"],
)
def test_the_class_lists_of_large_sets_are_read_again(names: list[str], tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(written({**VERSIONS, **JOB, "classes": len(names), "class_names": names}))
    assert read_config(tmp_path).class_names == names


def test_a_run_of_long_class_names_ends_and_loads(tmp_path: Path) -> None:
    names = [f"{number:05d}_" + "Animalia_Chordata_Aves_" * 10 for number in range(1200)]
    network = models.create("vgg_small", classes=1200, input_shape=(1, 8, 8))
    space = dnal.Space.of(network, torch.rand(2, 1, 8, 8))
    architecture = Architecture.random(space, 0.5)
    each = Figures({"macs": 1, "params": 1, "latency_ms": 1.0}, 0.5)
    figures = BaseAndCompact(each, each)
    writer = RunWriter(tmp_path / "run", {**JOB, "classes": 1200, "class_names": names})
    writer.space(space, [])
    writer.start({"budget": "macs<=50%", "method": {"name": "dnal"}, "epochs": [1, 1, 1]})
    writer.finish(
        Learned(
            dnal.compact(network, architecture).eval(), Removal(architecture), space, [], figures, [],
            {"budget": "macs<=50%"}, {"base": 1.0},
        )
    )  # fmt: skip
    assert load(tmp_path / "run")(torch.rand(2, 1, 8, 8)).shape == (2, 1200)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"classes": MOST_CLASSES + 1}, "classes"),
        ({"class_names": ["x" * 5000]}, "class_names"),
        ({"class_names": ["y" * 4000] * 3000, "classes": 3000}, "shorter names"),
        ({"class_names": ["n"] * (MOST_CLASSES + 1)}, "class_names"),
        ({"class_names": ["\udcff"]}, "class_names"),
        ({"data": "d" * 5000}, "data"),
        ({"deploy_batch_size": 10**5}, "deploy_batch_size"),
        ({"deploy_batch_size": 4000, "input": [3, 224, 224]}, "deploy_batch_size of 4000 images of 3x224x224"),
        ({"input": [1, 4096, 4096]}, "images of 1x4096x4096"),
        ({"seed": 2**70}, "seed"),
        ({"more": [[[[[[[[[1]]]]]]]]]}, "more than 8 lists"),
        ({"more": list(range(140_000))}, "values"),
    ],
)
def test_settings_that_could_not_be_read_are_refused_and_leave_no_folder(
    job: dict[str, Any], says: str, tmp_path: Path
) -> None:
    writer = RunWriter(tmp_path / "run", {**JOB, **job})
    with pytest.raises(UserError, match="could not be loaded again") as refused:
        writer.start({"epochs": [1, 1, 1]})
    assert says in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_epochs_that_no_log_may_hold_are_refused_before_training(dnal: Program, here: Path) -> None:
    answer = dnal("learn", *SHORT, "--epochs", f"{MOST_EPOCHS},1,1", "--out", "run")
    assert answer.status == 2
    assert f"{MOST_EPOCHS + 2:,} epochs" in answer.err
    assert not (here / "run").exists()
    check_epochs({"epochs": [MOST_EPOCHS - 2, 1, 1]})


def deep() -> nn.Module:
    """Many narrow layers, of which names and lists take more than their tensors."""
    layers = [nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(20)]
    return nn.Sequential(nn.Conv2d(3, 8, 3), *layers, nn.Flatten(), nn.Linear(8 * 36, 4))


NETWORKS: list[Any] = [
    ("narrow", deep, (3, 8, 8)),
    ("supernet", lambda: models.create("supernet/tiny", classes=10, input_shape=(1, 8, 8)), (1, 8, 8)),
    ("residual", lambda: models.create("cifar/resnet20", classes=10, input_shape=(3, 16, 16)), (3, 16, 16)),
]


@pytest.mark.parametrize(("name", "make", "size"), NETWORKS, ids=[name for name, *_ in NETWORKS])
def test_what_was_foreseen_holds_for_any_architecture(
    name: str, make: Any, size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With bounds that this network just passes, every architecture of it is within them; with less, it is refused."""
    torch.manual_seed(0)
    network = make()
    space = dnal.Space.of(network, torch.rand(2, *size), depth=True)
    check_space(space)
    texts, shapes = [], []
    for seed in range(6):
        keep, branches = torch.rand(2, generator=torch.Generator().manual_seed(seed)).tolist()
        architecture = Architecture.random(space, keep, seed, branches=branches)
        left = sum(math.prod(s) for s, _ in shape_of(architecture).tensors.values())
        texts.append((len(architecture.text()), 4 * left))
        shapes.append(shape_text(shape_of(architecture, Model("vgg_small", 10, (1, 8, 8)))))
        (tmp_path / SHAPE).write_text(shapes[-1])
        assert read_shape(tmp_path / SHAPE) == shape_of(architecture, Model("vgg_small", 10, (1, 8, 8)))
    assert all(size <= SPARE_TEXT + TIMES_TEXT * tensors for size, tensors in texts)
    for file in (MANIFEST, SHAPE):
        with monkeypatch.context() as patched:
            patched.setitem(LARGEST, file, 100)
            with pytest.raises(UserError, match=f"its {file} would have"):
                check_space(space)
    foreseen = _least(SHAPE, space, monkeypatch)
    assert max(map(len, shapes)) <= foreseen
    with monkeypatch.context() as patched:
        patched.setattr("dnal.run.foreseen.SPARE_TEXT", 100)
        with pytest.raises(UserError, match=f"its {ARCHITECTURE} would have"):
            check_space(space)


def _least(file: str, space: dnal.Space, monkeypatch: pytest.MonkeyPatch) -> int:
    """The least bound under which a network passes."""
    low, high = 0, LARGEST[file]
    while low < high:
        middle = (low + high) // 2
        with monkeypatch.context() as patched:
            patched.setitem(LARGEST, file, middle)
            try:
                check_space(space)
            except UserError:
                low = middle + 1
            else:
                high = middle
    return low


def test_the_base_is_counted_without_memory_and_exactly(finished: Path) -> None:
    from dnal.run.loading import base_network

    config = read_config(finished)
    base = base_network(finished, config)
    assert all(tensor.is_meta for tensor in base.parameters())
    assert evaluate(finished)["differs"] == []


def test_a_folder_asks_for_no_download(finished: Path, here: Path) -> None:
    import shutil

    import yaml

    from dnal.run.manifest import manifest_of

    run = Path(shutil.copytree(finished, here / "run"))
    document = yaml.safe_load((run / CONFIG).read_text())
    (here / "theirs").mkdir()
    for name in ("cifar10", "cifar100", "fashion-mnist"):
        (run / CONFIG).write_text(yaml.safe_dump({**document, "data": name, "root": str(here / "theirs")}))
        (run / MANIFEST).write_text(manifest_of(run))
        with pytest.raises(UserError, match="fetched only on request"):
            evaluate(run)
    assert not list((here / "theirs").iterdir())
