"""Searches among binary networks: weights that all share, their own statistics, and the run that comes out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal import data, models
from dnal.base.errors import UserError
from dnal.base.options import from_values
from dnal.costs.bops import bops
from dnal.run.files import CANDIDATES, MODEL
from dnal.search import search
from dnal.search.shared_weights import CALIBRATION_BATCHES, SharedWeights
from dnal.search.spaces import SPACES
from dnal.search.spaces.space import Chance
from dnal.search.training import data_of, finally_trained
from dnal.settings import Searches

SPACE = "binary-mobilenet:stem=4,stages=2,supernet=2"
SMALL: dict[str, Any] = {
    "space": SPACE, "sampler": "evolution:round=3,parents=2", "budget": "bops<=4k", "evaluations": 5, "epochs": 1,
    "final_epochs": 1, "limit_train": 96, "batch_size": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bits") / "run"
    assert search("digits", **SMALL, out=folder) is not None
    return folder


def test_the_best_path_within_the_budget_is_trained_from_new_weights_and_is_a_run(found: Path) -> None:
    lines = [json.loads(line) for line in (found / CANDIDATES).read_text().splitlines()]
    assert len({line["model"] for line in lines}) == len(lines) == 5
    assert all(line["costs"]["bops"] <= 4000 for line in lines)
    network = dnal.load(found)
    assert bops(network, torch.randn(2, 1, 8, 8)) == json.loads((found / "result.json").read_text())["compact"]["bops"]
    assert dnal.run.evaluate(found)["differs"] == []
    best = max(lines, key=lambda line: (line["fitness"], -line["costs"]["params"]))
    asked = from_values(Searches, {"limit_train": 96, "batch_size": 32, "final_epochs": 1}, "a search")
    alone = finally_trained(asked, best["model"])  # from its name and what was asked, with nothing of the supernet
    assert all(torch.equal(tensor, alone.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_a_search_that_goes_on_measures_the_same_by_the_same_shared_weights(found: Path, tmp_path: Path) -> None:
    measured: list[str] = []
    for enough in (2, 99):
        search(
            "digits", **SMALL, out=tmp_path / "parts", stop=lambda enough=enough: len(measured) >= enough,
            on_end=lambda _, candidate: measured.append(candidate.model),
        )  # fmt: skip
    assert len(measured) == len(set(measured)) == 5
    for name in (CANDIDATES, MODEL):
        assert (tmp_path / "parts" / name).read_bytes() == (found / name).read_bytes()


def test_what_a_path_is_worth_depends_on_no_other_path_and_its_statistics_are_its_own() -> None:
    space = SPACES.read(SPACE)
    asked = from_values(Searches, {"data": "digits", "limit_train": 400, "batch_size": 32}, "a search")
    one, other = (space.evaluator(asked) for _ in range(2))
    assert isinstance(one, SharedWeights)
    assert isinstance(other, SharedWeights)
    draw = random.Random(0)
    names = list({space.model(space.drawn(Chance(draw), (1, 8, 8))) for _ in range(6)})[:3]
    assert [one(name) for name in names] == [other(name) for name in reversed(names)][::-1]
    # An independent reference: the path as a network of its own, statistics as means over the same batches.
    one.select(names[1])
    alone = models.create(names[1], classes=10, input_shape=(1, 8, 8))
    state = one.supernet.network.state_dict()
    for key, tensor in alone.state_dict().items():
        tensor.copy_(state[key][:, : tensor.size(1)] if tensor.dim() == 4 else state[key])
    for module in alone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    loader = data.loaders(data_of(asked), 32, seed=0).train
    with torch.no_grad():
        for _, (images, _labels) in zip(range(CALIBRATION_BATCHES), loader, strict=False):
            alone.train()(images)
    images = data_of(asked).val.batch(torch.arange(64), seed=0)[0]
    with torch.no_grad():
        assert torch.allclose(alone.eval()(images), one.supernet(images), atol=1e-5)


def test_weights_that_are_shared_are_those_of_one_process() -> None:
    with pytest.raises(UserError, match="without training; leave --jobs out"):
        search("digits", **SMALL, jobs=2)
    with pytest.raises(UserError, match="leave --pruner out"):
        search("digits", **SMALL, pruner="median")
    assert SPACES.read("binary-mobilenet:supernet=0").evaluator(from_values(Searches, {}, "a search")) is None
    assert SPACES.read("layers").evaluator(from_values(Searches, {}, "a search")) is None


def test_a_found_network_is_exported_with_its_signs(found: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    exported = dnal.export.export_run(found, "onnx", out=tmp_path / "found.onnx")
    assert max(exported.differences.values()) <= 1e-4
    operations = {node.op_type for node in onnx.load(exported.path).graph.node}
    assert "Sign" not in operations  # ONNX's sign of 0 is 0, and no bit
    assert "GreaterOrEqual" in operations
