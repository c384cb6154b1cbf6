"""The run folder: written atomically, read strictly, free of pickle."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import dnal as package
from cli_program import SHORT, Program
from dnal import models
from dnal.architecture.architecture import Architecture
from dnal.base.errors import UserError
from dnal.changes.removal import Removal
from dnal.pipeline.result import BaseAndCompact, Figures, Learned
from dnal.run import RunWriter, check_free, evaluate, load, read_config, read_result
from dnal.run.files import (
    ARCHITECTURE,
    BEFORE,
    CONFIG,
    DETAILS,
    FILES,
    LAST,
    LOCK,
    LOG,
    MANIFEST,
    MODEL,
    RESULT,
    SHAPE,
)
from dnal.run.manifest import manifest_of
from dnal.space.space import Space
from dnal.train.resume.checkpoint import Checkpoints

JOB = {
    "model": "cifar/resnet20", "weights": None, "input": [3, 16, 16], "classes": 4, "data": "digits", "root": None,
    "limit_train": None, "batch_size": 8, "workers": 0, "seed": 3,
}  # fmt: skip


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


NO_FIGURES = BaseAndCompact(Figures({}, 0.0), Figures({}, 0.0))


def learned_by_hand(network: nn.Module) -> Learned:
    """A random architecture of a network, with statistics that are not the initial ones."""
    space = Space.of(network, torch.rand(1, 3, 16, 16))
    architecture = Architecture.random(space, 0.5, seed=1)
    compact = package.compact(network, architecture).eval()
    for name, buffer in compact.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-1, 1)
    each = Figures({"macs": 1, "params": 1, "latency_ms": 1.0}, 0.5)
    figures = BaseAndCompact(each, each)
    return Learned(
        compact,
        Removal(architecture),
        space,
        [],
        figures,
        [],
        {"budget": "macs<=50%"},
        {"base": 1.0},
    )


def write(path: Path, job: dict[str, Any] | None = None, network: nn.Module | None = None) -> Learned:
    learned = learned_by_hand(network or models.create("cifar/resnet20", classes=4, input_shape=(3, 16, 16)))
    writer = RunWriter(path, job or JOB)
    writer.start({"budget": "macs<=50%", "method": {"name": "dnal"}, "epochs": [1, 1, 1]})
    writer.finish(learned)
    return learned


def test_load_gives_the_saved_networks_outputs(tmp_path: Path) -> None:
    learned = write(tmp_path / "run")
    before = torch.random.get_rng_state()
    network = load(tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)
    x = torch.rand(5, 3, 16, 16)
    assert not network.training
    assert torch.equal(network(x), learned.network(x))
    assert type(network) is type(learned.network)
    assert package.load is load


def test_load_of_a_real_run_reproduces_its_accuracy(finished: Path) -> None:
    found = evaluate(finished)
    assert found["compact"]["accuracy"] == pytest.approx(read_result(finished)["compact"]["accuracy"], abs=1e-6)


def test_load_needs_no_trace(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **keywords: object) -> None:
        raise AssertionError("load traced the network")

    monkeypatch.setattr("dnal.space.space.traced", refused)
    assert isinstance(load(finished), nn.Module)


SHARED = """
from torch import nn

class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.again = self.first
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.again(self.first(self.stem(x)).relu()).relu()
        return self.head(x.mean((2, 3)))

def net():
    return Shared()
