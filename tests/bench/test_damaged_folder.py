"""The folder of a benchmark, damaged or somebody else's: a sentence that names the file, and what makes it again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from dnal.base.errors import UserError
from dnal.bench.folder import claimed
from dnal.bench.ground import folder_of
from dnal.bench.jobs import Penalty, Run
from dnal.bench.penalty import penalty_file, penalty_of
from dnal.bench.results import FAILED, RESULTS, failures, gather, key_of, read_results, read_row, write_results
from dnal.bench.run import row_file
from dnal.bench.suite import suite_of
from dnal.bench.table import document, search_cost

RUN = Run("net", 25.0, 0, False, "dnal")
ROW = {
    "network": "net", "share": 25.0, "seed": 0, "taught": 0, "entry": "dnal", "accuracy": 0.7, "base_accuracy": 0.8,
    "base_macs": 1000, "used": 0.99, "rate": 0.05, "samples": 400, "base_seconds": 10.0, "choosing_seconds": 1.0,
    "epochs": "1+2+1", "dnal": "0", "torch": "2", "device": "cpu",
}  # fmt: skip


def told(path: Path, read: Callable[[], object], *remedy: str) -> None:
    """``read`` ends with one sentence that names the file and says what helps."""
    with pytest.raises(UserError, match=re.escape(str(path))) as raised:
        read()
    assert "\n" not in str(raised.value)
    assert all(words in str(raised.value) for words in remedy), raised.value


def test_a_whole_row_is_read(tmp_path: Path) -> None:
    row_file(tmp_path, RUN).parent.mkdir(parents=True)
    row_file(tmp_path, RUN).write_text(json.dumps(ROW))
    rows = gather(tmp_path, [RUN])
    assert rows == {RUN: {name: str(value) for name, value in ROW.items()}}
    write_results(tmp_path, rows, [RUN])
    assert read_results(tmp_path) == rows
    assert "dnal" in document(rows, "dnal bench", 0, {})


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", b"[]", b"7", b"\xff", b'{"network": "net"}', b"[" * 100_000, b" " * 2**21,
        *(json.dumps({**ROW, name: value}).encode() for name, value in [
            ("accuracy", "x"), ("accuracy", None), ("used", float("inf")), ("base_seconds", [1]), ("share", "25%"),
            ("seed", 10**400), ("rate", float("nan")), ("entry", "uniform"), ("taught", 1), ("samples", 0.5),
        ]),
        *(json.dumps({k: v for k, v in ROW.items() if k != name}).encode() for name in ("device", "accuracy")),
    ],
)  # fmt: skip
def test_a_damaged_row(tmp_path: Path, damage: bytes) -> None:
    path = row_file(tmp_path, RUN)
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    told(path, lambda: gather(tmp_path, [RUN]), "remove it, and the same command makes this row again")


def test_a_row_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(json.dumps(ROW))
    path = row_file(tmp_path, RUN)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "secret")
    told(path, lambda: read_row(tmp_path, RUN), "link")


HEADER = ",".join(ROW)
LINE = ",".join(map(str, ROW.values()))


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\n", b"network,share\n" + b"a" * 200_000 + b",1\n", b"network\nx\n", b"a,b\n\x00,1\n",
        f"{HEADER}\n{LINE},1\n".encode(), f"{HEADER}\n{LINE.rpartition(',')[0]}\n".encode(), b"x" * (2**26 + 1),
        f"{HEADER}\n{LINE.replace('0.7', 'nan')}\n".encode(), f'{HEADER}\n"{LINE}\n'.encode(),
    ],
    ids=["bytes", "a field", "columns", "NUL", "more", "fewer", "size", "nan", "a quote"],
)  # fmt: skip
def test_a_damaged_table(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / RESULTS).write_bytes(damage)
    told(tmp_path / RESULTS, lambda: read_results(tmp_path), "move it away")


def test_a_damaged_suite_a_damaged_reason_and_a_damaged_lambda(tmp_path: Path) -> None:
    suite = suite_of("smoke")
    out = tmp_path / "bench"
    with claimed(out, suite):
        assert json.loads((out / "suite.json").read_text()) == json.loads(json.dumps(asdict(suite)))
    for damage in (b"\xff\xfe", b"{", b"[" * 100_000, b" " * (2**20 + 1)):
        (out / "suite.json").write_bytes(damage)
        told(out / "suite.json", lambda: claimed(out, suite).__enter__(), "--out")

    reason = folder_of(tmp_path, RUN.name) / FAILED
    reason.parent.mkdir(parents=True)
    reason.write_text("it cannot\nbe \x1b[31mmade.\n")
    assert failures(tmp_path, [RUN]) == {RUN: "it cannot be [31mmade."}
    for damage in (b"\xff", b"x" * (2**20 + 1)):
        reason.write_bytes(damage)
        told(reason, lambda: failures(tmp_path, [RUN]), f"remove the folder '{reason.parent}'")

    job = Penalty("net", 25.0)
    path = penalty_file(tmp_path, job)
    path.parent.mkdir(parents=True)
    path.write_text('{"lambda": 0.001, "tried": []}')
    assert penalty_of(tmp_path, job) == 0.001
    for text in ("", "[]", "{}", '{"lambda": "x"}', '{"lambda": NaN}', '{"lambda": 1e999}', '{"lambda": -0.1}'):
        path.write_text(text)
        told(path, lambda: penalty_of(tmp_path, job), "finds it again")


def test_no_cell_is_a_formula_and_a_base_of_no_time_divides_nothing(tmp_path: Path) -> None:
    row = {name: str(value) for name, value in ROW.items()} | {"device": "=1+1", "base_seconds": "0.0"}
    write_results(tmp_path, {key_of(row): row}, [])
    assert ",'=1+1\n" in (tmp_path / RESULTS).read_text()
    assert search_cost([row]).mean == pytest.approx(101)
