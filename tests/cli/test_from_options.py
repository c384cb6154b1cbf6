"""What the command line says becomes values of the settings, and a wrong value is named as it is written there."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cli_program import Program
from dnal.base.errors import OptionError, UserError
from dnal.base.options import Options, flag, options_of
from dnal.cli.from_options import given, read
from dnal.settings import GROUPS, Deployment, Source, Training, Widths


def test_a_comma_parts_a_list_and_stays_in_a_name() -> None:
    assert given(Training, {"epochs": "1, 2,3"}) == {"epochs": (1, 2, 3)}
    assert given(Source, {"data": "a,b/c.npz", "input": "1,8,8"}) == {"data": "a,b/c.npz", "input": (1, 8, 8)}
    assert given(Widths, {"exclude": ["head,*", "stem/0"]}) == {"exclude": ("head,*", "stem/0")}


@pytest.mark.parametrize(
    ("kind", "name", "said", "sentence"),
    [
        (Source, "input", "1,x",
         "--input is a list of whole numbers, 1 or more and at most 2147483647, or none, not '1,x'."),
        (Source, "input", "1,0,8", "--input is 1 or more and at most 2147483647, not 0."),
        (Source, "classes", 0, "--classes is 1 or more and at most 4194304, not 0."),
        (Deployment, "deploy_batch_size", 0, "--deploy-batch-size is 1 or more and at most 65536, not 0."),
        (Widths, "min_width", "x", "--min-width is a number, more than 0, not 'x'."),
        (Widths, "divisor", "best", "--divisor is a whole number, 1 or more, or auto or none, not 'best'."),
        (Training, "epochs", "1,2",
         "--epochs is a whole number or 3 whole numbers, 0 or more and at most 2147483647, or none, not '1,2'."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_as_it_was_typed(kind: type[Options], name: str, said: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read(kind, name, said)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["learn", "--epochs", "2"], "dnal: --epochs is 3 or more, one for each of the three phases, not 2.\n"),
        (["space", "--min-width", "1.5"],
         "dnal: --min-width is a whole number of channels, 1 or more, or a share between 0 and 1, not 1.5.\n"),
        (["space", "--deploy-batch-size", "0"], "dnal: --deploy-batch-size is 1 or more and at most 65536, not 0.\n"),
        (["profile", "--batch", "0"], "dnal: --batch is 1 or more and at most 65536, not 0.\n"),
        (["profile", "--architectures", "1"], "dnal: --architectures is 2 or more and at most 2147483647, not 1.\n"),
        (["bench", "--minutes", "nan"], "dnal: --minutes is more than 0 and at most 1e+30, not nan.\n"),
    ],
)  # fmt: skip
def test_what_only_the_job_refuses_is_named_so_too(dnal: Program, arguments: list[str], sentence: str) -> None:
    answer = dnal(*arguments)
    assert (answer.status, answer.err) == (2, sentence)


def test_in_python_the_option_has_its_own_name_and_the_error_travels() -> None:
    error = OptionError("min_width", "is 1 or more, not 0.")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, UserError)
    assert str(error) == str(again) == "min_width is 1 or more, not 0."
    assert (again.name, again.rest) == (error.name, error.rest)


def test_no_two_options_of_a_job_have_one_name() -> None:
    names = [flag(one.name) for kind in GROUPS for one in options_of(kind)]
    assert len(names) == len(set(names))
