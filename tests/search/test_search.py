"""Searches on real images: what they leave, and that nothing of it depends on kills, processes or order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import dnal
from dnal.base.errors import UserError
from dnal.run.files import CANDIDATES, CONFIG, GENOME, MANIFEST, MEASURED, MODEL, RESULT, SEARCH
from dnal.search import SearchResult, search
from dnal.search import training as training_of
from dnal.search.course import Candidate, Progress
from dnal.search.pruners.pruner import EarlierNetwork
from dnal.search.training import Evaluation
from dnal.settings import Searches

SMALL: dict[str, Any] = {
    "space": "layers:channels=6,depth=5,units=12", "sampler": "pso:particles=2", "budget": "params<=4k,macs<=100k",
    "evaluations": 4, "epochs": 1, "final_epochs": 2, "limit_train": 80, "batch_size": 32,
}  # fmt: skip
KEPT = (SEARCH, CANDIDATES, GENOME, CONFIG, "found.json", MODEL, MANIFEST)
"""Equal searches write equal bytes of these."""


def found_in(folder: Path, **more: Any) -> SearchResult | None:
    return search("digits", **{**SMALL, **more}, out=folder)


def files_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in KEPT}


def killing_once(asked: Searches, model: str, earlier: Sequence[EarlierNetwork]) -> str:
    """Trains a network in a process of its own, except for the first one: its process is killed in the middle."""
    mark = Path(os.environ["KILLED_ONCE"])
    if not mark.exists():
        mark.write_text(model)
        os.kill(os.getpid(), signal.SIGKILL)
    return training_of.evaluate(asked, model, earlier)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search") / "whole"
    assert found_in(folder) is not None
    return folder


def test_the_folder_is_a_run_that_needs_no_code(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / CANDIDATES).read_text().splitlines()]
    best = max(lines, key=lambda line: (line["fitness"], -line["costs"]["params"]))
    name = (whole / GENOME).read_text().strip()
    assert name == best["model"] == dnal.run.read_config(whole).model
    assert len({line["model"] for line in lines}) == len(lines) == 4
    network = dnal.load(whole)
    assert type(network) is torch.nn.Sequential
    assert not network.training
    result = json.loads((whole / RESULT).read_text())
    assert all(bound["holds"] for bound in result["constraints"])
    assert result["compact"]["macs"] == best["costs"]["macs"] <= 100_000
    assert dnal.run.evaluate(whole)["differs"] == []  # accuracy on the test data too, from the saved weights


def test_a_search_that_is_stopped_goes_on_with_the_same_bytes_and_trains_nothing_twice(
    whole: Path, tmp_path: Path
) -> None:
    trained: list[str] = []
    for number in (1, 2, 99):
        enough = len(trained) + number
        found = search(
            "digits", **SMALL, out=tmp_path / "parts", stop=lambda enough=enough: len(trained) >= enough,
            on_end=lambda _, candidate: trained.append(candidate.model),
        )  # fmt: skip
        assert (found is None) == (number != 99)
    assert len(trained) == len(set(trained)) == 4
    assert files_of(tmp_path / "parts") == files_of(whole)
    again = found_in(tmp_path / "parts")  # finished: it is read
    assert again is not None
    assert again.model == (whole / GENOME).read_text().strip()
    assert all(
        torch.equal(value, dnal.load(whole).state_dict()[name]) for name, value in again.network.state_dict().items()
    )


def test_a_line_that_a_kill_cut_off_is_trained_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    folder.mkdir()
    (folder / SEARCH).write_bytes((whole / SEARCH).read_bytes())
    text = (whole / CANDIDATES).read_bytes()
    (folder / CANDIDATES).write_bytes(text[: text.find(b"\n") + 30])
    trained: list[str] = []
    search("digits", **SMALL, out=folder, on_end=lambda _, candidate: trained.append(candidate.model))
    assert len(trained) == 3
    assert files_of(folder) == files_of(whole)


@pytest.mark.slow
def test_processes_side_by_side_and_one_that_is_killed_change_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KILLED_ONCE", str(tmp_path / "mark"))
    monkeypatch.setattr("dnal.search.job.evaluate", killing_once)
    found_in(tmp_path / "two", jobs=2)
    assert (tmp_path / "mark").exists()
    assert files_of(tmp_path / "two") == files_of(whole)


ON_RAY = """
import signal

import dnal.search.job
from test_search import SMALL, killing_once

