"""Runs of before the options were renamed are loaded, evaluated, reported, exported and repeated as those of today."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cli_program import Program
from dnal.run.files import ARCHITECTURE, CONFIG, MANIFEST, MODEL, RESULT
from dnal.run.loading import load
from dnal.run.manifest import manifest_of
from dnal.run.older import config_of
from dnal.run.repeat import recorded

OLD: dict[str, Any] = {
    "model": "vgg_small", "weights": None, "input": [1, 8, 8], "classes": 10, "data": "digits", "root": None,
    "limit_train": 300, "batch_size": 64, "workers": 0, "seed": 0, "include": [], "exclude": [], "deploy_batch": 1,
    "backend": "torch-cpu", "budget": "macs<=30%", "method": "dnal", "init": "trained", "recipe": "budget",
    "epochs": [1, 1, 1], "lr": 0.1, "rates": [0.1, 0.03, 0.05], "lambda": None, "base_is_trained": False,
    "distil": True, "steps": "joint", "least": 1, "multiple": 1, "depth": True, "precision": "32-true",
    "memory_format": "contiguous", "threads": 1, "device": "cpu", "processes": 1, "input_shape": [1, 8, 8],
    "variables": 448, "branches": 0,
}  # fmt: skip
"""What an older version wrote of the job of ``finished``, but for what says which data and which software."""
OLDER = Path(__file__).parent / "older_run"
"""A run of a version before that: three epochs on 96 digits, 3 % of the MACs, 61 KB."""
KEPT = ("dnal", "torch", "data_sha256", "class_names", "mean", "std", "memory_format", "threads")


def written_before(run: Path, **settings: Any) -> None:
    """Puts the config.yaml and result.json of an older version in place of today's."""
    today = yaml.safe_load((run / CONFIG).read_text())
    old = OLD | {key: today[key] for key in KEPT} | settings
    result = json.loads((run / RESULT).read_text()) | {"recipe": old["recipe"], "method": old["method"]}
    (run / CONFIG).write_text(yaml.safe_dump(old, sort_keys=False))
    (run / RESULT).write_text(json.dumps(result))
    (run / MANIFEST).write_text(manifest_of(run))


@pytest.fixture
def run(finished: Path, here: Path) -> Path:
    folder = Path(shutil.copytree(finished, here / "run"))
    written_before(folder)
    return folder


def test_one_made_by_an_older_version_is_taken_by_every_command(here: Path, dnal: Program) -> None:
    run = Path(shutil.copytree(OLDER, here / "older"))
    network = load(run)
    recorded_figures = json.loads((run / RESULT).read_text())
    assert sum(p.numel() for p in network.parameters()) == recorded_figures["compact"]["params"]
    assert network(torch.rand(4, 1, 8, 8)).shape == (4, 10)
    answer = dnal("eval", "older", "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert found["compact"]["accuracy"] == pytest.approx(recorded_figures["compact"]["accuracy"], abs=0.01)
    for command in (["report", "older"], ["export", "older", "--to", "pt2"]):
        answer = dnal(*command)
        assert answer.status == 0, answer.err


def test_it_is_repeated_byte_for_byte(run: Path, dnal: Program) -> None:
    answer = dnal("learn", "--like", "run", "--out", "again")
    assert (answer.status, answer.err) == (0, "")
    for name in (ARCHITECTURE, MODEL):
        assert (run / name).read_bytes() == Path("again", name).read_bytes()


def test_an_option_that_became_one_of_the_method(run: Path) -> None:
    written_before(run, recipe="paper", distil=False, **{"lambda": 0.001})
    found = recorded(run)
    assert (found.method, found.without) == ({"name": "paper", "penalty": 0.001}, [])
    written_before(run, steps="alternating", distil=False, init="fresh", multiple=4)
    found = recorded(run)
    assert (found.method, found.without) == ({"name": "dnal", "held_out": True}, ["distillation"])
    assert (found.options["reinitialize"], found.options["divisor"]) == (True, 4)


def test_one_of_today_stays_as_it_is(finished: Path) -> None:
    document = yaml.safe_load((finished / CONFIG).read_text())
    assert config_of(document) is document
