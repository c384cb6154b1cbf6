"""Code of others by its place: what is imported, and from where."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dnal.base.errors import UserError
from dnal.base.place import found_at, is_place
from dnal.methods import METHODS
from dnal.train.schedule import schedule_of


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's, who is there."""
    (tmp_path / "users_place.py").write_text("class Here:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "users_place", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["a:b", "a.b.c:d", "a:b.c", "_a1:B"])
def test_places(name: str) -> None:
    assert is_place(name)


@pytest.mark.parametrize("name", ["a", "a:", ":b", "a::b", "a b:c", "a:b:c=1", "1a:b", "a..b:c", "./a:b", "a/b:c", ""])
def test_what_is_no_place(name: str) -> None:
    assert not is_place(name)


def test_a_place_that_is_said_is_looked_for_where_the_user_is(users: Path) -> None:
    assert found_at("users_place:Here", "thing").__name__ == "Here"
    assert str(users) in sys.path


def test_names_never_look_there(users: Path) -> None:
    """A file of the user's that is called like a package must not take its place in a job that asks for a method."""
    METHODS.of("dnal")
    schedule_of("step")
    with pytest.raises(UserError, match="no module 'users_place' for thing 'mine'"):
        found_at("users_place:Here", "thing", "mine")
    assert str(users) not in sys.path
