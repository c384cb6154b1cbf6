"""Tables of everybody's: what is a number, a category, a gap, a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_wine
from torch import Tensor

import dnal
from dnal import data
from dnal.base.errors import UserError
from dnal.data import Dataset, RawTable
from dnal.data.dataset import Part
from dnal.data.objective import r2

HOUSES = "area;district;price\n" + "\n".join(f"{50 + n};{'nsw'[n % 3]};{1000.5 + 20 * n}" for n in range(40))


def x_of(part: Part) -> Tensor:
    x, _ = part.batch(torch.arange(len(part)), 0)
    assert isinstance(x, Tensor)
    return x


def file(tmp_path: Path, text: str, name: str = "table.csv") -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def everything(dataset: Dataset) -> Tensor:
    return torch.cat([x_of(part) for part in (dataset.train, dataset.val, dataset.test)])


def test_numbers_are_standardised_by_the_training_part() -> None:
    wine = data.load("wine")
    x = x_of(wine.train)
    assert torch.allclose(x.mean(0), torch.zeros(13), atol=1e-5)
    assert torch.allclose(x.std(0, correction=0), torch.ones(13), atol=1e-5)
    own = everything(wine) * torch.tensor(wine.std) + torch.tensor(wine.mean)
    expected = torch.from_numpy(load_wine().data).float()
    assert torch.allclose(own.sort(0).values, expected.sort(0).values, rtol=1e-4, atol=1e-3)
    assert sum(map(len, (wine.train, wine.val, wine.test))) == len(expected)
    assert [int((wine.test.y == c).sum()) for c in range(3)] == [12, 14, 10]  # a fifth of each: 59, 71, 48


def test_targets_of_regression_are_standardised_too() -> None:
    found = data.load("diabetes")
    assert (found.objective.name, found.classes, found.train.y.shape[1]) == ("regression", 1, 1)
    assert found.train.y.mean().abs() < 1e-5
    y = (
        torch.cat([part.y for part in (found.train, found.val, found.test)]) * found.target_std[0]
        + found.target_mean[0]
    )
    expected = torch.from_numpy(load_diabetes().target).float()
    assert torch.allclose(y.flatten().sort().values, expected.sort().values, rtol=1e-4)


def test_categories_gaps_and_a_header(tmp_path: Path) -> None:
    found = data.load(file(tmp_path, HOUSES.replace("\n60;", "\n?;")))
    assert (found.input_shape, found.objective.name) == ((4,), "regression")
    x = everything(found)
    assert ((x[:, 1:] == 0) | (x[:, 1:] == 1)).all()
    assert (x[:, 1:].sum(1) == 1).all()
    assert int((x[:, 0] == 0).sum()) >= 1  # the gap is the mean
    assert x[:, 1:].sum(0).tolist() == [14, 13, 13]  # n, s and w, in the order of the alphabet


def test_a_text_that_training_has_not_is_no_category() -> None:
    district = np.array(["a", "b"] * 10 + ["c"] * 5)
    raw = RawTable({"district": district}, np.arange(25) % 2, test=np.arange(20, 25))
    found = data.KINDS["tables"].dataset("own", raw, data.kind.Wanted(), data.KINDS["tables"].options())
    assert found.input_shape == (2,)
    assert not x_of(found.test).any()


@pytest.mark.parametrize(
    ("options", "objective", "classes"),
    [
        ("", "regression", 1),
        (":target=district", "classification", 3),
        (":target=2", "classification", 3),
        (":target=area", "regression", 1),
        (":target=area,task=classification", "classification", 40),
    ],
)
def test_what_is_predicted(tmp_path: Path, options: str, objective: str, classes: int) -> None:
    found = data.load(file(tmp_path, HOUSES) + options)
    assert (found.objective.name, found.classes) == (objective, classes)
    again = (
        data.load(found.name, input_shape=found.input_shape, classes=classes, kind="tables") if not options else found
    )
    assert data.fingerprint(again) == data.fingerprint(found)


def test_the_same_table_in_every_form(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(50, 3)).astype(np.float32), draw.normal(size=50).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.save(tmp_path / "a.npy", np.concatenate([x, y[:, None]], axis=1))
    lines = [",".join(map(repr, map(float, (*row, value)))) for row, value in zip(x, y, strict=True)]
    file(tmp_path, "\n".join(lines), "a.csv")
    file(tmp_path, "\n".join(["p\tq\tr\ty", *lines]).replace(",", "\t"), "a.tsv")
    order = np.random.default_rng(1).permutation(50)
    np.savez(
        tmp_path / "b.npz", x_train=x[order[:40]], y_train=y[order[:40]], x_test=x[order[40:]], y_test=y[order[40:]]
    )
    np.savez(tmp_path / "c.npz", x=x, y=y, test=order[40:])
    found = {path.name: data.load(str(path)) for path in sorted(tmp_path.iterdir())}
    assert {one.kind for one in found.values()} == {"tables"}
    first = found["a.npz"]
    for name in ("a.npy", "a.csv", "a.tsv"):
        assert torch.allclose(x_of(found[name].train), x_of(first.train), atol=1e-5), name
        assert torch.allclose(found[name].test.y, first.test.y, atol=1e-5), name
    mean, std = y[np.setdiff1d(np.arange(50), order[40:])].mean(), y.std()
    for name in ("b.npz", "c.npz"):
        y_test = found[name].test.y.flatten() * found[name].target_std[0] + found[name].target_mean[0]
        assert np.allclose(np.sort(y_test), np.sort(y[order[40:]]), atol=1e-4), (name, mean, std)


WRONG: dict[str, tuple[str, str, str]] = {
    "another length": ("a,b,c\n1,2,3\n4,5\n", "", "line 3 of"),
    "one line": ("1,2,3\n", "", "a table has several rows"),
    "one column": ("1\n2\n3\n4\n", "", "has one column"),
    "twice": ("a,a,b\n1,2,3\n4,5,6\n", "", "two columns 'a'"),
    "no such column": (HOUSES, ":target=garden", "no column 'garden'; it has area, district, price"),
    "texts of no regression": (HOUSES, ":target=district,task=regression", "holds texts such as"),
    "an unknown option": (HOUSES, ":aim=price", "no option 'aim'"),
    "a gap in the target": ("a,y\n" + "1,2.5\n3,\n" * 10, "", "missing"),
    "names": ("name,y\n" + "".join(f"n{n},{n / 3}\n" for n in range(3000)), "", "different texts"),
    "one class": ("a,y\n" + "1.5,x\n2,x\n" * 9, "", "the same in every row"),
    "few rows": ("a,y\n1.5,2.5\n2,3.5\n", "", "training, validation and test"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_a_sentence(case: str, tmp_path: Path) -> None:
    text, options, expected = WRONG[case]
    with pytest.raises(UserError, match=expected) as caught:
        data.load(file(tmp_path, text) + options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((5, 2)), "y": np.zeros(4)},
        {"x": np.full((30, 2), np.inf), "y": np.arange(30) / 7},
        {"x": np.zeros((30, 2)), "y": np.arange(30) / 7, "test": np.array([40])},
        {"x": np.zeros((30, 2), complex), "y": np.arange(30) / 7},
    ],
)
def test_wrong_arrays_are_a_sentence(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError):
        data.load(str(tmp_path / "a.npz"))


def test_no_file_of_anything_else_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="no ordinary file"):
        data.load(str(tmp_path / "a.csv"))
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01\x00\x02\x00{}")
    with pytest.raises(UserError, match="damaged"):
        data.load(str(tmp_path / "b.npy"))


def test_options_are_of_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="target= names a column"):
        data.load("wine:target=alcohol")
    with pytest.raises(UserError, match="has no option"):
        data.load("digits:target=3")


def test_r2_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import r2_score

    torch.manual_seed(0)
    network, found = torch.nn.Linear(10, 1), data.load("diabetes")
    test = data.loaders(found, 16).test
    with torch.no_grad():
        expected = r2_score(found.test.y, network(x_of(found.test)))
    assert r2(network, test) == pytest.approx(expected, abs=1e-5)
    learned = dnal.learn(
        torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)), *data.loaders(found, 32),
        loss=found.loss, metric=found.metric, lr=0.01, epochs=(8, 3, 8),
    )  # fmt: skip
    assert learned.figures.metric == "r2"
    assert learned.figures.compact.metric > 0.2


def test_a_function_of_the_users_returns_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_rows.py").write_text(
        "import numpy as np\nfrom dnal.data import RawTable\n\n"
        "def rows():\n    return RawTable({'a': np.arange(40.0)}, np.arange(40) % 2)\n"
    )
    found = data.load("own_rows:rows:task=regression")
    assert (found.kind, found.objective.name, data.load("own_rows:rows").classes) == ("tables", "regression", 2)
    assert data.names_code("own_rows:rows:task=regression")


def rows(first: str, line: str, count: int = 50) -> str:
    """A table whose line ``n`` is ``line`` with a number, its half and its remainder."""
    return "\n".join([first, *(line.format(n=n, half=n / 2, odd=n % 2, word="ab"[n % 2]) for n in range(count))])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rows("a;y", "{n},5;{n}"), [n + 0.5 for n in range(50)]),  # decimal commas
        (rows("2020,y", "{n},{half}"), [float(n) for n in range(50)]),  # a header in which there is a number
        (rows(",a,y", "{n},{half},{half}"), [n / 2 for n in range(50)]),  # what pandas.to_csv puts in front
        (rows("a,y,", "{half},{n},"), [n / 2 for n in range(50)]),  # separators at the ends of lines
        (rows("a,y", "{n}e306,{half}"), [n * 1e306 for n in range(50)]),  # squares of which there are none
        (rows("a,y", "{n}e-200,{half}"), [n * 1e-200 for n in range(50)]),
    ],
    ids=["comma", "number-in-header", "index", "end", "huge", "tiny"],
)
@pytest.mark.filterwarnings("ignore:the first column")
def test_numbers_as_people_write_them(text: str, expected: list[float], tmp_path: Path) -> None:
    found = data.load(file(tmp_path, text))
    assert (found.objective.name, found.input_shape) == ("regression", (1,))
    held = everything(found)[:, 0].double() * found.std[0] + found.mean[0]
    assert x_of(found.train).std(correction=0) == pytest.approx(1, abs=1e-4)
    assert held.sort().values.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4 * max(expected))


def test_cells_may_be_long_and_hold_any_sign(tmp_path: Path) -> None:
    signs = "x\u2028y\x85z\x0c" + "w" * 200_000
    lines = ["a,b,y", *(f"{n},{signs if n % 2 else 'plain'},{n % 3}" for n in range(30))]
    found = data.load(file(tmp_path, "\n".join(lines)))
    assert (found.input_shape, found.classes) == ((3,), 3)
    assert everything(found)[:, 1:].sum(0).tolist() == [15, 15]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (rows("a,y", "{n},{word}") + "\n1,\n2,?", "the target is missing in 2 of 52 rows"),
        (rows("a,y", "{n},{half}") + "\n1,", "the target is missing in 1 of 51 rows"),
        (rows("a,y", "{n},1.5"), "the target is the same in every row"),
        (rows("a,y", "{n}%,{n}%"), "the target has 50 classes in 50 rows, such as '0%'"),
        (rows("a,y", "{n},{half}") + "\ninf,2", "the column 'a' has infinite values"),
        (rows("a,y", "{n},{half}") + "\n1e400,2", "the column 'a' has infinite values"),
    ],
)
def test_targets_and_numbers_that_cannot_be_meant(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        data.load(file(tmp_path, text))


def test_numbers_far_from_those_of_the_training_part() -> None:
    values = np.arange(50) / 50
    with pytest.raises(UserError, match="the column 'a' has a number that is too far"):
        data.tables.table.from_table(
            "far", RawTable({"a": np.where(np.arange(50) == 7, 1e300, values)}, values, np.array([7])),
            data.kind.Wanted(),
        )  # fmt: skip


def test_a_category_of_names_is_told(tmp_path: Path) -> None:
    one_wrong = rows("a,y", "{half},{odd}").replace("\n3.5,", "\n3.5 m,")
    with pytest.warns(UserWarning, match="the column 'a' has 36 different texts in 36 training rows, such as '3.5 m'"):
        data.load(file(tmp_path, one_wrong))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": np.eye(50), "y": np.arange(50) % 2, "test": np.arange(50) % 5 // 4}, "test holds a 0 or a 1 for each"),
        ({"x_train": np.eye(9), "y_train": np.arange(9), "x_test": np.eye(8), "y_test": np.arange(8)}, "x_train and x"),
        ({"X": np.eye(9), "Y": np.arange(9)}, "holds the numbers X, Y, and is none of"),
    ],
)
def test_arrays_that_do_not_go_together(arrays: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", **arrays)
    with pytest.raises(UserError, match=sentence):
        data.load(str(tmp_path / "table.npz"))


@pytest.mark.parametrize("name", ["TABLE.CSV", "table.parquet"])
def test_a_file_that_is_there_is_not_called_absent(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no file of data by its ending; there are \.npz, \.csv"):
        data.load(file(tmp_path, "a,b\n1,2\n", name))
