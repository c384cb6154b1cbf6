"""Image restoration through the commands: learn under a budget, sparsify in rounds, eval, report, kill and resume."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from killed import Processes

import dnal as library
from cli_program import Program
from dnal.changes.masks import Masks
from dnal.run.change import read_change
from dnal.run.details import read_details
from dnal.run.files import CONFIG, MANIFEST, MODEL, REPORT, RESULT

JOB = [
    "--model", "restoration/promptir-tiny", "--data", "photos.npz:tasks=noise25/haze", "--input", "3,16,16",
    "--batch-size", "7", "--optimizer", "adamw", "--lr", "0.002", "--epochs", "1,1,1",
]  # fmt: skip


def written(folder: Path) -> None:
    """Smooth images, so that something of them can be restored."""
    y, x = np.mgrid[:20, :20] / 20
    turns = np.arange(10)[:, None, None, None]
    waves = np.stack(
        [np.sin(3 * (turns[..., 0] * x + y)), np.cos(4 * y + turns[..., 0] * x), x + 0 * turns[..., 0]], -1
    )
    images = ((waves - waves.min()) / (waves.max() - waves.min()) * 255).astype(np.uint8)
    np.savez(folder / "photos.npz", clean_train=images[:8], clean_test=images[8:])


@pytest.fixture
def photos(here: Path) -> Path:
    written(here)
    return here


def test_learn_keeps_a_budget_and_eval_tells_each_task(photos: Path, dnal: Program) -> None:
    answer = dnal("learn", *JOB, "--budget", "macs<=70%", "--out", "run")
    assert answer.status == 0, answer.err
    assert "PSNR in dB (test data)" in answer.out
    run = photos / "run"
    result = json.loads((run / RESULT).read_text())
    assert all(row["holds"] for row in result["constraints"])
    assert result["compact"]["macs"] <= 0.7 * result["base"]["macs"]
    network = library.load(run)
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 3, 16, 16)
    found = json.loads(dnal("eval", run, "--json").out)
    assert found["differs"] == []
    assert found["compact"]["psnr"] == pytest.approx(result["compact"]["psnr"], abs=1e-4)
    assert list(found["apart"]) == ["noise25", "haze"]
    each = found["apart"].values()
    assert sum(one["psnr"] * one["images"] for one in each) / 4 == pytest.approx(found["compact"]["psnr"], abs=1e-3)
    assert found["apart"]["noise25"]["psnr"] != found["apart"]["noise25"]["degraded_psnr"]
    assert all(0 < one["ssim"] <= 1 for one in each)
    text = dnal("eval", run).out
    assert "degraded psnr" in text
    assert "noise25" in text
    details = read_details(run)
    assert details.examples is not None
    assert len(details.examples.values) == 4
    assert "PSNR in dB (test data)" in (run / REPORT).read_text()
    assert "3 channels to restore" in dnal("data", "photos.npz").out
    refused = dnal("analyse", run)
    assert refused.status == 2
    assert "one of restoration" in refused.err


SPARSE = ["sparsify", *JOB, "--keep", "20%", "--rounds", "2", "--reset", "init", "--no-report"]


@pytest.mark.slow
def test_tickets_over_rounds_go_on_where_they_were_killed(tmp_path: Path) -> None:
    """The base, one round and the last: two steps each, of 14 examples, and killed within the round between."""
    processes = Processes(tmp_path)
    written(processes.folder)
    whole = processes([*SPARSE, "--out", "whole"])
    assert whole.status == 0, whole.err
    job = [*SPARSE, "--out", "run", "--checkpoint-every", "1"]
    assert processes(job, at=3).status == -signal.SIGKILL
    resumed = processes(["resume", "run", "--no-report"])
    assert resumed.status == 0, resumed.err
    assert all(line.startswith("dnal: note: ") for line in resumed.err.splitlines())  # few weights empty layers
    run = processes.folder / "run"
    for file in (MODEL, CONFIG, MANIFEST, Masks.file):
        if file != MANIFEST:
            assert (run / file).read_bytes() == (processes.folder / "whole" / file).read_bytes(), file
    change = read_change(run)
    assert isinstance(change, Masks)
    assert 0 < change.kept < 0.22  # of the base's weights; those of channels that only zeros read have left too
    network = library.load(run)
    named = dict(network.named_parameters())
    assert not any(name.endswith(("components", "temperature")) for name in change.masks)
    assert all(bool(named[name].any()) for name in named if name.endswith("components"))
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    between, last = [record["kept"] for record in log if "kept" in record]
    assert between == pytest.approx(0.2**0.5, abs=0.001)
    assert last == pytest.approx(change.kept, abs=1e-6)
    assert all("psnr" in record for record in log)