"""


def test_tensors_under_two_names_are_saved_and_stay_shared(here: Path) -> None:
    (here / "shared_network.py").write_text(SHARED)
    network = models.create("shared_network:net")
    learned = write(here / "run", {**JOB, "model": "shared_network:net"}, network)
    loaded = load(here / "run", trust=("shared_network",))
    assert loaded.first.weight is loaded.again.weight
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded(x), learned.network(x))


def test_nothing_exists_before_start(tmp_path: Path) -> None:
    RunWriter(tmp_path / "run", JOB)
    assert list(tmp_path.iterdir()) == []


def test_the_job_stands_beside_what_learning_decided(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", JOB)
    writer.start({"epochs": [1, 2, 3], "lr": 0.1, "seed": 7})
    document = yaml.safe_load((tmp_path / "run" / CONFIG).read_text())
    assert document["dnal"] == package.__version__
    assert document["torch"] == str(torch.__version__)
    assert document["epochs"] == [1, 2, 3]
    assert document["seed"] == 3
    assert {file.name for file in (tmp_path / "run").iterdir()} == {CONFIG, LOCK}


def test_the_checkpoint_goes_when_the_run_is_finished(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", JOB)
    writer.start({})
    for step in (1, 2):
        Checkpoints(tmp_path / "run").save({"step": step})
    assert {file.name for file in (tmp_path / "run").iterdir()} == {CONFIG, LAST, BEFORE, LOCK}
    writer.finish(learned_by_hand(models.create("cifar/resnet20", classes=4, input_shape=(3, 16, 16))))
    files = {CONFIG, ARCHITECTURE, MODEL, MANIFEST, SHAPE, DETAILS, RESULT}
    assert {file.name for file in (tmp_path / "run").iterdir()} == files


def test_a_run_that_goes_on_keeps_its_config_and_gets_the_log_of_its_checkpoint(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", JOB)
    writer.start({"lr": 0.1})
    writer.epoch({"epoch": 1})
    writer.epoch({"epoch": 2})
    before = (tmp_path / "run" / CONFIG).read_bytes()
    (tmp_path / "run" / f"{LAST}.{'0' * 16}.tmp").write_bytes(b"torn")
    again = RunWriter(tmp_path / "run", JOB, resume=True)
    again.start({"lr": 0.2})
    again.resumed([{"epoch": 1}], 5)
    again.epoch({"epoch": 2, "again": True})
    assert (tmp_path / "run" / CONFIG).read_bytes() == before
    lines = [json.loads(text) for text in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert lines == [{"epoch": 1}, {"epoch": 2, "again": True}]
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_the_files_are_as_readable_as_any_other(run: Path) -> None:
    (run / "plain").touch()
    modes = {name: (run / name).stat().st_mode for name in (CONFIG, ARCHITECTURE, MODEL, RESULT, "plain")}
    assert len(set(modes.values())) == 1, modes


def change(name: str, edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Rewrites a JSON or YAML file of a run."""

    def act(run: Path) -> None:
        text = (run / name).read_text()
        yes = name.endswith(".yaml")
        document = edit(yaml.safe_load(text) if yes else json.loads(text))
        (run / name).write_text(yaml.safe_dump(document) if yes else json.dumps(document))

    return act


def tensors(edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    """Rewrites the tensors of a run."""
    return lambda run: save_file(edit(load_file(run / MODEL)), run / MODEL)


def reseal(run: Path) -> None:
    """A manifest that fits the files, where they are so far in order that it can be made."""
    with suppress(UserError, SafetensorError):
        (run / MANIFEST).write_text(manifest_of(run))


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: {name: value for name, value in document.items() if name != key}


DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no folder": (shutil.rmtree, "there is no run"),
    "no config": (lambda run: (run / CONFIG).unlink(), "no config.yaml"),
    "config that is no YAML": (lambda run: (run / CONFIG).write_text("a: [1"), "YAML"),
    "config without the model": (change(CONFIG, without("model")), "model: field required"),
    "config with a negative size": (change(CONFIG, lambda d: {**d, "input": [1, -8, 8]}), "input.1"),
    "empty config": (lambda run: (run / CONFIG).write_text(""), "configuration"),
    "no architecture": (lambda run: (run / ARCHITECTURE).unlink(), "no architecture.json"),
    "no tensors": (lambda run: (run / MODEL).unlink(), "no model.safetensors"),
    "a tensor is missing": (tensors(without("features.3.weight")), "features.3.weight"),
    "a tensor is too many": (tensors(lambda t: {**t, "more": torch.zeros(1)}), "more"),
    "a tensor has another shape": (
        tensors(lambda t: {**t, "features.4.bias": torch.zeros(1000)}),
        "features.4.bias",
    ),
    "tensors that are none": (lambda run: (run / MODEL).write_text("text"), "safetensors"),
    "architecture of another network": (
        change(CONFIG, lambda d: {**d, "model": "cifar/resnet20"}),
        "belongs to another network",
    ),
    "architecture of other classes": (change(CONFIG, lambda d: {**d, "classes": 11}), "belongs to another network"),
    "architecture that is none": (lambda run: (run / ARCHITECTURE).write_text("{}"), "not an architecture"),
    "a model that is gone": (change(CONFIG, lambda d: {**d, "model": "vgg_smaller"}), "did you mean 'vgg_small'"),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_run_is_refused_in_one_sentence(
    run: Path, dnal: Program, damage: Callable[[Path], None], expected: str
) -> None:
    damage(run)
    with pytest.raises(UserError):
        load(run)
    reseal(run)
    with pytest.raises(UserError, match=re.escape(expected)):
        load(run)
    answer = dnal("eval", run)
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert expected in answer.err


def test_a_run_without_a_result_loads_and_is_not_evaluated(run: Path, dnal: Program) -> None:
    (run / RESULT).unlink()
    assert isinstance(load(run), nn.Module)
    answer = dnal("eval", run)
    assert answer.status == 2
    assert "not finished: it has no result.json" in answer.err


def test_a_result_that_is_none_is_refused(run: Path) -> None:
    (run / RESULT).write_text('{"base": 1}')
    with pytest.raises(UserError, match="no result"):
        evaluate(run)


def test_evaluate_notices_other_tensors(run: Path) -> None:
    tensors(lambda t: {**t, "classifier.0.bias": torch.arange(10.0) * 100})(run)
    reseal(run)
    assert any("accuracy" in sentence for sentence in evaluate(run)["differs"])


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    check_free(tmp_path)


def test_overwriting_needs_a_run_and_spares_what_no_run_writes(run: Path) -> None:
    with pytest.raises(UserError, match="--overwrite"):
        check_free(run)
    check_free(run, overwrite=True)
    (run / "my_notes.txt").write_text("keep me")
    with pytest.raises(UserError, match="my_notes"):
        RunWriter(run, JOB, overwrite=True)
    assert (run / "my_notes.txt").exists()
    assert (run / MODEL).exists()


def test_overwriting_removes_every_file_of_the_old_run(run: Path) -> None:
    for name in FILES:
        (run / name).touch()
    (run / f"{MODEL}.{'0' * 16}.tmp").touch()
    writer = RunWriter(run, JOB, overwrite=True)
    assert (run / RESULT).exists()  # not before start
    writer.start({})
    assert {file.name for file in run.iterdir()} == {CONFIG, LOCK}
    assert read_config(run).model == JOB["model"]


def test_a_run_that_came_between_is_not_touched(tmp_path: Path, finished: Path) -> None:
    writer = RunWriter(tmp_path / "run", JOB)
    shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(UserError, match="exists"):
        writer.start({})
    assert (tmp_path / "run" / CONFIG).read_bytes() == (finished / CONFIG).read_bytes()


def test_a_link_to_nothing_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="link"):
        check_free(tmp_path / "link")


