"""The latency model, on a device whose times are known and on the real ones."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from analytic import OVERHEAD, SLOWER, Analytic, convolution_ms, plain
from torch import nn

import dnal
from dnal.latency import LatencyModel, fastest_multiple, measured_ms, profile
from dnal.latency.profiling import runs_of
from dnal.latency.sample import open_at, random_shares

pytestmark = pytest.mark.usefixtures("own_cache")


def known_ms(network: nn.Module, space: dnal.Space, open_variables: torch.Tensor, example: torch.Tensor) -> float:
    return runs_of(Analytic(), network, space, [open_variables], example)[0]()


def test_a_known_device_is_recovered() -> None:
    network, space, example = plain()
    model = profile(network, space, example, backend=Analytic())
    found = [factor for family, factor in model.factors.items() if family.startswith("convolution")]
    assert found == pytest.approx([SLOWER] * len(found), rel=1e-3)
    assert model.constant == pytest.approx(OVERHEAD, rel=0.02)
    for seed in range(5):
        o = open_at(space, random_shares(space, seed))
        known = known_ms(network, space, o, example)
        assert float(model.cost(space)(o)) == pytest.approx(known, rel=5e-3)
        assert model.predicted_ms(space, o) == pytest.approx(known, rel=5e-3)


def test_layers_of_one_resolution_are_calibrated_together() -> None:
    network, space, example = plain()
    model = profile(network, space, example, backend=Analytic(), batch=32)
    families = {term.path: term.family for term in model.terms if term.kind in ("convolution", "linear")}
    assert families == {
        "first": "convolution from 1024 positions",  # 32 images of 8x8
        "second": "convolution from 1024 positions",
        "third": "convolution from 256 positions",  # of 4x4
        "last": "linear from 16 positions",
    }


def test_cost_is_the_formula_at_soft_gates() -> None:
    network, space, example = plain()
    cost = profile(network, space, example, backend=Analytic()).cost(space)
    gates = torch.full((space.num_gates,), 0.5)
    layers = convolution_ms(3, 24) + convolution_ms(24, 48) + convolution_ms(48, 48)
    assert float(cost(gates)) == pytest.approx(SLOWER * layers + OVERHEAD, rel=5e-3)
    assert cost(gates).dtype == torch.float64
    assert float(cost(torch.ones(space.num_gates, dtype=torch.bool))) == float(cost(torch.ones(space.num_gates)))


def test_gradient_and_monotonicity() -> None:
    network, space, example = plain()
    cost = profile(network, space, example, backend=Analytic()).cost(space)
    gates = torch.rand(space.num_gates, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gates.requires_grad_()
    cost(gates).backward()
    assert gates.grad is not None
    assert (gates.grad >= 0).all()
    for variable in range(0, space.num_gates, 17):
        step = torch.zeros_like(gates)
        step[variable] = 1e-4
        difference = float(cost(gates.detach() + step) - cost(gates.detach() - step)) / 2e-4
        assert float(gates.grad[variable]) == pytest.approx(difference, rel=1e-5, abs=1e-9)
    order = torch.randperm(space.num_gates, generator=torch.Generator().manual_seed(2))
    opened, last = torch.zeros(space.num_gates), 0.0
    for variable in order.tolist():
        opened[variable] = 1
        assert float(cost(opened)) >= last - 1e-12
        last = float(cost(opened))


def test_what_the_cache_knows_is_not_timed_again() -> None:
    network, space, example = plain()
    first, second, third = Analytic(), Analytic(), Analytic()
    one = profile(network, space, example, backend=first)
    two = profile(network, space, example, backend=second)
    assert first.timed > 0
    assert second.timed == 0
    assert [t.ms.tolist() for t in one.tables] == [t.ms.tolist() for t in two.tables]
    profile(network, space, example, backend=third, cache=False)
    assert third.timed == first.timed


def test_a_damaged_cache_is_measured_again(tmp_path: Path) -> None:
    network, space, example = plain()
    profile(network, space, example, backend=Analytic())
    (file,) = (tmp_path / "cache" / "dnal").iterdir()
    file.write_text("{")
    again = Analytic()
    profile(network, space, example, backend=again)
    assert again.timed > 0


def test_saved_and_loaded(tmp_path: Path) -> None:
    network, space, example = plain()
    model = profile(network, space, example, backend=Analytic(), batch=3, multiple=4)
    model.save(tmp_path / "latency.json")
    loaded = LatencyModel.load(tmp_path / "latency.json")
    for name in ("backend", "batch", "device", "versions", "threads", "multiple", "factors", "constant", "measured"):
        assert getattr(loaded, name) == getattr(model, name)
    o = open_at(space, random_shares(space, 3))
    assert float(loaded.cost(space)(o)) == float(model.cost(space)(o))
    assert loaded.predicted_ms(space, o) == model.predicted_ms(space, o)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 3}', '{"format": 4}'])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "latency.json").write_text(text)
    with pytest.raises(dnal.UserError, match="no latency model"):
        LatencyModel.load(tmp_path / "latency.json")
    with pytest.raises(dnal.UserError, match="cannot read"):
        LatencyModel.load(tmp_path / "absent.json")


STRANGE: list[Any] = [None, "text", [], {}, [[1]], -1, 10**400, True, [0, 0], {"a": 1}, float("nan"), "\ud800"]


def test_a_model_of_strange_values_is_refused_or_works(tmp_path: Path) -> None:
    """Whatever stands anywhere in the file: a sentence, or milliseconds."""
    network, space, example = plain()
    model = profile(network, space, example, backend=Analytic(), batch=3, multiple=4)
    whole, path, opened = model.document(), tmp_path / "latency.json", open_at(space, random_shares(space, 3))
    refused = []
    for place in _places(whole):
        for value in STRANGE:
            document = copy.deepcopy(whole)
            node = document
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value
            path.write_text(json.dumps(document))
            try:
                loaded = LatencyModel.load(path)
                assert math.isfinite(float(loaded.cost(space)(opened)))
                assert math.isfinite(loaded.predicted_ms(space, opened) + loaded.base_ms)
            except dnal.UserError as error:
                refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in sentence for sentence in refused)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[Any]:
    own = list(node.items()) if isinstance(node, dict) else list(enumerate(node))[:2] if isinstance(node, list) else []
    return [place for key, value in own for place in ((*path, key), *_places(value, (*path, key)))]


def test_another_network_is_refused() -> None:
    network, space, example = plain()
    model = profile(network, space, example, backend=Analytic())
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))
    with pytest.raises(dnal.UserError, match="another network"):
        model.cost(dnal.Space.of(other, example))


def test_bad_questions_are_refused() -> None:
    network, space, example = plain()
    with pytest.raises(dnal.UserError, match="did you mean 'torch-cpu'"):
        profile(network, space, example, backend="torch-cpuu")
    with pytest.raises(dnal.UserError, match="not 0"):
        profile(network, space, example, batch=0)
    with pytest.raises(dnal.UserError, match="1 or more"):
        fastest_multiple(network, space, example, backend="torch-cpu", candidates=())
    if not torch.cuda.is_available():
        with pytest.raises(dnal.UserError, match="needs an NVIDIA GPU"):
            profile(network, space, example, backend="torch-cuda")


def test_a_closed_branch_takes_its_time_with_it() -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), Block(16), nn.ReLU(), nn.Conv2d(16, 8, 1)).eval()
    example = torch.randn(1, 3, 8, 8)
    space = dnal.Space.of(network, example, depth=True)
    assert space.num_branches == 1
    model = profile(network, space, example, backend=Analytic())
    cost = model.cost(space)
    gates = torch.ones(space.num_gates)
    whole = float(cost(gates))
    gates[space.num_variables] = 0.5
    assert whole - float(cost(gates)) >= 0.5 * SLOWER * 0.9 * convolution_ms(16, 16)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


@pytest.mark.parametrize("backend", ["torch-cpu", "onnxruntime-cpu"])
def test_real_devices(backend: str) -> None:
    if backend.startswith("onnx"):
        pytest.importorskip("onnxruntime")
    network, space, example = plain(16)
    told: list[str] = []
    model = profile(
        network, space, example, backend=backend, batch=4, progress=lambda what, done, total: told.append(what)
    )
    assert (model.backend, model.batch) == (backend, 4)
    assert {"layers", "networks"} == set(told)
    assert float(model.cost(space)(torch.ones(space.num_gates))) > 0
    assert all(row["ms"] > 0 for row in model.measured)
    assert all(ms > 0 for ms in measured_ms([network, network], example, backend))
    assert fastest_multiple(network, space, example, backend=backend, candidates=(1, 8)) in (1, 8)
