"""The examples as their readers run them: a process each, then its files alone, without the process."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import dnal
from independent import counted_macs, parameter_count

EXAMPLES = Path(__file__).parent.parent / "examples"


class Case(NamedTuple):
    """What is asked of an example: arguments that are short, what they write, and the bounds that it states."""

    name: str
    epochs: int
    macs: float
    params: float
    accuracy: float


CASES = [
    Case("own_loop.py", epochs=3, macs=0.3, params=1.0, accuracy=0.9),
    Case("lightning_module.py", epochs=2, macs=0.25, params=0.3, accuracy=0.9),
    Case("hf_trainer.py", epochs=3, macs=0.5, params=1.0, accuracy=0.9),
]


class Finished(NamedTuple):
    """An example that has run: its folder, its table, and what it is made of."""

    case: Case
    out: Path
    table: dict[str, list[float]]
    members: dict[str, Any]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id=case.name, marks=() if case.name == "own_loop.py" else pytest.mark.slow) for case in CASES
    ],
)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    case: Case = request.param
    if case.name == "hf_trainer.py":
        for package in ("transformers", "accelerate"):
            pytest.importorskip(package)
    here = tmp_path_factory.mktemp("example")
    ended = run(case, here, "--epochs", case.epochs, "--out", "small")
    assert ended.returncode == 0, ended.stderr
    return Finished(case, here / "small", table(ended.stdout), runpy.run_path(str(EXAMPLES / case.name)))


def run(case: Case, here: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`python examples/NAME ARGUMENTS` in a folder of its own, with nothing to download from."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(EXAMPLES / case.name), *map(str, arguments)]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)


def table(printed: str) -> dict[str, list[float]]:
    """MACs, parameters and accuracy (0 to 1) of the rows "base" and "compact"."""
    rows = re.findall(r"^(base|compact) +([\d,]+) +([\d,]+) +([\d.]+)%$", printed, flags=re.M)
    return {
        name: [*(float(count.replace(",", "")) for count in counts), float(right) / 100]
        for name, *counts, right in rows
    }


def loaded(finished: Finished) -> nn.Module:
    """A fresh network of the example's own function, cut and filled by what the example has written."""
    architecture = dnal.Architecture.load(finished.out / "architecture.json")
    small = dnal.compact(finished.members["make_network"](), architecture)
    small.load_state_dict(load_file(finished.out / "model.safetensors"))
    return small.eval()


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found = network(images)
    return found if isinstance(found, Tensor) else found.logits


def test_both_networks_are_shown_and_have_learnt(finished: Finished) -> None:
    assert list(finished.table) == ["base", "compact"]
    assert min(row[-1] for row in finished.table.values()) >= finished.case.accuracy


def test_the_budget_holds_on_the_network_that_was_written(finished: Finished) -> None:
    images = torch.randn(2, 1, 8, 8)
    small, base = loaded(finished), finished.members["make_network"]()
    macs, params = counted_macs(small, images, batch=2), parameter_count(small)
    full_macs, full_params = counted_macs(base, images, batch=2), parameter_count(base)
    assert finished.table["base"][:2] == [full_macs, full_params]
    assert finished.table["compact"][:2] == [macs, params]
    used = (macs / full_macs / finished.case.macs, params / full_params / finished.case.params)
    assert max(used) <= 1
    assert max(used) > 0.95, "and is used"


def test_the_network_that_was_written_is_as_good_as_shown(finished: Finished) -> None:
    test = dnal.data.load("digits").test
    images, labels = test.batch(torch.arange(len(test)), seed=0)
    right = float((logits(loaded(finished), images).argmax(1) == labels).float().mean())
    assert right == pytest.approx(finished.table["compact"][-1], abs=0.002)  # printed to a thousandth


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_as_it_stands_it_loses_little(case: Case, tmp_path: Path) -> None:
    if case.name == "hf_trainer.py":
        for package in ("transformers", "accelerate"):
            pytest.importorskip(package)
    ended = run(case, tmp_path)
    assert ended.returncode == 0, ended.stderr
    rows = table(ended.stdout)
    assert rows["base"][-1] >= 0.93
    assert rows["compact"][-1] >= rows["base"][-1] - 0.03


@pytest.mark.slow
def test_two_processes_learn_one_architecture(tmp_path: Path) -> None:
    """The example itself compares the gates of both."""
    ended = run(CASES[1], tmp_path, "--devices", 2, "--epochs", 2, "--out", "small")
    assert ended.returncode == 0, ended.stderr
    assert table(ended.stdout)["compact"][-1] >= CASES[1].accuracy