def test_the_log_is_on_the_disk_after_each_epoch(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", JOB)
    writer.start({})
    for epoch in (1, 2):
        writer.epoch({"phase": "base", "epoch": epoch})
        assert len((tmp_path / "run" / LOG).read_text().splitlines()) == epoch


def test_a_larger_network_survives_the_way_to_the_disk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.create("timm/mobilenetv3_small_050", classes=5, input_shape=(3, 64, 64))
    space = Space.of(network, torch.rand(1, 3, 64, 64))
    architecture = Architecture.random(space, 0.5, seed=0)
    compact = package.compact(network, architecture).eval()
    learned = Learned(compact, Removal(architecture), space, [], NO_FIGURES, [], {}, {})
    writer = RunWriter(
        tmp_path / "run", {**JOB, "model": "timm/mobilenetv3_small_050", "classes": 5, "input": [3, 64, 64]}
    )
    writer.start({})
    writer.finish(learned)
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(load(tmp_path / "run")(x), copy.deepcopy(compact)(x))


def test_the_normalisation_of_eval_is_that_of_learn(here: Path, dnal: Program) -> None:
    # The mean of these images depends on which of them are used, so another subset would change the accuracy.
    random = np.random.RandomState(0)
    x = random.rand(90, 8, 8).astype("float32") * random.rand(90, 1, 1).astype("float32") * 20
    y = np.arange(90) % 3
    np.savez("mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    answer = dnal("learn", *SHORT[:2], "--limit-train", 12, "--seed", 5, "--data", "mine.npz", "--out", "run")
    assert answer.status == 0, answer.err
    assert evaluate("run")["differs"] == []


def test_no_pickle_in_the_package() -> None:
    source = Path(package.__file__).parent
    forbidden = re.compile(
        r"torch\.(save|load)\b|\bimport (pickle|joblib|dill|shelve)|allow_pickle=True|\.load_checkpoint\b"
    )
    found = [
        f"{file.relative_to(source)}: {line.strip()}"
        for file in source.rglob("*.py")
        for line in file.read_text().splitlines()
        if forbidden.search(line)
    ]
    assert found == []


def test_a_folder_of_several_runs_names_them(tmp_path: Path) -> None:
    for name in ("dnal", "uniform"):
        (tmp_path / "both" / name).mkdir(parents=True)
        (tmp_path / "both" / name / CONFIG).write_text("format: 1\n")
    with pytest.raises(UserError, match=r"give one of them: '.*both/dnal', '.*both/uniform'\."):
        load(tmp_path / "both")
    shutil.rmtree(tmp_path / "both")
    (tmp_path / "both").mkdir()
    with pytest.raises(UserError, match=r"is no run: it has no config\.yaml"):
        load(tmp_path / "both")
