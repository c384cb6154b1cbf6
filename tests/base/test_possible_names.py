"""Paths that no system can have are sentences, wherever one is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import dnal
from dnal.base.errors import UserError
from dnal.base.names import at_home, possible
from dnal.run import check_free

IMPOSSIBLE = {
    "a long name": "folder/" + "x" * 256,
    "a long name of few characters": "ö" * 128,
    "a long path": "xyz/" * 1024,
    "a NUL": "a\0b",
    "half a character": "a\ud800",
}
TAKERS: dict[str, Callable[[str], object]] = {
    "load": dnal.load,
    "evaluate": dnal.run.evaluate,
    "out": check_free,
    "data": dnal.data.load,
    "npz": lambda name: dnal.data.load(name + ".npz"),
    "root": lambda name: dnal.data.load("fashion-mnist", root=name),
    "weights": lambda name: dnal.models.load_weights(torch.nn.Linear(2, 2), name),
}


@pytest.mark.parametrize("name", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS.keys())
def test_every_taker_of_a_path(here: Path, take: Callable[[str], object], name: str) -> None:
    with pytest.raises(UserError) as caught:
        take(name)
    told = str(caught.value)
    assert told.isprintable()
    assert len(told) < 300
    assert any(word in told for word in ("bytes, more than", "a NUL in it", "half a character"))


@pytest.mark.parametrize("name", ["x" * 5000, "users\0networks", "a\ud800"])
@pytest.mark.parametrize("form", ["{}", "torchvision/{}", "timm/{}", "{}:build", "tiny:{}"])
def test_names_of_models(here: Path, form: str, name: str) -> None:
    with pytest.raises(UserError):
        dnal.models.create(form.format(name))


@pytest.mark.parametrize("name", ["x" * 255, "xyz/" * 1023, "a b", "ö" * 127, "\udcff"])
def test_what_a_system_can_have_passes(tmp_path: Path, name: str) -> None:
    assert possible(name) == Path(name)
    if "/" not in name:
        (tmp_path / name).touch()  # it can indeed


def test_homes() -> None:
    assert at_home("~/x") == Path.home() / "x"
    with pytest.raises(UserError, match="the home in the root '~no-such-user/x' is not known"):
        at_home("~no-such-user/x", "root")
