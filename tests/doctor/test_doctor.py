"""The doctor finds this machine healthy, and what is made wrong on purpose."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

import dnal as package
from cli_program import Program
from dnal.doctor import examination, installation, places, precision, self_test
from dnal.doctor.machine import devices, machine

HEALTHY: dict[str, Any] = {
    "packages": [],
    "extras": [],
    "machine": {},
    "devices": [],
    "precisions": [],
    "places": [],
    "self_test": [],
}


def test_the_command_examines_everything_and_ends_well(dnal: Program, here: Path) -> None:
    answer = dnal("doctor", "--json")
    assert (answer.status, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert found.keys() == HEALTHY.keys() | {"problems", "seconds"}
    assert found["problems"] == []
    assert {each["name"]: each["version"] for each in found["packages"]}["dnal"] == package.__version__
    assert [check["holds"] for check in found["self_test"]] == [True, True, True]
    assert list(here.iterdir()) == []


def test_what_is_wrong_is_told_and_is_the_status(dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    sick = {**HEALTHY, "self_test": [{"what": "a", "holds": False, "found": "b"}]}
    sick |= {"problems": examination.problems(sick), "seconds": 1.0}
    monkeypatch.setattr("dnal.doctor.examine", lambda: sick)
    answer = dnal("doctor")
    assert (answer.status, answer.err) == (1, "dnal: self-test: a: b.\n")
    assert "NO" in answer.out
    assert json.loads(dnal("doctor", "--json").out)["problems"] == ["self-test: a: b."]


def test_what_does_not_fit_is_a_problem_with_its_remedy() -> None:
    wrong = {
        "packages": [
            {"name": "torch", "version": "1.0", "needed": "torch>=2.6", "fits": False},
            {"name": "timm", "version": None, "needed": "timm>=1", "fits": False},
        ],
        "extras": [{"problem": "onnx 1.0 is too old, not onnx>=1.17", "install": "pip install 'dnal[onnx]'"}],
        "places": [{"what": "runs", "path": "/x", "refusal": "Read-only file system", "remedy": "use --out"}],
        "precisions": [
            {"device": "cuda", "precision": "32-true", "ms": None, "refusal": "no kernel image"},
            {"device": "cpu", "precision": "16-mixed", "ms": None, "refusal": "on a GPU only"},
        ],
    }
    assert examination.problems({**HEALTHY, **wrong}, "ImportError: no torch.") == [
        "torch is 1.0, and dnal needs torch>=2.6: pip install 'torch>=2.6'.",
        "timm is missing, and dnal needs timm>=1: pip install 'timm>=1'.",
        "the libraries cannot be imported (ImportError: no torch.); install dnal again in a new environment.",
        "onnx 1.0 is too old, not onnx>=1.17: pip install 'dnal[onnx]'.",
        "nothing can be written in '/x', the place of runs (Read-only file system); use --out.",
        "cuda does not compute with 32-true: no kernel image.",
    ]


def test_libraries_that_cannot_be_imported_are_found_not_suffered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dnal.doctor.machine", None)
    found = examination.examine()
    assert len(found["problems"]) == 1
    assert "cannot be imported" in found["problems"][0]


def test_packages_are_those_of_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["torch>=2.6", "numpy>=999", "no-such-package", "onnx>=1.17; extra == 'onnx'", "ray>=999; extra == 'ray'"]
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    found = {each["name"]: each for each in installation.packages()}
    assert set(found) == {"python", "dnal", "torch", "numpy", "no-such-package"}
    assert (found["torch"]["version"], found["torch"]["fits"]) == (metadata.version("torch"), True)
    assert (found["numpy"]["needed"], found["numpy"]["fits"]) == ("numpy>=999", False)
    assert (found["no-such-package"]["version"], found["no-such-package"]["fits"]) == (None, False)
    extras = {each["name"]: each for each in installation.extras()}
    assert set(extras) == {"onnx", "ray"}
    assert extras["ray"]["install"] == "pip install 'dnal[ray]'"
    assert not extras["ray"]["present"]


def test_every_extra_of_the_project_has_a_purpose() -> None:
    import tomllib

    project = Path(package.__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    assert installation.PURPOSES.keys() <= extras.keys()
    assert extras.keys() - installation.PURPOSES.keys() <= {"dev", "docs", "coverage"}


def test_the_machine() -> None:
    found = machine()
    assert found["threads"] == torch.get_num_threads()
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)
    assert devices()[-1]["name"] == "cpu"
    assert [each["default"] for each in devices()].count(True) == 1


def test_precisions_are_timed_or_refused() -> None:
    state = torch.get_rng_state()
    found = [each for each in precision.precisions() if each["device"] == "cpu"]
    assert [each["precision"] for each in found] == list(precision.PRECISIONS)
    assert all((each["ms"] is None) == bool(each["refusal"]) for each in found)
    assert found[0]["ms"] > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_places(tmp_path: Path) -> None:
    deep = places.place(tmp_path / "not" / "there" / "yet")
    assert (deep["path"], deep["refusal"]) == (str(tmp_path / "not" / "there" / "yet"), "")
    assert deep["free_bytes"] > 0
    (tmp_path / "file").touch()
    assert places.place(tmp_path / "file" / "below")["refusal"]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


def test_an_installation_that_computes_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network: torch.nn.Module, architecture: package.Architecture) -> torch.nn.Module:
        small = package.compact(network, architecture)
        with torch.no_grad():
            next(small.parameters()).mul_(1.1)
        return small

    monkeypatch.setattr(self_test, "compact", wrong)
    assert [check["holds"] for check in self_test.self_test()] == [True, True, False]


def test_a_self_test_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **named: object) -> None:
        raise RuntimeError("operator torchvision::nms\ndoes not exist")

    monkeypatch.setattr(self_test, "learn", missing)
    (check,) = self_test.self_test()
    assert not check["holds"]
    assert check["found"] == "RuntimeError: operator torchvision::nms does not exist"
