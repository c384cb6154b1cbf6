"""A text of the user's, a decoder, and a budget: learnt, killed, gone on with, loaded as an ordinary network."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import torch
from killed import Processes

import dnal as library
from cli_program import Program
from dnal.data.text.sets import read_grammar
from dnal.run.files import ARCHITECTURE, CONFIG, MODEL, RESULT


def test_a_decoder_learns_a_text_under_a_budget_and_survives(tmp_path: Path, dnal: Program) -> None:
    processes = Processes(tmp_path)
    text = read_grammar(None).train
    assert isinstance(text, str)
    (processes.folder / "book.txt").write_text(text[:4500], encoding="utf-8")
    job = [
        "learn", "--model", "decoder/small", "--data", "book.txt:measure=perplexity", "--input", "32,257", "--norms",
        "open", "--optimizer", "adamw", "--lr", "0.01", "--epochs", "1,1,1", "--batch-size", "8", "--budget",
        "macs<=50%", "--no-report", "--checkpoint-every", "4",
    ]  # fmt: skip
    whole = processes([*job, "--out", "whole"])
    assert (whole.status, whole.err) == (0, "")
    assert processes([*job, "--out", "run"], at=17).status == -signal.SIGKILL
    resumed = processes(["resume", "run", "--no-report"])
    assert (resumed.status, resumed.err) == (0, "")
    for file in (ARCHITECTURE, MODEL, CONFIG):
        assert (processes.folder / "run" / file).read_bytes() == (processes.folder / "whole" / file).read_bytes(), file
    found = json.loads((processes.folder / "whole" / RESULT).read_text())
    assert found["compact"]["macs"] <= 0.5 * found["base"]["macs"]
    assert -4 < found["compact"]["log_likelihood"] < 0  # bytes told apart by lot are at -5.5
    network = library.load(processes.folder / "whole")
    assert all(module.__module__.startswith(("torch.", "dnal.models.")) for module in map(type, network.modules()))
    ids = torch.randint(257, (2, 40))
    assert network(ids, torch.ones_like(ids)).shape == (2, 257, 40)  # longer than those that it has learnt from
    book = str(processes.folder / "book.txt")
    refused = dnal("eval", processes.folder / "whole", "--data", book)
    assert (refused.status, refused.out) == (2, "")
    assert f"as in {book}:measure=perplexity" in refused.err
    assert "(perplexity " in dnal("eval", processes.folder / "whole", "--data", f"{book}:measure=perplexity").out
