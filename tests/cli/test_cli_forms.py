"""Options that belong to another form of a command are sentences and not ignored."""

from __future__ import annotations

import pytest

from cli_program import Program

OTHERS = [
    ("predict fit table --top 3", "--top belongs to `dnal predict rank`, and `dnal predict fit` has no use for it"),
    ("predict rank p table --model ridge", "--model belongs to `dnal predict fit`"),
    ("predict rank p table --seed 0", "--seed belongs to `dnal predict fit` and `dnal predict zoo`"),
    ("predict zoo --labels 20", "--labels belongs to `dnal predict fit`"),
    ("search --train-embedding --sampler pso", "--sampler belongs to `dnal search`"),
    ("search --space mlp --train-embedding --evaluations 3", "--evaluations belongs to `dnal search`"),
    ("search --space mlp --train-embedding --no-report", "--report belongs to `dnal search`"),
    ("data --epochs 3", "--epochs belongs to `dnal data NAME --scores`"),
    ("data digits --networks 3", "--networks belongs to `dnal data NAME --scores`"),
    ("data --root there", "--root belongs to `dnal data NAME` and `dnal data NAME --scores`"),
    ("study --size tiny", "--size belongs to `dnal study NAME` and `dnal study NAME --report-only`"),
    ("study --report-only", "--report-only belongs to `dnal study NAME --report-only`"),
    ("study xor --report-only --jobs 2", "--jobs belongs to `dnal study NAME`"),
]


@pytest.mark.parametrize(("line", "said"), OTHERS, ids=[line for line, _ in OTHERS])
def test_an_option_of_another_form_is_a_sentence(line: str, said: str, dnal: Program) -> None:
    answer = dnal(*line.split())
    assert answer.status == 2
    assert answer.err.startswith(f"dnal: {said}")
    assert answer.err.count("\n") == 1


def test_an_option_of_its_own_form_is_none(dnal: Program) -> None:
    assert dnal("study", "--quiet").status == 0
    assert "takes one table" in dnal("predict", "fit", "--labels", "20", "--seed", "1").err
    assert "has no embedding to train" in dnal("search", "--train-embedding", "--space", "layers", "--seed", "1").err
