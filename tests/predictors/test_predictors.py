"""Every predictor: scikit-learn's conventions, the same answers from arrays, and files that may be anybody's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from architectures import CELLS, WORTH
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import cross_val_score
from trained_chains import CHAINS, SIZES

from dnal import UserError
from dnal.predictors import PREDICTORS, Predictor, cross_validated
from dnal.predictors.correlation import tau
from dnal.predictors.file import DOCUMENT, TENSORS, Saved, read_predictor, write_predictor
from dnal.predictors.scale import Scale
from dnal.predictors.transfer import Transfer

QUICK = {
    "boosting": "boosting:trees=60,encoding=flat", "ridge": "ridge:encoding=flat",
    "gaussian-process": "gaussian-process:encoding=counts", "mlp": "mlp:hidden=16,steps=60",
    "nar-former": "nar-former:width=24,heads=2,depth=1,hidden=16,epochs=40,lr=0.003,batch=40",
    "assessor": "assessor:epochs=60,others=20,bandwidth=0.02,hidden=32",
    "statistics": "statistics:trees=60",
    "neural-graph": "neural-graph:network=graph,width=8,edges=4,depth=1,frequencies=2,epochs=25,batch=20,lr=0.02",
    "sne": "sne:width=8,heads=2,chunk=16,epochs=20,batch=10,lr=0.001,invariance=0",
}  # fmt: skip
NAMES = PREDICTORS.names()
OF_WEIGHTS = [name for name in NAMES if PREDICTORS.of(name).reads == "weights"]
Learnt = dict[str, Predictor]


def known(name: str) -> tuple[Any, Any]:
    """Sixty of what a predictor reads, and their values."""
    return (CHAINS, SIZES) if name in OF_WEIGHTS else (CELLS, WORTH)


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    found = {}
    for name in NAMES:
        given, values = known(name)
        found[name] = PREDICTORS.read(QUICK[name]).fit(given[:40], values[:40], unlabelled=given[40:])
    return found


def test_all_are_tried_here() -> None:
    assert set(QUICK) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_what_it_was_given_and_is_the_same_again(learnt: Learnt, name: str) -> None:
    model, (given, values) = learnt[name], known(name)
    assert tau(model.predict(given[:40]), values[:40]) > 0.4
    again = clone(model).fit(given[:40], values[:40], unlabelled=given[40:])
    assert (again.predict(given) == model.predict(given)).all()
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(UserError, match="learnt nothing"):
        clone(model).predict(given)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_does_not_depend_on_what_else_is_asked(learnt: Learnt, name: str) -> None:
    given, _ = known(name)
    alone = np.concatenate([learnt[name].predict(given[row : row + 1]) for row in range(40, 46)])
    assert learnt[name].predict(given)[40:46] == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_gives_the_same_answers(learnt: Learnt, name: str, tmp_path: Path) -> None:
    write_predictor(tmp_path / "p", Saved(learnt[name], "accuracy", "made", (), ("a", "b")))
    found = read_predictor(tmp_path / "p")
    assert (found.target, found.table, found.labelled) == ("accuracy", "made", ("a", "b"))
    given, _ = known(name)
    assert (found.predictor.predict(given) == learnt[name].predict(given)).all()
    assert found.predictor.get_params() == learnt[name].get_params()


def test_scikit_learn_cross_validates_them() -> None:
    assert len(cross_val_score(PREDICTORS.read("ridge:encoding=flat"), CELLS, WORTH, cv=3)) == 3
    found = cross_validated(PREDICTORS.read("ridge:encoding=flat"), CELLS, WORTH)
    assert 0.3 < found.low < found.value < found.high < 1


@pytest.mark.parametrize("name", ["boosting", "ridge", "gaussian-process"])
def test_arrays_answer_as_scikit_learn_itself(learnt: Learnt, name: str) -> None:
    model = learnt[name]
    x, places = model._encode(CELLS), model.scale_.places_of(WORTH[:40])
    seed = int(np.random.default_rng((0, 0)).integers(2**31))
    theirs = {
        "boosting": GradientBoostingRegressor(n_estimators=60, subsample=0.8, random_state=seed),
        "ridge": KernelRidge(kernel="rbf", gamma=1 / x.shape[1], alpha=0.1),
        "gaussian-process": GaussianProcessRegressor(
            ConstantKernel(0.1, (1e-4, 1e2)) * RBF(np.sqrt(x.shape[1] / 2), (1e-2, 1e4))
            + WhiteKernel(0.01, (1e-6, 1.0))
        ),
    }[name]
    shift = 0.0 if name == "boosting" else 0.5
    said = theirs.fit(x[:40], places - shift).predict(x) + shift
    assert model._answer(model.members_[0], x) == pytest.approx(said, abs=1e-7)
    if name == "gaussian-process":
        mean, deviation = theirs.predict(x, return_std=True)
        above, below = (model.scale_.values_of(mean + 0.5 + sign * deviation) for sign in (1, -1))
        assert model.predict(CELLS, return_std=True)[1] == pytest.approx((above - below) / 2, rel=1e-4)


def test_an_ensemble_says_how_sure_it_is_and_one_alone_does_not() -> None:
    model = PREDICTORS.read("ridge:members=4").fit(CELLS[:30], WORTH[:30])
    mean, spread = model.predict(CELLS, return_std=True)
    answers = np.stack([model.scale_.values_of(model._answer(one, model._encode(CELLS))) for one in model.members_])
    assert mean == pytest.approx(answers.mean(0))
    assert spread == pytest.approx(answers.std(0, ddof=1))
    with pytest.raises(UserError, match="members=5"):
        PREDICTORS.read("ridge").fit(CELLS[:30], WORTH[:30]).predict(CELLS, return_std=True)


def test_rows_of_numbers_are_learnt_and_others_say_what_they_read() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    values = rows @ [1.0, 2.0, 3.0]
    for name in NAMES:
        model = PREDICTORS.read(QUICK[name])
        if model.reads in ("graphs", "weights"):
            with pytest.raises(UserError, match=f"reads {model.reads}"):
                model.fit(rows, values)
        else:
            assert tau(model.fit(rows[:30], values[:30], unlabelled=rows[30:]).predict(rows[30:]), values[30:]) > 0.3
            with pytest.raises(UserError, match="rows of numbers are"):
                model.predict(rows[:, :2])


@pytest.mark.parametrize("values", [[1.0] * 40, [*[1.0] * 39, np.nan], [1.0, 2.0]], ids=["equal", "nan", "few"])
def test_labels_from_which_nothing_can_be_learnt_are_a_sentence(values: list[float]) -> None:
    with pytest.raises(UserError):
        PREDICTORS.read("ridge").fit(CELLS[:40], values)


def test_the_scale_keeps_order_everywhere_and_gives_labels_back() -> None:
    labels = np.array([10.0, 10.0, 50.0, 90.0, 91.0, 91.5])
    for learns in ("ranks", "values"):
        scale = Scale.of(labels, learns)  # type: ignore[arg-type]
        assert scale.values_of(scale.places_of(labels)) == pytest.approx(labels)
        at = np.linspace(-0.5, 1.5, 101)
        assert (np.diff(scale.values_of(at)) > 0).all()
        assert scale.places_of(scale.values_of(at)) == pytest.approx(at)
        assert scale.values_of(1.2) < (91.6 if learns == "ranks" else 108.0)
    assert Scale.of(labels, "ranks").places.tolist() == pytest.approx([1 / 6, 2.5 / 6, 3.5 / 6, 4.5 / 6, 5.5 / 6])


def test_a_transfer_follows_its_source_and_learns_what_is_different() -> None:
    source = PREDICTORS.read("boosting").fit(CELLS, WORTH)
    other = 100 - 3 * WORTH  # so that its ranks are the other way round
    same = Transfer(source).fit(CELLS[:8], 7 * WORTH[:8] + 1)
    assert tau(same.predict(CELLS), WORTH) > 0.85
    assert clone(same).source is source
    assert tau(Transfer(source).fit(CELLS[:40], other[:40]).predict(CELLS[40:]), other[40:]) > 0.2


def test_a_foreign_predictor_runs_no_code_and_damage_is_a_sentence(learnt: Learnt, tmp_path: Path) -> None:
    for name in NAMES:
        write_predictor(tmp_path / name, Saved(learnt[name], "accuracy", "made"))
        document = json.loads((tmp_path / name / DOCUMENT).read_text())
        for spoilt in spoilt_documents(document):
            folder = tmp_path / "spoilt"
            folder.mkdir(exist_ok=True)
            (folder / DOCUMENT).write_text(json.dumps(spoilt))
            (folder / TENSORS).write_bytes((tmp_path / name / TENSORS).read_bytes())
            with pytest.raises(UserError, match="spoilt"):
                read_predictor(folder)


def spoilt_documents(document: dict[str, object]) -> list[object]:
    options, scale = dict(document["predictor"]), dict(document["scale"])  # type: ignore[call-overload]
    learnt = dict(document["learnt"])  # type: ignore[call-overload]
    wrong: list[object] = [
        [], {}, {**document, "format": 2}, {**document, "sha256": "0" * 64}, {**document, "target": 3},
        {**document, "columns": "ab"}, {**document, "labelled": [1]},
        {**document, "predictor": {**options, "name": "os:system"}},
        {**document, "predictor": {**options, "name": "nothing"}},
        {**document, "predictor": {**options, "seed": "a"}},
        {**document, "predictor": {**options, "members": 2}},
        {**document, "scale": {**scale, "values": scale["values"][::-1]}},
        {**document, "scale": {**scale, "places": [0.0]}},
        {**document, "scale": {**scale, "beyond": 0}},
        {**document, "scale": {**scale, "values": ["a"] * len(scale["values"])}},
    ]  # fmt: skip
    if "known" in learnt:
        own = dict(learnt["known"])
        wrong += [{**document, "learnt": {"known": {**own, **other}}} for other in (
            {"inputs": 10**9}, {"positions": 0}, {"weight": 0.0}, {"bias": "a"}, {"hidden": True}, {"outputs": -1},
        )]  # fmt: skip
        wrong += [{**document, "learnt": {}}, {**document, "learnt": []}]
    if "features" in learnt:
        features = dict(learnt["features"])
        wrong += [
            {**document, "learnt": {}},
            {**document, "learnt": {"features": {**features, "shift": features["shift"][:-1]}}},
            {**document, "learnt": {"features": {**features, "scale": [0.0] * len(features["scale"])}}},
            {**document, "learnt": {"features": {**features, "encoding": "none"}}},
            {**document, "learnt": {"features": {**features, "nodes": 10**9}}},
        ]
    sizes = [one for one in ("width", "hidden", "trees", "units", "depth") if one in options]
    return wrong + [{**document, "predictor": {**options, one: options[one] * 2}} for one in sizes if one != "depth"]


@pytest.mark.parametrize("name", NAMES)
def test_the_wrong_kind_of_architectures_is_a_sentence(learnt: Learnt, name: str) -> None:
    other: Any = CELLS if name in OF_WEIGHTS else CHAINS
    with pytest.raises(UserError, match=r"not (a list of )?(Graph|Chain)"):
        learnt[name].predict(other)


def test_tensors_that_are_none_are_a_sentence(learnt: Learnt, tmp_path: Path) -> None:
    write_predictor(tmp_path / "p", Saved(learnt["boosting"], "accuracy", "made"))
    whole = (tmp_path / "p" / TENSORS).read_bytes()
    (tmp_path / "p" / TENSORS).unlink()
    (tmp_path / "p" / TENSORS).symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="link"):
        read_predictor(tmp_path / "p")
    (tmp_path / "p" / TENSORS).unlink()
    (tmp_path / "p" / TENSORS).write_bytes(whole[:-1])
    with pytest.raises(UserError, match="written with"):
        read_predictor(tmp_path / "p")


def test_trees_that_point_outside_are_refused(learnt: Learnt) -> None:
    model = learnt["boosting"]
    for name in ("feature", "left", "right"):
        arrays = dict(model.members_[0])
        arrays[name] = arrays[name] + 10**6
        with pytest.raises(UserError, match=name):
            model._check_arrays(arrays)


def test_a_folder_that_holds_something_else_is_kept(learnt: Learnt, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"mine\.txt"):
        write_predictor(tmp_path, Saved(learnt["ridge"], "accuracy", "made"))
