"""`dnal learn` on real data, with few epochs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import dnal as package
from cli_program import SHORT, Program
from dnal import cli, models
from dnal.run import read_config
from dnal.run.files import ARCHITECTURE, BASE, CONFIG, DETAILS, LAST, LOG, MANIFEST, MODEL, REPORT, RESULT, SHAPE
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.tree import all_finite

# Stops being a number after so many training steps, whatever the weights.
BREAKS = """
import torch
from torch import nn

class Breaks(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.steps, self.after = 0, after
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        logits = self.head(self.body(x).mean((2, 3)))
        if self.training:
            self.steps += 1
            if self.steps > self.after:
                logits = logits * float("nan")
        return logits

def late():
    return Breaks(12)

def at_once():
    return Breaks(0)
"""


def test_the_run_holds_everything_and_nothing_more(finished: Path) -> None:
    assert {file.name for file in finished.iterdir()} == {
        CONFIG, LOG, BASE, ARCHITECTURE, MODEL, MANIFEST, SHAPE, DETAILS, RESULT, REPORT,
    }  # fmt: skip
    config = read_config(finished)
    assert (config.model, config.data, config.input, config.classes) == ("vgg_small", "digits", (1, 8, 8), 10)
    assert (config.seed, config.limit_train, config.batch_size) == (0, 300, 64)
    decided = config.model_extra or {}
    assert decided["budget"] == "macs<=30%"
    assert decided["epochs"] == [1, 1, 1]
    assert {"method", "techniques", "lr", "precision"} <= set(decided)


def test_the_log_has_a_line_per_epoch(finished: Path) -> None:
    records = [json.loads(line) for line in (finished / LOG).read_text().splitlines()]
    assert [(r["phase"], r["epoch"]) for r in records] == [("base", 1), ("architecture", 1), ("retrain", 1)]
    assert all({"loss", "accuracy", "seconds"} <= set(record) for record in records)
    assert {"macs_soft", "macs_hard", "undecided", "delta", "open"} <= set(records[1])


def test_the_result_is_complete_and_within_the_budget(finished: Path) -> None:
    result = json.loads((finished / RESULT).read_text())
    assert set(result) == {
        "base", "compact", "budget", "constraints", "method", "seed", "input_shape", "seconds", "remarks", "worth",
    }  # fmt: skip
    for part in ("base", "compact"):
        assert set(result[part]) == {"macs", "params", "accuracy", "latency_ms"}
        assert 0 <= result[part]["accuracy"] <= 1
        assert result[part]["latency_ms"] > 0
    (constraint,) = result["constraints"]
    assert constraint["cost"] == "macs"
    assert constraint["bound"] == "macs<=30%"
    assert constraint["got"] == result["compact"]["macs"] <= constraint["asked"]
    assert result["input_shape"] == [1, 8, 8]
    assert {"base", "architecture", "retrain"} <= set(result["seconds"])


def test_eval_agrees_with_the_result(finished: Path, dnal: Program) -> None:
    answer = dnal("eval", finished, "--json")
    assert (answer.status, answer.err) == (0, "")
    found, result = json.loads(answer.out), json.loads((finished / RESULT).read_text())
    for key in ("macs", "params"):
        assert found["base"][key] == result["base"][key]
        assert found["compact"][key] == result["compact"][key]
    assert found["compact"]["accuracy"] == pytest.approx(result["compact"]["accuracy"], abs=1e-6)
    assert found["compact"]["latency_ms"] > 0
    assert found["differs"] == []
    plain = dnal("eval", finished)
    assert plain.status == 0
    assert "\x1b" not in plain.out


def test_an_independent_count_agrees_with_the_result(finished: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    result = json.loads((finished / RESULT).read_text())
    network = package.load(finished)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 8, 8))
    assert counter.get_total_flops() == 2 * result["compact"]["macs"]
    stored = load_file(finished / MODEL)
    names = {name for name, _ in network.named_parameters()}
    assert sum(stored[name].numel() for name in names) == result["compact"]["params"]


def test_eval_says_when_the_result_says_otherwise(finished: Path, dnal: Program, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    result = json.loads((run / RESULT).read_text())
    result["compact"]["params"] += 1
    (run / RESULT).write_text(json.dumps(result))
    answer = dnal("eval", run)
    assert answer.status == 1
    assert "compact params" in answer.err
    assert answer.err.count("\n") == 1


def test_equal_jobs_write_equal_bytes_without_time_or_path(finished: Path, dnal: Program, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere"
    assert dnal("learn", *SHORT, "--out", again).status == 0
    for name in (CONFIG, ARCHITECTURE, MODEL):
        assert (again / name).read_bytes() == (finished / name).read_bytes(), name
    for name in (CONFIG, ARCHITECTURE, MODEL):
        content = (again / name).read_bytes()
        for private in (str(tmp_path), "elsewhere", str(Path.home()), str(Path.cwd())):
            assert private.encode() not in content, (name, private)
    other = tmp_path / "other"
    assert dnal("learn", *SHORT, "--seed", 1, "--out", other).status == 0
    assert (other / MODEL).read_bytes() != (finished / MODEL).read_bytes()


def test_the_workers_change_nothing(finished: Path, dnal: Program, tmp_path: Path) -> None:
    assert dnal("learn", *SHORT, "--workers", 1, "--out", tmp_path / "run").status == 0
    assert (tmp_path / "run" / MODEL).read_bytes() == (finished / MODEL).read_bytes()


def test_the_closing_table_and_the_next_command(here: Path, dnal: Program) -> None:
    answer = dnal("learn", *SHORT)
    assert (answer.status, answer.err) == (0, "")
    for word in ("base", "compact", "MACs", "parameters", "latency", "accuracy", "asked", "got", "macs<=30%"):
        assert word in answer.out
    assert "\x1b" not in answer.out
    (run,) = (here / "runs").iterdir()
    assert run.name == "vgg_small-digits-macs30pct-s0"
    assert f"dnal eval runs/{run.name}" in answer.out
    # The same job again takes a new folder, because none was asked for.
    assert dnal("learn", *SHORT).status == 0
    assert {entry.name for entry in (here / "runs").iterdir()} == {run.name, f"{run.name}-2"}


def test_an_existing_run_is_refused_and_overwritten_on_demand(here: Path, dnal: Program) -> None:
    assert dnal("learn", *SHORT, "--out", "run").status == 0
    before = {file.name: file.read_bytes() for file in (here / "run").iterdir()}
    answer = dnal("learn", *SHORT, "--out", "run", "--seed", 1)
    assert answer.status == 2
    assert "--overwrite" in answer.err
    assert {file.name: file.read_bytes() for file in (here / "run").iterdir()} == before
    # A mistake is found before the old run goes.
    assert dnal("learn", *SHORT, "--out", "run", "--overwrite", "--budget", "macs<=1").status == 2
    assert {file.name: file.read_bytes() for file in (here / "run").iterdir()} == before
    assert dnal("learn", *SHORT, "--out", "run", "--overwrite", "--seed", 1).status == 0
    assert read_config("run").seed == 1
    assert len((here / "run" / LOG).read_text().splitlines()) == 3


def test_two_constraints_both_hold(here: Path, dnal: Program) -> None:
    assert dnal("learn", *SHORT, "--budget", "macs<=40%,params<=60k", "--out", "run").status == 0
    result = json.loads((here / "run" / RESULT).read_text())
    assert [c["cost"] for c in result["constraints"]] == ["macs", "params"]
    assert all(c["got"] <= c["asked"] for c in result["constraints"])
    assert result["compact"]["params"] <= 60_000


def test_the_papers_recipe_with_its_lambda(here: Path, dnal: Program) -> None:
    answer = dnal(
        "learn",
        *SHORT,
        "--method",
        "paper:penalty=0.01",
        "--budget",
        "macs<=50%",
        "--out",
        "run",
    )
    assert answer.status == 0, answer.err
    result = json.loads((here / "run" / RESULT).read_text())
    assert result["method"] == "paper"
    assert result["compact"]["macs"] <= result["constraints"][0]["asked"]
    assert (read_config("run").model_extra or {})["techniques"] == []


def test_trained_weights_skip_the_first_phase(here: Path, dnal: Program) -> None:
    network = models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    save_file(network.state_dict(), "trained.safetensors")
    answer = dnal("learn", *SHORT, "--weights", "trained.safetensors", "--out", "run")
    assert answer.status == 0, answer.err
    phases = [json.loads(line)["phase"] for line in (here / "run" / LOG).read_text().splitlines()]
    assert set(phases) == {"retrain"}
    assert json.loads((here / "run" / RESULT).read_text())["method"] == "obs"  # as by default then


def test_a_users_own_network_and_arrays(here: Path, dnal: Program) -> None:
    (here / "my_network.py").write_text(
        "from torch import nn\n"
        "def net(classes, in_channels):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),\n"
        "                         nn.Flatten(), nn.Linear(16 * 64, classes))\n"
    )
    random = np.random.RandomState(0)
    x, y = random.rand(80, 12, 12).astype("float32"), np.arange(80) % 4
    np.savez("mine.npz", x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])
    answer = dnal("learn", "--model", "my_network:net", "--data", "mine.npz", "--epochs", "3", "--out", "run")
    assert answer.status == 0, answer.err
    assert read_config("run").input == (1, 12, 12)
    assert read_config("run").classes == 4
    assert "next: dnal eval run --trust my_network\n" in answer.out
    untrusted = dnal("eval", "run")
    assert untrusted.status == 2
    assert "--trust my_network" in untrusted.err
    assert dnal("eval", "run", "--trust", "my_network").status == 0
    (here / "mine.npz").rename(here / "moved.npz")
    lost = dnal("eval", "run", "--trust", "my_network")
    assert lost.status == 2
    assert "mine.npz" in lost.err
    assert dnal("eval", "run", "--trust", "my_network", "--data", "moved.npz").status == 0


def test_a_loss_that_is_no_number_keeps_the_last_good_state(here: Path, dnal: Program) -> None:
    (here / "breaking_late.py").write_text(BREAKS)
    answer = dnal("learn", "--model", "breaking_late:late", *SHORT[2:], "--epochs", "9,9,9", "--out", "run")
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert re.search(r"phase 'base', epoch 3, step 3", answer.err), answer.err  # 5 steps per epoch, the 13th breaks
    assert LAST in answer.err
    tree = Checkpoints(here / "run").load()
    assert tree is not None
    assert all_finite(tree)
    assert (tree["phase"], tree["position"]["epoch"]) == ("base", 2)
    assert len((here / "run" / LOG).read_text().splitlines()) == 2
    refused = dnal("eval", "run")
    assert refused.status == 2
    assert "not finished" in refused.err


def test_a_loss_that_is_no_number_at_once_promises_no_checkpoint(here: Path, dnal: Program) -> None:
    (here / "breaking_at_once.py").write_text(BREAKS)
    answer = dnal("learn", "--model", "breaking_at_once:at_once", *SHORT, "--out", "run")
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert "epoch 1, step 1" in answer.err
    tree = Checkpoints(here / "run").load()
    assert tree is not None
    assert all_finite(tree)
    assert tree["position"]["step"] == 0


def test_an_absurd_learning_rate_ends_in_a_sentence(here: Path, dnal: Program) -> None:
    answer = dnal("learn", *SHORT, "--lr", "1e30", "--out", "run")
    assert answer.status == 2
    assert "--lr" in answer.err
    assert answer.err.count("\n") == 1


def test_an_interrupt_ends_with_130(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from dnal.run import RunWriter

    def interrupted(self: RunWriter, record: dict[str, object]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunWriter, "epoch", interrupted)
    answer = dnal("learn", *SHORT)
    assert (answer.status, answer.err) == (130, "dnal: interrupted.\n")


def test_a_termination_before_training_ends_at_once(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from dnal.run import RunWriter

    def terminated(self: RunWriter, settings: dict[str, object]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunWriter, "start", terminated)
    answer = dnal("learn", *SHORT)
    assert (answer.status, answer.err) == (143, "dnal: interrupted; nothing was begun.\n")
    assert list(here.iterdir()) == []


def test_the_entry_point_is_the_app() -> None:
    assert callable(cli.main)


def test_a_method_by_name_and_the_list_of_them(here: Path, dnal: Program) -> None:
    from dnal.methods import METHODS

    listed = dnal("methods").out
    assert all(name in listed for name in METHODS.names())
    assert dnal("learn", *SHORT, "--method", "uniform", "--reinitialize", "--out", "run").status == 0
    config = yaml.safe_load((here / "run" / CONFIG).read_text())
    assert (config["method"], config["reinitialize"], config["epochs"]) == ({"name": "uniform"}, True, [1, 0, 2])
    assert json.loads((here / "run" / RESULT).read_text())["method"] == "uniform"
    assert dnal("learn", "--like", "run", "--out", "again").err == ""
    assert (here / "again" / MODEL).read_bytes() == (here / "run" / MODEL).read_bytes()
    assert dnal("learn", "--like", "run", "--method", "dnal", "--epochs", "1,1,1", "--out", "other").status == 0
    wrong = dnal("learn", "--method", "unifrom")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "did you mean 'uniform'" in wrong.err
