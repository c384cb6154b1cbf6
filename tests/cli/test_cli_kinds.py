"""Every kind of data through every command: learn under a budget, evaluate, load, export, report, repeat, resume."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from killed import Processes

import dnal as library
from cli_program import Program
from dnal import data
from dnal.cli import app
from dnal.run.config import read_config
from dnal.run.data import data_of
from dnal.run.files import ARCHITECTURE, CONFIG, MANIFEST, MODEL, REPORT, RESULT, SHAPE
from dnal.run.manifest import manifest_of
from dnal.space.surgery.running import call
from dnal.train.batch import split

ADAM = ("--optimizer", "adamw", "--lr", "0.01")
JOBS: dict[str, tuple[str, ...]] = {
    "images": ("--model", "vgg_small", "--data", "digits", "--limit-train", "200", "--epochs", "1,1,1"),
    "tables": ("--model", "mlp/small", "--data", "wine", "--epochs", "6,3,6"),
    "regression": ("--model", "mlp/small", "--data", "diabetes", "--epochs", "6,3,6"),
    "text": (
        "--model", "transformer/small", "--data", "negation", "--limit-train", "128", "--input", "24,512",
        "--epochs", "1,1,1", *ADAM,
    ),
    "next-token": (
        "--model", "transformer/next", "--data", "grammar", "--limit-train", "128", "--input", "32,257",
        "--epochs", "1,1,1", *ADAM,
    ),
    "graphs": ("--model", "gcn/small", "--data", "blocks", "--epochs", "40,20,40", *ADAM),
    "events": (
        "--model", "todyformer", "--data", "replies:window=48,predicted=20", "--limit-train", "24", "--batch-size", "8",
        "--epochs", "1,1,1", "--optimizer", "adamw", "--lr", "0.003",
    ),
}  # fmt: skip
LEARNT = {"tables": 0.8, "regression": 0.2, "next-token": 0.1, "graphs": 0.8}
"""What a job of so few steps reaches at least; chance is 0.4, 0, 0.004 and 0.25."""
METRICS = {"regression": "r2", "events": "average_precision"}
WORDS = {"regression": "R²", "events": "average precision"}
STEPS = {"text": 2, "regression": 5, "events": 3}
"""Of an epoch."""


def cases(*left_out: str, slow: tuple[str, ...] = ("images", "next-token")) -> list[Any]:
    """All jobs but some, as parameters."""
    names = [name for name in JOBS if name not in left_out]
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


class Runs(dict[str, Path]):
    """A finished run of each job, made when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, name: str) -> Path:
        run = self[name] = self.folder / name
        with pytest.raises(SystemExit) as ended:
            app(["learn", *JOBS[name], "--budget", "macs<=40%", "--out", str(run), "--quiet"], prog_name="dnal")
        assert ended.value.code == 0, name
        return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("kinds"))


def result(run: Path) -> dict[str, Any]:
    document = json.loads((run / RESULT).read_text())
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("name", cases())
def test_a_budget_is_met_and_something_is_learnt(name: str, runs: Runs) -> None:
    found, config = result(runs[name]), read_config(runs[name])
    assert all(row["holds"] for row in found["constraints"])
    assert 0 < found["compact"]["macs"] <= 0.4 * found["base"]["macs"]
    assert config.kind == (name if name in data.KINDS else {"regression": "tables", "next-token": "text"}[name])
    metric = METRICS.get(name, "accuracy")
    assert found["compact"][metric] >= LEARNT.get(name, 0)
    log = [json.loads(line) for line in (runs[name] / "log.jsonl").read_text().splitlines()]
    assert all(metric in record for record in log)


@pytest.mark.parametrize("name", cases("images"))
def test_a_run_is_evaluated(name: str, runs: Runs, dnal: Program) -> None:
    answer = dnal("eval", runs[name], "--json")
    assert (answer.status, answer.err) == (0, "")
    found, metric = json.loads(answer.out), METRICS.get(name, "accuracy")
    assert found["compact"][metric] == pytest.approx(result(runs[name])["compact"][metric], abs=1e-6)
    said = dnal("eval", runs[name]).out
    assert f"{WORDS.get(name, 'accuracy')} (test data)" in said
    assert f"one {data.KINDS[read_config(runs[name]).kind].one}" in said


