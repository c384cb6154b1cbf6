"""Things by name: ours, others', and those at package.module:Class."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from dnal.base import place
from dnal.base.errors import UserError
from dnal.base.options import Options, option
from dnal.base.registry import Registry


@dataclass(frozen=True)
class Thing(Options):
    """Does nothing. And that well."""


@dataclass(frozen=True)
class Ours(Thing):
    """Is ours.

    More of it.
    """

    size: int = option(3, "How large.", least=1)


@dataclass(frozen=True)
class Theirs(Thing):
    """Is somebody else's."""

    share: float = option(0.5, "How much.", least=0, most=1)


THINGS = Registry("thing", Thing, {"ours": f"{__name__}:Ours"})


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings one."""

    def points(group: str) -> list[EntryPoint]:
        return [EntryPoint("theirs", f"{__name__}:Theirs", group)] if group == "dnal.things" else []

    monkeypatch.setattr(place, "entry_points", points)


def test_ours_by_name_text_values_and_itself() -> None:
    for given in ("ours:size=5", {"name": "ours", "size": 5}, Ours(5)):
        assert THINGS.read(given) == Ours(5)
    assert THINGS.read("ours") == Ours()
    assert THINGS.text(Ours(5)) == "ours:size=5"
    assert THINGS.text(Ours()) == "ours"
    assert THINGS.values(Ours(5)) == {"name": "ours", "size": 5}


def test_an_installed_package_brings_its_own(theirs: None) -> None:
    assert THINGS.names() == ["ours", "theirs"]
    assert THINGS.read("theirs:share=0.25") == Theirs(0.25)
    assert THINGS.name_of(Theirs()) == "theirs"


def test_any_class_at_its_place() -> None:
    at = f"{__name__}:Theirs"
    found = THINGS.read(f"{at}:share=1")
    assert found == Theirs(1.0)
    assert THINGS.read(at) == Theirs()
    assert THINGS.read(THINGS.values(found)) == THINGS.read(THINGS.text(found)) == found


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("our", "unknown thing 'our'; did you mean 'ours'"),
        ("ours:sise=3", "the thing 'ours' has no option 'sise'; did you mean 'size'"),
        ("ours:size=0", "size is 1 or more"),
        ({"name": "ours", "size": "3"}, "size is a whole number"),
        ({"size": 3}, "a thing is a name, such as 'ours'"),
        (3, "a thing is a name"),
        ({"name": "no.such.module:Class"}, "cannot be imported"),
        ({"name": f"{__name__}:Nothing"}, "cannot be imported"),
        ({"name": f"{__name__}:THINGS"}, "is no thing"),
        ({"name": "pathlib:Path"}, "is no thing"),
    ],
)
def test_what_there_is_not_is_a_sentence(given: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        THINGS.read(given)


def test_the_card_says_what_the_class_says() -> None:
    text, rows = THINGS.card("ours")
    assert text == "Is ours.\n\nMore of it."
    assert rows == [("size", "a whole number, 1 or more", "3", "How large.")]
