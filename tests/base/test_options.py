"""Options: said once, in a field; checked, written and read everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from dnal.base.errors import UserError
from dnal.base.options import Options, from_text, from_values, option, options_of, text_of, values_of


@dataclass(frozen=True)
class Example(Options):
    amount: float = option(0.1, "A share.", least=0, below=1)
    width: int | Literal["auto"] = option("auto", "A width.", least=1)
    least: int | float = option(1, "Channels, or a share.", above=0)
    kernels: tuple[int, ...] = option((3, 5), "Kernels.", least=1)
    epochs: tuple[int, int, int] | None = option(None, "Epochs.", least=0)
    depth: bool | None = option(None, "Whether blocks go.")
    optimizer: str = option("sgd", "Who steps.", known=("sgd", "adamw"))
    seed: int = option(0, "A seed.", identifies=False)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("amount=.25", "amount", 0.25),
        ("amount=1e-3", "amount", 0.001),
        ("amount=50%", "amount", 0.5),
        ("amount=0", "amount", 0.0),
        ("width=8", "width", 8),
        ("width=auto", "width", "auto"),
        ("least=2", "least", 2),
        ("least=0.5", "least", 0.5),
        ("kernels=7", "kernels", (7,)),
        ("kernels=1/3/5", "kernels", (1, 3, 5)),
        ("kernels=", "kernels", ()),
        ("epochs=1/2/3", "epochs", (1, 2, 3)),
        ("epochs=none", "epochs", None),
        ("depth=false", "depth", False),
        ("optimizer=adamw", "optimizer", "adamw"),
    ],
)
def test_a_text_is_read_as_the_fields_type(text: str, name: str, value: object) -> None:
    found = getattr(from_text(Example, text), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("amount=1", "amount is 0 or more and less than 1"),
        ("amount=nan", "amount is a number"),
        ("amount=inf", "amount is a number"),
        ("width=0", "width is 1 or more"),
        ("width=1.5", "width is a whole number"),
        ("kernels=3/0", "kernels is 1 or more"),
        ("epochs=1/2", "epochs is 3 whole numbers, 0 or more, or none, not '1/2'"),
        ("depth=maybe", "depth is true or false or none"),
        ("optimizer=adam", "did you mean 'adamw'"),
        ("amuont=0.1", "no option 'amuont'; did you mean 'amount'"),
        ("amount", "key=value, such as amount=0.1"),
        ("amount=0.1,amount=0.2", "stands twice"),
    ],
)
def test_what_an_option_does_not_take_is_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        from_text(Example, text)


@pytest.mark.parametrize(
    "values",
    [
        {"amount": True}, {"amount": "0.1"}, {"width": True}, {"width": None}, {"kernels": 3}, {"kernels": [None]},
        {"epochs": [1, 2]}, {"epochs": [1, 2, 3.5]}, {"depth": 1}, {"seed": 0.0}, {"seed": None}, {"optimizer": None},
    ],
)  # fmt: skip
def test_values_are_of_the_fields_type(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(values))):
        Example(**values)
    with pytest.raises(UserError, match=next(iter(values))):
        from_values(Example, values)


def test_a_whole_number_is_a_number() -> None:
    assert type(Example(amount=0).amount) is float


@pytest.mark.parametrize(
    "thing",
    [
        Example(),
        Example(amount=0.3, width=4, least=0.5, kernels=(1,), epochs=(1, 2, 3), depth=False, optimizer="adamw", seed=7),
        Example(least=1.0),
    ],
)
def test_a_thing_survives_its_text_and_its_values(thing: Example) -> None:
    for found in (from_text(Example, text_of(thing)), from_values(Example, values_of(thing))):
        assert found == thing
        assert values_of(found) == values_of(thing)
    assert text_of(Example()) == ""


def test_the_fields_say_all_that_is_known_of_an_option() -> None:
    last = options_of(Example)[-1]
    assert (last.name, last.kind, last.default, last.help, last.identifies) == ("seed", int, 0, "A seed.", False)