@pytest.mark.parametrize("name", cases())
def test_a_run_is_loaded_and_so_is_its_list_of_shapes(name: str, runs: Runs) -> None:
    run, config = runs[name], read_config(runs[name])
    network = library.load(run)
    inputs = config.of_kind.drawn(config.input, 3, seed=1)
    with torch.no_grad():
        assert call(network, inputs).shape == (3, config.classes, *config.of_kind.answered(config.input, config.aim))
    fresh = library.load(run / SHAPE)
    assert {k: v.shape for k, v in fresh.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


@pytest.mark.parametrize("name", cases("images", slow=("next-token", "text", "regression", "events")))
def test_an_exported_file_answers_as_the_network_on_real_data(name: str, runs: Runs, dnal: Program) -> None:
    runtime = pytest.importorskip("onnxruntime")
    answer = dnal("export", runs[name], "--to", "onnx", "--json")
    assert answer.status == 0, answer.err
    session = runtime.InferenceSession(json.loads(answer.out)["path"], providers=["CPUExecutionProvider"])
    dataset = data_of(read_config(runs[name]))
    inputs, _ = split(dataset.test.batch(torch.arange(min(5, len(dataset.test))), 0))
    tensors = list(inputs.values()) if isinstance(inputs, dict) else [inputs]
    places = [place.name for place in session.get_inputs()]
    if isinstance(inputs, dict):  # one that the network does not look at is no input of the file
        tensors = [inputs[place] for place in places]
    got = session.run(None, {place: tensor.numpy() for place, tensor in zip(places, tensors, strict=True)})[0]
    with torch.no_grad():
        expected = call(library.load(runs[name]), inputs)
    assert torch.allclose(torch.from_numpy(got), expected, atol=1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["normalisation"] == data.KINDS[metadata["kind"]].normalisation


@pytest.mark.parametrize("name", cases("images"))
def test_a_report_says_what_was_learnt(name: str, runs: Runs) -> None:
    text = re.sub(r"<(script|style).*?</\1>", "", (runs[name] / REPORT).read_text(), flags=re.DOTALL)
    assert f"{WORDS.get(name, 'accuracy')} (test data)" in text
    for word in ("R²", "accuracy", "average precision"):
        assert (word in text) == (word == WORDS.get(name, "accuracy")), word
    assert "image" not in text.replace("image/", "")


@pytest.mark.parametrize("name", ["regression", pytest.param("graphs", marks=pytest.mark.slow)])
def test_a_run_is_repeated(name: str, runs: Runs, here: Path, dnal: Program) -> None:
    answer = dnal("learn", "--like", runs[name], "--out", "again", "--no-report")
    assert (answer.status, answer.err) == (0, "")
    for file in (ARCHITECTURE, MODEL, CONFIG):
        assert (here / "again" / file).read_bytes() == (runs[name] / file).read_bytes(), file


@pytest.mark.parametrize(
    "name", ["text", *(pytest.param(name, marks=pytest.mark.slow) for name in STEPS if name != "text")]
)
def test_a_run_that_is_killed_goes_on(name: str, runs: Runs, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    job = ["learn", *JOBS[name], "--budget", "macs<=40%", "--out", "run", "--no-report", "--checkpoint-every", "2"]
    steps = sum(read_config(runs[name]).model_extra["epochs"]) * STEPS[name]  # type: ignore[index]
    assert processes(job, at=steps // 2).status == -signal.SIGKILL
    resumed = processes(["resume", "run", "--no-report"])
    assert (resumed.status, resumed.err) == (0, "")
    for file in (ARCHITECTURE, MODEL, CONFIG):
        assert (processes.folder / "run" / file).read_bytes() == (runs[name] / file).read_bytes(), file


@pytest.mark.parametrize("model", ["mlp/small", "transformer/small", "transformer/next", "gcn/small", "todyformer"])
def test_the_space_of_a_model_of_each_kind(model: str, dnal: Program) -> None:
    answer = dnal("space", "--model", model, "--json")
    found = json.loads(answer.out)
    assert (answer.status, found["unknown"]) == (0, {})
    assert found["variables"] > 0
    assert found["input_shape"] == list(library.models.default_input(model))


def test_data_and_model_of_two_kinds(here: Path, dnal: Program) -> None:
    answer = dnal("learn", "--data", "wine")
    assert answer.status == 2
    assert "are of the kind 'tables', where 'images' is needed" in answer.err
    assert "dnal models --kind tables" in answer.err
    assert dnal("models", "--kind", "tables").out.split() == ["mlp/small"]
    assert dnal("models", "--kind", "sounds").status == 2
    assert not any(here.iterdir())


def test_the_list_of_data_says_their_kinds(dnal: Program) -> None:
    found = json.loads(dnal("data", "--json").out)["data"]
    assert {row["kind"] for row in found} == {*data.KINDS, ""}
    assert {"name": "wine", "kind": "tables"}.items() <= next(row for row in found if row["name"] == "wine").items()


@pytest.mark.slow
def test_8_bits_are_of_classes(runs: Runs, dnal: Program) -> None:
    pytest.importorskip("onnxruntime")
    assert dnal("export", runs["tables"], "--to", "onnx", "--quantize", "int8", "--quiet").status == 0
    for name in ("regression", "text", "graphs", "events"):
        answer = dnal("export", runs[name], "--to", "onnx", "--quantize", "int8")
        assert answer.status == 2
        assert "export it without --quantize" in answer.err


FORGED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no such kind": ("tables", {"kind": "sounds"}, "no kind of data 'sounds'"),
    "no such objective": ("tables", {"objective": "fame"}, "no objective 'fame'"),
    "another kind": ("tables", {"kind": "images", "input": [1, 8, 8]}, "is for tables"),
    "sizes of another kind": ("tables", {"input": [1, 8, 8]}, "numbers of a row"),
    "data of another kind": ("tables", {"data": "digits"}, "are of the kind 'images', where 'tables' is needed"),
    "data of another objective": ("tables", {"data": "diabetes", "input": [10]}, ""),
    "columns that no tensor has": ("tables", {"input": [3_000_000]}, "numbers of a row"),
    "a text without an end": ("text", {"input": [2**20, 512]}, "numbers"),
    "words without an end": ("text", {"input": [24, 2**22]}, "tokens"),
    "many texts that are long": ("text", {"input": [2000, 512], "deploy_batch_size": 4096}, "deploy_batch_size"),
    "a graph without an end": ("graphs", {"input": [2**30, 16, 4]}, "numbers"),
    "edges without an end": ("graphs", {"input": [600, 16, 2**40]}, "numbers"),
    "a window without an end": ("events", {"input": [80, 2**30, 40]}, "numbers"),
    "nodes that no tensor has": ("events", {"input": [2**21, 48, 40]}, "nodes"),
    "no sizes": ("graphs", {"input": []}, "input"),
    "more sizes than there are": ("graphs", {"input": [2] * 9}, "input"),
    "data that are code": ("tables", {"data": "os:system:target=rm"}, "is code that would be run"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_run_is_refused(case: str, runs: Runs, tmp_path: Path, dnal: Program) -> None:
    name, values, expected = FORGED[case]
    run = Path(shutil.copytree(runs[name], tmp_path / "run"))
    document = yaml.safe_load((run / CONFIG).read_text())
    (run / CONFIG).write_text(yaml.safe_dump({**document, **values}))
    (run / MANIFEST).write_text(manifest_of(run))
    answer = dnal("eval", run)
    assert answer.status == 2
    assert expected in answer.err
    assert answer.err.count("\n") == 1
    repeated = dnal("learn", "--like", run, "--out", tmp_path / "again", "--epochs", "1,1,1")
    assert repeated.status == 2 or case in ("data of another objective", "many texts that are long")


def test_a_batch_is_believed_as_far_as_an_example_goes(runs: Runs, tmp_path: Path, dnal: Program) -> None:
    run = Path(shutil.copytree(runs["text"], tmp_path / "run"))
    document = yaml.safe_load((run / CONFIG).read_text())
    (run / CONFIG).write_text(yaml.safe_dump({**document, "batch_size": 2**22}))
    (run / RESULT).unlink()
    answer = dnal("resume", run)
    assert answer.status == 2
    assert "texts" in answer.err or "text" in answer.err
    assert "numbers, more than the" in answer.err
