"""`dnal export`."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from cli_program import Program
from dnal.run.files import EXPORTS, RESULT


@pytest.fixture
def run(finished: Path, here: Path) -> Path:
    """A finished run in the current directory, that a test may change."""
    shutil.copytree(finished, here / "run")
    return Path("run")


@pytest.mark.parametrize(("to", "runtime"), [("onnx", "ONNX Runtime"), ("pt2", "torch.export")])
def test_it_writes_the_file_and_says_how_far_it_is_from_the_network(
    dnal: Program, run: Path, to: str, runtime: str
) -> None:
    answer = dnal("export", run, "--to", to)
    assert (answer.status, answer.err) == (0, "")
    first, second = answer.out.splitlines()
    assert first.startswith(f"run/model.{to}: ")
    said = re.fullmatch(
        rf"checked in {runtime} at batches of 1, 3 and 8: .* ([0-9.e+-]+) of the largest output", second
    )
    assert said is not None
    assert float(said[1]) <= 1e-4
    assert (run / f"model.{to}").stat().st_size > 10_000
    again = dnal("export", run, "--to", to)
    assert (again.status, again.out) == (0, answer.out)


def test_8_bits_are_shown_beside_32(dnal: Program, run: Path) -> None:
    answer = dnal("export", run, "--to", "onnx", "--quantize", "int8")
    assert (answer.status, answer.err) == (0, "")
    assert (run / "model.int8.onnx").is_file()
    assert not (run / "model.onnx").exists()
    for row in ("float32", "int8"):
        assert re.search(rf"^ *{row} +\d+\.\d\d % +\S+ ms +\S+ [kM]B *$", answer.out, flags=re.M)


BAD = {
    "unknown format": (["--to", "onx"], "did you mean 'onnx'"),
    "unknown quantization": (["--to", "onnx", "--quantize", "int4"], "int8"),
    "pt2 in 8 bits": (["--to", "pt2", "--quantize", "int8"], "--to onnx"),
    "another ending": (["--to", "onnx", "--out", "model.pt2"], "ends in .onnx"),
    "a file of the run": (["--to", "onnx", "--out", "run/model.safetensors"], "ends in .onnx"),
    "a folder": (["--to", "onnx", "--out", "folder.onnx"], "is a folder"),
    "no such folder": (["--to", "pt2", "--out", "nowhere/model.pt2"], "no folder 'nowhere'"),
    "no such data": (["--to", "onnx", "--quantize", "int8", "--data", "gone.npz"], "gone.npz"),
}


@pytest.mark.parametrize(("arguments", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_no_file(dnal: Program, run: Path, arguments: list[str], expected: str) -> None:
    Path("folder.onnx").mkdir()
    before = sorted(Path().rglob("*"))
    answer = dnal("export", run, *arguments)
    assert answer.status == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1, answer.err
    assert expected in answer.err
    assert sorted(Path().rglob("*")) == before


def test_an_unfinished_run_is_refused(dnal: Program, run: Path) -> None:
    (run / RESULT).unlink()
    answer = dnal("export", run, "--to", "onnx")
    assert answer.status == 2
    assert "not finished" in answer.err
    assert not any((run / name).exists() for name in EXPORTS)


def test_no_run_is_refused(dnal: Program, here: Path) -> None:
    answer = dnal("export", "nowhere", "--to", "onnx")
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "no run 'nowhere'" in answer.err


def test_a_missing_package_is_named(dnal: Program, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    answer = dnal("export", run, "--to", "onnx")
    assert answer.status == 2
    assert "pip install 'dnal[onnx]'" in answer.err
    assert dnal("export", run, "--to", "pt2").status == 0
