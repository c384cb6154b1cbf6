"""`dnal predict` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli_program import Program
from dnal.base.errors import UserError

EDGES = np.random.default_rng(0).integers(5, size=(60, 6))
WORTH = np.array([0.0, 1.0, 2.0, 3.0, 0.5])[EDGES].sum(1)


@pytest.fixture
def made(here: Path) -> Path:
    latency = np.stack([1 + WORTH, 30 - WORTH], 1)
    np.savez(
        here / "unknown.npz", edges=EDGES, accuracy=np.stack([np.full(60, np.nan), WORTH, WORTH], 1),
    )  # fmt: skip
    infinite = np.stack([WORTH, WORTH, WORTH], 1)
    infinite[7, 1] = np.inf
    np.savez(here / "infinite.npz", edges=EDGES, accuracy=infinite)
    np.savez(
        here / "table.npz", edges=EDGES, accuracy=np.stack([WORTH, WORTH, -WORTH], 1), latency_ms=latency,
        devices=np.array(["near", "far"]),
    )  # fmt: skip
    return here / "table.npz"


def test_fit_tells_how_it_ranks_and_rank_ranks(dnal: Program, made: Path) -> None:
    answer = dnal("predict", "fit", made, "--labels", "30", "--target", "accuracy", "--out", "p")
    assert (answer.status, answer.err) == (0, "")
    assert "labelled, by cross-validation" in answer.out
    assert "not labelled" in answer.out
    assert answer.out.splitlines()[-1].strip() == "p"
    assert sorted(path.name for path in Path("p").iterdir()) == ["predictor.json", "predictor.safetensors"]
    ranked = json.loads(dnal("predict", "rank", "p", made, "--top", "60", "--json").out)
    said = [one["predicted"] for one in ranked["ranked"]]
    assert said == sorted(said, reverse=True)
    assert sum(one["labelled"] for one in ranked["ranked"]) >= 30  # cells that stand there twice count twice
    true = [one["known"] for one in ranked["ranked"]]
    assert np.mean(true[:10]) > np.mean(true[-10:]) + 3


def test_of_latency_the_least_comes_first(dnal: Program, made: Path) -> None:
    found = json.loads(
        dnal(
            "predict", "fit", made, "--target", "latency:far", "--model", "ridge:members=3", "--out", "p", "--json"
        ).out
    )
    assert found["tau_cross_validated"]["value"] > 0.5
    assert found["tau_not_labelled"] is None
    ranked = json.loads(dnal("predict", "rank", "p", made, "--json").out)
    assert ranked["least_first"]
    said = [one["predicted"] for one in ranked["ranked"]]
    assert said == sorted(said)
    assert all(one["spread"] >= 0 for one in ranked["ranked"])


WRONG = {
    "word": (["predict", "rnak", "p", "table.npz"], "did you mean 'rank'?"),
    "target": (["predict", "fit", "table.npz", "--target", "latency:neer"], "did you mean 'latency:near'?"),
    "model": (["predict", "fit", "table.npz", "--model", "bosting"], "did you mean 'boosting'?"),
    "option": (["predict", "fit", "table.npz", "--model", "ridge:alfa=1"], "did you mean 'alpha'?"),
    "labels": (["predict", "fit", "table.npz", "--labels", "61"], "at most 60"),
    "one label": (["predict", "fit", "table.npz", "--labels", "1"], "--labels is 2 or more"),
    "nothing known": (["predict", "fit", "unknown.npz"], "knows 'accuracy' of 0 of its 60 architectures"),
    "infinite": (["predict", "fit", "infinite.npz"], "accuracy is infinite in row 7; write NaN for what was not"),
    "seed": (["predict", "fit", "table.npz", "--seed", "-1"], "--seed is 0 or more"),
    "one path": (["predict", "rank", "table.npz"], "folder of a predictor"),
    "two paths": (["predict", "fit", "a", "b"], "one table"),
    "no predictor": (["predict", "rank", ".", "table.npz"], "no predictor"),
    "no table": (["predict", "fit", "none.npz"], "no file"),
    "no runs": (["predict", "fit", "."], "0 finished runs"),
    "zoo of a path": (["predict", "zoo", "here"], "takes no path such as 'here'"),
    "recipe": (["predict", "zoo", "--recipe", "step=3"], "did you mean 'steps'?"),
    "recipe of networks": (["predict", "zoo", "--recipe", "networks=3"], "give --networks"),
    "networks": (["predict", "zoo", "--networks", "1"], "networks is 2 or more"),
    "data of a zoo": (["predict", "zoo", "--data", "digts"], "did you mean 'digits'?"),
    "weights of a table": (["predict", "fit", "table.npz", "--model", "sne"], "reads weights"),
}


@pytest.mark.parametrize(("arguments", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_call_of_predict_is_one_sentence(
    dnal: Program, made: Path, arguments: list[str], expected: str
) -> None:
    answer = dnal(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert expected in answer.err


def test_a_folder_with_something_else_is_kept_and_nothing_learnt(dnal: Program, made: Path) -> None:
    answer = dnal("predict", "fit", made, "--out", ".")
    assert (answer.status, answer.out) == (2, "")
    assert "infinite.npz" in answer.err


def test_a_table_whose_operations_are_others_is_told(dnal: Program, made: Path) -> None:
    assert dnal("predict", "fit", made, "--labels", "20", "--model", "ridge", "--out", "p").status == 0
    assert dnal("predict", "rank", "p", made).err == ""
    np.savez("macro.npz", arch=EDGES % 3, accuracy=WORTH)
    answer = dnal("predict", "rank", "p", "macro.npz")
    assert answer.status == 0
    assert "learnt from the table 'nasbench201', and 'macro.npz' is the table 'macro'" in answer.err


def test_where_the_cross_validation_fails_nothing_is_written(
    dnal: Program, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise UserError("the validation fails.")

    monkeypatch.setattr("dnal.predictors.cross_validated", refusing)
    answer = dnal("predict", "fit", made, "--out", "p")
    assert (answer.status, answer.out) == (2, "60 architectures of nasbench201; learning accuracy from 60\n")
    assert answer.err == "dnal: the validation fails.\n"
    assert not Path("p").exists()


def test_a_zoo_is_trained_learnt_from_and_ranked(dnal: Program, here: Path) -> None:
    recipe = "together=8,steps=60,images=150,widths=4,depths=1"
    call = ("predict", "zoo", "--networks", "16", "--recipe", recipe, "--out", "z")
    answer = dnal(*call)
    assert (answer.status, answer.err) == (0, "")
    assert "16 of 16 networks" in answer.out
    assert answer.out.splitlines()[-1].strip() == "z"
    again = json.loads(dnal(*call, "--json").out)
    assert (again["networks"], again["not_finite"], again["folder"]) == (16, 0, "z")
    refused = dnal(*call, "--seed", "1")
    assert refused.status == 2
    assert "another recipe" in refused.err
    found = json.loads(dnal("predict", "fit", "z", "--labels", "8", "--out", "p", "--json").out)
    assert (found["predictor"]["name"], found["architectures"], found["not_labelled"]) == ("statistics", 16, 8)
    ranked = json.loads(dnal("predict", "rank", "p", "z", "--top", "16", "--json").out)["ranked"]
    assert [one["predicted"] for one in ranked] == sorted((one["predicted"] for one in ranked), reverse=True)
    assert sum(one["labelled"] for one in ranked) == 8
    assert all(0 <= one["known"] <= 1 for one in ranked)
    wrong = dnal("predict", "fit", "z", "--model", "boosting", "--out", "q")
    assert (wrong.status, wrong.out) == (2, "")
    assert "statistics, neural-graph and sne" in wrong.err
