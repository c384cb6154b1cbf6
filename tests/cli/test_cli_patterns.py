"""`--explain`, `--include` and `--exclude`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import dnal as package
from cli_program import SHORT, Program
from dnal import models
from dnal.architecture.architecture import Architecture
from dnal.run import read_config
from dnal.run.files import ARCHITECTURE
from dnal.space.space import Space

IMAGE = torch.rand(1, 3, 32, 32)


def test_explain_says_what_the_space_says(dnal: Program) -> None:
    space = Space.of(models.create("cifar/resnet20"), IMAGE)
    name = space.groups[1].name
    answer = dnal("space", "--model", "cifar/resnet20", "--explain", name)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.strip() == str(space.explain(name))


def test_explain_as_json(dnal: Program) -> None:
    space = Space.of(models.create("cifar/resnet20"), IMAGE)
    group = space.groups[1]
    found = json.loads(dnal("space", "--model", "cifar/resnet20", "--explain", group.name, "--json").out)
    assert found["name"] == group.name
    assert found["dimensions"][0]["parts"][0]["width"] == group.width


def test_explain_knows_what_is_excluded(dnal: Program) -> None:
    name = Space.of(models.create("cifar/resnet20"), IMAGE).groups[1].name
    answer = dnal("space", "--model", "cifar/resnet20", "--exclude", name, "--explain", name)
    assert f"excluded by '{name}'" in answer.out


@pytest.mark.parametrize("option", ["--include", "--exclude"])
def test_space_with_patterns(dnal: Program, option: str) -> None:
    chosen = ["*.0.conv1", "*.1.conv1"]
    network = models.create("cifar/resnet20")
    space = Space.of(network, IMAGE, **{option.removeprefix("--"): chosen})
    asked = [word for pattern in chosen for word in (option, pattern)]
    found = json.loads(dnal("space", "--model", "cifar/resnet20", *asked, "--json").out)
    assert 0 < found["variables"] == space.num_variables < Space.of(network, IMAGE).num_variables


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("space", "--explain", "clasifier.0.weight"), "did you mean 'classifier.0.weight'?"),
        (("space", "--exclude", "clasifier"), "did you mean 'classifier'?"),
        (("space", "--include", "clasifier"), "did you mean 'classifier'?"),
        (("learn", "--exclude", "clasifier"), "did you mean 'classifier'?"),
        (("learn", "--exclude", "*"), "include more or exclude less"),
    ],
)
def test_bad_names_end_in_a_sentence(here: Path, dnal: Program, arguments: tuple[str, ...], expected: str) -> None:
    answer = dnal(*arguments)
    assert answer.status == 2
    assert expected in answer.err
    assert answer.err.count("\n") == 1
    assert not list(here.iterdir())


def test_a_run_keeps_what_was_excluded_and_can_be_loaded(here: Path, dnal: Program) -> None:
    first = Space.of(models.create("vgg_small"), torch.rand(2, *models.default_input("vgg_small"))).groups[0].name
    answer = dnal("learn", *SHORT, "--budget", "macs<=70%", "--exclude", first, "--out", "run")
    assert (answer.status, answer.err) == (0, "")
    config = read_config("run")
    assert (config.include, config.exclude) == ([], [first])
    kept = Architecture.load(here / "run" / ARCHITECTURE).kept
    assert kept[first][0] is None
    assert any(indices is not None for dims in kept.values() for indices in dims)
    whole = dict(models.create("vgg_small", classes=10, input_shape=config.input).named_parameters())
    loaded = dict(package.load("run").named_parameters())
    assert loaded[first].shape[0] == whole[first].shape[0]
    assert dnal("eval", "run").status == 0


def test_a_run_from_before_there_were_patterns_can_be_read(finished: Path) -> None:
    text = (finished / "config.yaml").read_text()
    assert "exclude: []" in text
    assert read_config(finished).include == []
