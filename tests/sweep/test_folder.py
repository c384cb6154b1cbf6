"""The folder of a sweep is worked on by one process at a time, and goes on with the same configuration only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dnal.base.errors import UserError
from dnal.sweep.configuration import LARGEST, Sweep, sweep_of
from dnal.sweep.folder import check_folder, claimed


def sweep(text: str) -> Sweep:
    return sweep_of(text, "sweep.yaml")


def test_one_at_a_time(tmp_path: Path) -> None:
    asked = sweep("grid: {seed: [0, 1]}")
    with claimed(tmp_path / "study", asked), pytest.raises(UserError, match="another `dnal sweep` works in"):
        claimed(tmp_path / "study", asked).__enter__()
    with claimed(tmp_path / "study", asked):
        pass


def test_it_goes_on_with_what_means_the_same(tmp_path: Path) -> None:
    with claimed(tmp_path, sweep("grid: {seed: [0, 1]}  # mine")):
        pass
    assert (tmp_path / "sweep.yaml").read_text() == "grid: {seed: [0, 1]}  # mine"
    check_folder(tmp_path, sweep("grid:\n  seed: [0, 1]"))
    for other in ("grid: {seed: [1, 0]}", "{job: {lr: 0.1}, grid: {seed: [0, 1]}}"):
        with pytest.raises(UserError, match="holds another sweep"):
            check_folder(tmp_path, sweep(other))


def test_a_configuration_may_stand_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("grid: {seed: [0]}")
    check_folder(tmp_path, sweep("grid: {seed: [0]}"))


def test_a_copy_that_cannot_be_read_is_told_with_its_name(tmp_path: Path) -> None:
    asked, copy = sweep("grid: {seed: [0]}"), tmp_path / "sweep.yaml"
    (tmp_path / "elsewhere.yaml").write_text(asked.text)
    for damage in (b"\xff", b"#" * (LARGEST + 1), b"[", b"a: &a [1]\ngrid: {seed: *a}", b""):
        copy.write_bytes(damage)
        with pytest.raises(UserError, match=re.escape(str(copy))):
            check_folder(tmp_path, asked)
    copy.unlink()
    copy.symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(UserError, match="is a link"):
        check_folder(tmp_path, asked)