dnal.search.job.evaluate = killing_once
signal.signal(signal.SIGTERM, heard := lambda number, frame: None)
dnal.search.search("digits", **SMALL, out="far", jobs=2, address="local")
assert signal.getsignal(signal.SIGTERM) is heard
"""


@pytest.mark.slow
def test_on_ray_and_with_a_worker_that_is_killed_it_finds_the_same(whole: Path, tmp_path: Path) -> None:
    """In a process of its own, as Ray's is a daemon that outlives a call."""
    pytest.importorskip("ray")
    mark = tmp_path / "mark"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    answer = subprocess.run(
        [sys.executable, "-c", ON_RAY], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500,
        env={**os.environ, "PYTHONPATH": path, "KILLED_ONCE": str(mark)},
    )  # fmt: skip
    assert (answer.returncode, answer.stdout) == (0, ""), answer.stderr  # Ray does not tell of it by itself
    assert mark.read_text() in (tmp_path / "far" / CANDIDATES).read_text()  # what was lost with it was trained again
    assert files_of(tmp_path / "far") == files_of(whole)


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on_with_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    """A real kill, as soon as the second network is told of."""
    words = {"epochs": 1, "final-epochs": 2, "limit-train": 80, "batch-size": 32, "evaluations": 4}
    command = [sys.executable, "-m", "dnal", "search", "--out", str(tmp_path / "killed"), "--no-report"]
    command += [word for name in ("space", "sampler", "budget") for word in (f"--{name}", SMALL[name])]
    command += [word for name, value in words.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("2 of 4"):
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "1 of 4" not in ended.stdout
    assert "4 of 4" in ended.stdout
    assert files_of(tmp_path / "killed") == files_of(whole)


def test_another_search_in_the_folder_and_damage_are_sentences(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds another search"):
        found_in(whole, seed=1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and holds no search"):
        found_in(tmp_path)
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / SEARCH).write_bytes((whole / SEARCH).read_bytes())
    (folder / CANDIDATES).write_text('{"model": "layers/conv_3_3", "fitness": NaN}\n')
    with pytest.raises(UserError, match="is not as a search writes it; remove it"):
        found_in(folder)
    (folder / CANDIDATES).write_bytes((whole / CANDIDATES).read_bytes())
    first = json.loads((whole / CANDIDATES).read_text().splitlines()[0])["model"]
    (folder / MEASURED).write_text(json.dumps({"model": first, "costs": {"latency": 1.0}}) + "\n")
    assert found_in(folder) is not None  # what it does not say of a network is counted again
    assert files_of(folder) == files_of(whole)


def test_what_breaks_the_budget_is_never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network that is trained is within it, in a space most of which is not; and one by the clock holds too."""
    found = search("digits", **{**SMALL, "space": "layers:channels=32", "budget": "params<=3k,latency<=1s,memory<=1MB"})
    assert found is not None
    assert all(one.costs["params"] <= 3000 and one.costs["latency"] <= 1050 for one in found.candidates)
    assert [row["cost"] for row in found.constraints] == ["params", "latency", "memory"]
    assert all(row["holds"] for row in found.constraints)


def test_fitness_is_of_validation_data_unless_training_data_are_asked_for(tmp_path: Path) -> None:
    asked = Searches(data="digits", limit_train=80, epochs=3, batch_size=32)
    model = "layers/conv_6_3-fc_12"
    dataset = training_of.data_of(asked)
    network = training_of.trained(asked, model, 3, training_of.constant)
    for fitness, part in (("validation", dataset.val), ("training", dataset.train)):
        images, targets = part.batch(torch.arange(len(part)), 0)
        with torch.no_grad():
            right = float((network(images).argmax(1) == targets).float().mean())
        worth = training_of.evaluation_of(Searches(**{**vars(asked), "fitness": fitness}), model)
        assert worth.fitness == pytest.approx(right, abs=1e-6)


def test_a_network_whose_loss_is_no_number_is_not_the_best() -> None:
    deep = f"layered-graph/{'-'.join(['conv_8_3_leaky'] * 14)}-flat"  # no norms: its numbers overflow
    worth = training_of.evaluation_of(Searches(limit_train=80, lr=1e3, epochs=9), deep)
    assert worth.fitness is None
    assert "the loss became" in worth.why
    candidates = [Candidate(deep, 1, {}, worth), Candidate("layers/conv_3_3", 1, {}, Evaluation(-1e9))]
    assert Progress(None, None, None, 2, {}, candidates).best is candidates[1]  # type: ignore[arg-type]


def test_unknown_names_are_sentences() -> None:
    for more, said in (
        ({"space": "layer"}, "did you mean 'layers'?"),
        ({"sampler": "psso"}, "did you mean 'pso'?"),
        ({"sampler": "pso:particle=3"}, "did you mean 'particles'?"),
        ({"epoch": 3}, "did you mean 'epochs'?"),
        ({"evaluations": 0}, "evaluations is 1 or more"),
    ):
        with pytest.raises(UserError) as error:
            search("digits", **{**SMALL, **more})
        assert said in str(error.value)
    with pytest.raises(UserError, match="the data 'wine' are of the kind 'tables', where 'images' is needed"):
        search("wine", **SMALL)
