"""`dnal data NAME`: its parts, and the scores of its examples."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from cli_program import Program
from dnal import data


def test_a_name_shows_the_parts(dnal: Program) -> None:
    found = json.loads(dnal("data", "wine", "--json").out)
    known = data.load("wine")
    assert (found["kind"], found["train"], found["test"]) == ("tables", len(known.train), len(known.test))
    assert str(len(known.train)) in dnal("data", "wine").out


def test_scores_are_a_table_and_a_page_with_pictures(dnal: Program, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    quick = ("--epochs", "1", "--networks", "1", "--limit-train", "90")
    told = dnal("data", "digits", "--scores", "el2n", *quick, "--out", out)
    assert "scores.csv" in told.out
    rows = list(csv.DictReader(io.StringIO((out / "scores.csv").read_text())))
    known = data.load("digits", limit_train=90)
    assert sorted(int(row["example"]) for row in rows) == list(range(90))
    assert all(int(row["class"]) == int(known.train.y[int(row["example"])]) for row in rows)
    values = [float(row["score"]) for row in rows]
    assert values == sorted(values, reverse=True)
    page = (out / "scores.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 80
    assert f"number {rows[0]['example']}<" in page
    assert 'src="http' not in page


def test_scores_of_a_table_have_no_pictures(dnal: Program, tmp_path: Path) -> None:
    quick = ("--epochs", "2", "--networks", "1", "--model", "mlp/small")
    dnal("data", "iris", "--scores", "forgetting", *quick, "--out", tmp_path / "s")
    page = (tmp_path / "s" / "scores.html").read_text()
    assert "<img" not in page.partition("<main")[2]
    assert "setosa" in page


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scores", "el2n"], "give its name"),
        (["digits", "--scores", "hardness"], "unknown --scores 'hardness'"),
        (["digits", "--scores", "el2n", "--epochs", "0"], "--epochs is"),
        (["diabetes", "--scores", "el2n", "--model", "mlp/small", "--epochs", "1"], "one class each"),
        (["digits"], "--out belongs to `dnal data NAME --scores`"),
        (["nothing", "--scores", "el2n"], "nothing"),
    ],
)
def test_wrong_input_is_one_sentence(dnal: Program, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    told = dnal("data", *arguments, "--out", tmp_path / "s")
    assert told.status == 2
    assert sentence in told.err
    assert "Traceback" not in told.err


def test_parts_of_every_kind_in_its_words(dnal: Program) -> None:
    assert dnal("data", "diabetes").out.startswith("diabetes: tables, 10, 1 target of regression")
    told = dnal("data", "blocks").out
    known = data.load("blocks")
    assert "nodes" in told
    assert all(str(int((part.y >= 0).sum())) in told for part in (known.train, known.val, known.test))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("wine",), "'wine' is of the kind 'tables'; give --model (`dnal models --kind tables`)"),
        (("diabetes", "--model", "mlp/small"), "scores are of examples that have one class each"),
        (("blocks", "--model", "gcn/small"), "scores are of examples that have one class each"),
    ],
)
def test_what_cannot_be_scored(given: tuple[str, ...], sentence: str, dnal: Program, tmp_path: Path) -> None:
    failed = dnal("data", *given, "--scores", "el2n", "--out", tmp_path / "none")
    assert failed.status == 2
    assert sentence in failed.err
    assert not (tmp_path / "none").exists()
