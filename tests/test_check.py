"""compact runs what it made: a network that takes another path gets an exact result or a sentence, never a wrong
network."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.space.surgery.example import described, made, parsed
from independent import difference, randomise, run, zero_twin

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Branching(nn.Module):
    """Two layers of equal size; the sign of the input says in which order they run."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = self.norm(y).relu() if x.sum() > 0 else y.softmax(1)  # the other path looks at all channels together
        return self.last(y)


class Counting(nn.Module):
    """Counts its calls and takes another path from the third on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = self.first(x)
        return self.last(y.relu() if self.calls < 3 else y.softmax(1))


class Shrinking(nn.Module):
    """Halves its own bias at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.register_buffer("offset", torch.randn(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.offset.mul_(0.5)
        return self.last((self.first(x) * self.offset).relu())


class Positive(nn.Module):
    def __init__(self, least: float) -> None:
        super().__init__()
        self.least = least
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.min() < self.least:
            raise ValueError("too small a number")
        return self.last(self.first(x.log()).relu())


def exact_or_sentence(network: nn.Module, example: Tensor, **options: Any) -> str:
    """What compact did: 'exact' on the example inputs, or its sentence."""
    space = dnal.Space.of(network, example, **options)
    if not space.num_variables:
        return "exact"
    architecture = dnal.Architecture.random(space, 0.5, seed=1)
    state, modes = torch.get_rng_state(), [m.training for m in network.modules()]
    before = copy.deepcopy(network.state_dict())
    try:
        small = dnal.compact(network, architecture)
    except UserError as error:
        return str(error)
    finally:
        assert torch.equal(state, torch.get_rng_state())
        assert modes == [m.training for m in network.modules()]
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    fresh = zero_twin(network, space, architecture.open).eval()
    assert difference(run(fresh, example), run(small.eval(), example)) <= 1e-4
    return "exact"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("probe", [True, False])
def test_control_flow_that_depends_on_the_data(sign: int, probe: bool) -> None:
    example = sign * IMAGES.abs()
    said = exact_or_sentence(randomise(Branching()), example, probe=probe)
    assert said == "exact" or "takes another path" in said


def test_the_sentence_names_the_path() -> None:
    network = randomise(Branching()).eval()
    space = dnal.Space.of(network, IMAGES.abs(), probe=False)
    architecture = dnal.Architecture.random(space, 0.5)
    with pytest.raises(UserError, match="takes another path"):
        dnal.compact(network, architecture)
    small = dnal.compact(network, architecture, check=False)
    twin = zero_twin(network, space, architecture.open)
    assert difference(run(twin, IMAGES.abs()), run(small, IMAGES.abs())) <= 1e-4
    assert difference(run(twin, -IMAGES.abs()), run(small, -IMAGES.abs())) > 1e-2  # what is not handed out


@pytest.mark.parametrize("probe", [True, False])
@pytest.mark.parametrize("calls", [0, 1, 2, 5])
def test_a_network_that_counts_its_calls(calls: int, probe: bool) -> None:
    network = randomise(Counting())
    space = dnal.Space.of(network, IMAGES, probe=probe)
    if not space.num_variables:
        return
    architecture = dnal.Architecture.random(space, 0.5)
    network.calls = calls
    if calls < 2:
        small = dnal.compact(network, architecture)
        assert network.calls == small.calls == calls
        assert difference(run(zero_twin(network, space, architecture.open), IMAGES), run(small, IMAGES)) <= 1e-4
    else:
        with pytest.raises(UserError, match="takes another path"):
            dnal.compact(network, architecture)


def test_a_network_that_changes_its_buffer() -> None:
    network = randomise(Shrinking()).eval()
    assert exact_or_sentence(network, IMAGES) == "exact"


def test_positive_inputs_are_tried_and_what_runs_on_no_noise_is_said() -> None:
    inputs = 5 + torch.rand(2, 3, 8, 8)
    for least, message in ((0.0, None), (5.0, "could not check its result.*too small a number")):
        network = randomise(Positive(least)).eval()
        architecture = dnal.Architecture.random(dnal.Space.of(network, inputs), 0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if message is None:
                dnal.compact(network, architecture)
        if message is not None:
            with pytest.warns(UserWarning, match=message):
                dnal.compact(network, architecture)


def test_half_precision_is_compared_in_single() -> None:
    network = randomise(nn.Sequential(*(nn.Linear(64, 64) for _ in range(12)))).eval().bfloat16()
    inputs = torch.randn(2, 64, dtype=torch.bfloat16)
    dnal.compact(network, dnal.Architecture.random(dnal.Space.of(network, inputs), 0.5))


NESTED = {
    "x": torch.rand(2, 3),
    "ids": torch.tensor([[3, 7, 5]]),
    "mask": torch.ones(1, 3, dtype=torch.bool),
    "more": [(torch.zeros(1, dtype=torch.float64), None), 0.5, "mean"],
}


def test_inputs_are_made_as_described() -> None:
    example = described(NESTED)
    assert example is not None
    assert parsed(json.loads(json.dumps(example))) == example
    draw = lambda shape, generator: torch.randn(shape, generator=generator)  # noqa: E731
    inputs = made(example, draw, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert described(inputs) is not None
    assert inputs["x"].shape == (2, 3)
    assert inputs["x"].dtype == torch.float32
    assert inputs["ids"].dtype == torch.int64
    assert 3 <= inputs["ids"].min() <= inputs["ids"].max() <= 7
    assert inputs["mask"].all()
    assert isinstance(inputs["more"][0], tuple)
    assert inputs["more"][0][0].dtype == torch.float64
    assert inputs["more"][0][1:] == (None,)
    assert inputs["more"][1:] == [0.5, "mean"]


def test_what_cannot_be_described_is_not() -> None:
    assert described((torch.zeros(1), object())) is None
    assert described({"x": torch.zeros(1, dtype=torch.complex64)}) is None
    assert described({3: torch.zeros(1)}) is None


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"dict": []},
        {"tuple": {}},
        {"list": [3]},
        {"value": {}},
        {"shape": [2, -1], "dtype": "float32"},
        {"shape": [2**40], "dtype": "float32"},
        {"shape": [True], "dtype": "float32"},
        {"shape": [2], "dtype": "quint8"},
        {"shape": [2], "dtype": "int64"},
        {"shape": [2], "dtype": "int64", "low": 3, "high": 1},
        {"shape": [2], "dtype": "uint8", "low": 0, "high": 256},
        {"shape": [2], "dtype": "float32", "low": 0, "high": 1},
        {"shape": [2], "dtype": "int64", "low": 0, "high": 1, "more": 1},
    ],
)
def test_a_garbled_description_is_refused(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "architecture.json"
    space = dnal.Space.of(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.zeros(1, 3))
    dnal.Architecture.random(space, 0.5).save(path)
    assert dnal.Architecture.load(path).example == space.example == {"shape": [1, 3], "dtype": "float32"}
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, "example": document}))
    with pytest.raises(UserError, match="its example inputs"):
        dnal.Architecture.load(path)


def test_a_file_without_a_description_loads_and_is_not_checked(tmp_path: Path) -> None:
    path = tmp_path / "architecture.json"
    network = randomise(Branching()).eval()
    space = dnal.Space.of(network, IMAGES.abs(), probe=False)
    dnal.Architecture.random(space, 0.5).save(path)
    saved = json.loads(path.read_text())
    del saved["example"]
    path.write_text(json.dumps(saved))
    loaded = dnal.Architecture.load(path)
    assert loaded.example is None
    dnal.compact(network, loaded)
