"""Text of anybody's: read as any reader would, or refused before it costs anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from dnal.base.reading import DEEPEST, LONGEST, MOST, plain_json, plain_yaml

PLAIN: list[Any] = [
    {"a": 1, "b": [1.5, None, True, "x"], "c": {"d": "é 😀", "e": -3}},
    {"class_names": [f"n{number:08d}" for number in range(500)], "long": "a b " * 900},
    ["=1+1", "1:30", "0x10", "on", "2001-01-01", "", " ", "\x1b[31m", "a\nb"],
    {},
]


@pytest.mark.parametrize("document", PLAIN, ids=["nested", "long", "strange", "empty"])
def test_what_is_written_is_read(document: Any) -> None:
    assert plain_yaml(yaml.safe_dump(document, sort_keys=False, allow_unicode=True)) == document
    assert plain_json(json.dumps(document)) == document
    assert plain_json(json.dumps(document, ensure_ascii=False)) == document


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x",
        "a: !!python/object/apply:os.getcwd []",
        "a: !!binary aGk=",
        "a: !odd 1",
        "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        "[" * 10**6,
        "[" + "1," * (MOST + 1) + "]",
        f"a: '{'x' * (LONGEST + 1)}'",
        "a: " + "1:" * LONGEST + "1",
        'a: "\\ud800"',
        'a: "\\udc00\\ud800"',
        "a: \x00",
        "a: 2001-99-99",
        "a: [1",
        "a: =",
        "? [a]\n: 1",
        "<<: 1",
    ],
)
def test_yaml_that_costs_or_breaks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain_yaml(text)


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '{"a": ["\\udc00\\ud800"]}', '{"\\uDFFF": 1}', "[" * 10**5, "9" * 10**5, "{"]
)
def test_json_that_breaks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain_json(text)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "[-1e400]"])
def test_numbers_that_json_does_not_have_are_refused_unless_asked_for(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain_json(text)
    plain_json(text, finite=False)


def test_a_character_of_two_halves_is_one() -> None:
    assert plain_json('"\\ud83d\\ude00"') == "😀"
