"""`dnal sparsify`, as a user types it: the job of `dnal learn` with a method that keeps weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dnal as library
from cli_program import Program
from dnal.base.errors import UserError
from dnal.changes.masks import Masks
from dnal.costs.counted import compressed, nonzero_macs
from dnal.run.change import read_change, write_change
from dnal.run.files import MANIFEST, MODEL
from dnal.run.loading import load, read_result
from dnal.run.manifest import manifest_of

JOB = ["--epochs", "1,1,1", "--limit-train", "100"]


@pytest.fixture
def run(here: Path, dnal: Program) -> Path:
    answer = dnal("sparsify", "--keep", "5%", "--rounds", "2", *JOB, "--out", "run")
    assert answer.status == 0, answer.err
    assert "MACs without zeros" in answer.out
    assert "compressed size" in answer.out
    return here / "run"


def test_it_is_learn_with_a_method_that_keeps_weights(run: Path, dnal: Program, here: Path) -> None:
    assert dnal("learn", "--method", "magnitude-masks:keep=5%,rounds=2", *JOB, "--out", "same", "--quiet").status == 0
    for name in ("config.yaml", MODEL, MANIFEST, Masks.file):
        assert (run / name).read_bytes() == (here / "same" / name).read_bytes(), name
    assert dnal("learn", "--like", "run", "--out", "again", "--quiet").status == 0
    assert (here / "again" / MODEL).read_bytes() == (run / MODEL).read_bytes()
    _tells_what_sparsity_is_worth(run, dnal)
    _keeps_zeros_in_onnx(run, dnal)
    _refuses_weights_that_its_masks_contradict(run)


def _tells_what_sparsity_is_worth(run: Path, dnal: Program) -> None:
    network, result = load(run), read_result(run)
    figures, images = result["compact"], torch.rand(1, 1, 8, 8)
    by_hand, sizes = 0, {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(lambda m, i, o, name=name: sizes.update({name: o[0, 0].numel()}))
    network(images)
    for name, places in sizes.items():
        by_hand += places * int((network.get_parameter(f"{name}.weight") != 0).sum())
    assert figures["nonzero_macs"] == by_hand == nonzero_macs(network, images)
    assert result["base"]["nonzero_macs"] == result["base"]["macs"] > 5 * figures["nonzero_macs"]
    values = sum(int((t != 0).sum()) * 4 + (t.numel() + 7) // 8
                 for n, t in network.named_parameters() if t.dim() > 1)  # fmt: skip
    assert values < figures["compressed"] == compressed(network) < 2 * values
    assert (run / Masks.file).stat().st_size < sum(m.numel() for m in read_change(run).masks.values()) / 8 + 20_000  # type: ignore[attr-defined]
    evaluated = dnal("eval", run, "--json")
    assert json.loads(evaluated.out)["differs"] == []
    page = (run / "report.html").read_text()
    assert "against the weights that stay" in page
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [round(record.get("kept", 1.0), 2) for record in log] == [1.0, 0.22, 0.05]


def _keeps_zeros_in_onnx(run: Path, dnal: Program) -> None:
    onnx = pytest.importorskip("onnx")
    assert dnal("export", run, "--to", "onnx", "--out", run.parent / "m.onnx").status == 0
    tensors = [onnx.numpy_helper.to_array(t) for t in onnx.load(str(run.parent / "m.onnx")).graph.initializer]
    exported = sorted(np.count_nonzero(t) for t in tensors if t.ndim > 1)
    assert exported == sorted(int((p != 0).sum()) for p in load(run).parameters() if p.dim() > 1)


def _refuses_weights_that_its_masks_contradict(run: Path) -> None:
    change, network = read_change(run), load(run)
    assert isinstance(change, Masks)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    name = next(name for name in change.masks if bool((state[name] == 0).any()))
    state[name][state[name] == 0] = 0.5
    save_file(state, run / MODEL)
    (run / MANIFEST).write_text(manifest_of(run))
    with pytest.raises(UserError, match="are not 0 where the masks hold them"):
        load(run)
    write_change(run, Masks(dict.fromkeys(change.masks, torch.ones(1, dtype=torch.bool)), change.shapes))
    (run / MANIFEST).write_text(manifest_of(run))
    with pytest.raises(UserError, match="no bits"):
        load(run)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--keep", "0"], "--keep is more than 0 and less than 1"),
        (["--keep", "most"], "--keep is a number"),
        (["--rounds", "0"], "--rounds is 1 or more"),
        (["--reset", "start"], "--reset is auto, early, init or none"),
        (["--method", "uniform"], "'uniform' keeps channels, not weights"),
        (["--method", "magnitud"], "did you mean 'magnitude'"),
        (["--method", "magnitude:x=1"], "has no option 'x'"),
        (["--budget", "macs<=30%"], "no option '--budget'"),
        (["--rounds", "9", "--epochs", "1,2,1"], "8 or more for the second"),
        (["--reset", "init", "--schedule-over", "job"], "reset=none"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_leaves_nothing(
    arguments: list[str], said: str, dnal: Program, here: Path
) -> None:
    answer = dnal("sparsify", *arguments)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
    assert not list(here.iterdir())


def test_in_python_it_returns_what_learn_does() -> None:
    data = library.data.loaders(library.data.load("digits", limit_train=100), 48)
    torch.manual_seed(0)
    network = library.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    sparse = library.sparsify(network, *data, keep="10%", rounds=1, reset="init", epochs=(1, 0, 1))
    assert isinstance(sparse.change, Masks)
    assert set(sparse.figures.compact.costs) == {"macs", "params", "latency_ms", "nonzero_macs", "compressed"}
    assert sparse.settings["method"] == {
        "name": "magnitude-masks", "keep": 0.1, "rounds": 1, "reset": "init", "early": 0.03, "activating": 0.0,
        "sign": "negative", "pattern": "free",
    }  # fmt: skip
    with pytest.raises(UserError, match=r"rounds is 1 or more"):
        library.sparsify(network, *data, rounds=0)
