"""A job with open norms, through its folder: a transformer with a narrower stream, and everything reads that back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal.cli import app
from dnal.cli.like import repeated
from dnal.run.files import ARCHITECTURE, RESULT
from dnal.run.shape import cut, read_shape

JOB = (
    "--model", "transformer/small", "--data", "negation", "--limit-train", "64", "--input", "16,300",
    "--epochs", "1,1,1", "--optimizer", "adamw", "--lr", "0.01", "--quiet",
)  # fmt: skip


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        app(list(arguments), prog_name="dnal")
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open") / "run"
    assert ended("learn", *JOB, "--budget", "macs<=40%", "--norms", "open", "--out", str(folder)) == 0
    return folder


def test_the_stream_is_narrower_and_the_budget_is_met(run: Path) -> None:
    result = json.loads((run / RESULT).read_text())
    architecture = dnal.Architecture.load(run / ARCHITECTURE)
    width = architecture.kept.left("tokens.weight", architecture.shapes["tokens.weight"])[1]
    assert 0 < width < 64
    assert architecture.kept.norms
    for name in ("positions", "encoder.norm.weight", "encoder.layers.1.norm2.weight", "head.weight"):
        assert width in architecture.kept.left(name, architecture.shapes[name]), name
    assert result["compact"]["macs"] <= 0.4 * result["base"]["macs"]


def test_what_is_loaded_has_that_stream_and_computes_with_it(run: Path) -> None:
    network = dnal.load(run)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    architecture = dnal.Architecture.load(run / ARCHITECTURE)
    assert all(shape == architecture.kept.left(name, architecture.shapes[name]) for name, shape in shapes.items())
    ids = torch.randint(2, 300, (2, 16))
    assert network(ids, torch.ones_like(ids)).isfinite().all()
    outlined = cut(read_shape(run / "shape.txt"), dnal.models.create("transformer/small", input_shape=(16, 300)))
    assert {name: tuple(p.shape) for name, p in outlined.named_parameters()} == shapes


def test_a_job_like_it_has_open_norms_too(run: Path) -> None:
    job, _ = repeated({}, run)
    assert job.widths.norms == "open"
    assert repeated({"widths": job.widths, "epochs": (1, 1, 1)}, run)[0].widths.norms == "open"


@pytest.mark.parametrize("job", [dnal.grow, dnal.sparsify])
def test_methods_that_keep_what_a_network_computes_refuse_open_norms(job: Callable[..., Any]) -> None:
    network = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))]
    with pytest.raises(dnal.UserError, match="leave norms=open out"):
        job(network, batches, batches, widths="norms=open")
