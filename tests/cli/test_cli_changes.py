"""Run folders of methods that do not only remove: weights held at zero, and layers that grew. What one does with a run
works with them, as a user types it."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed import Processes
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import dnal as library
from cli_program import Program
from dnal.base.errors import UserError
from dnal.changes import Change, Growth, Masks
from dnal.models import create
from dnal.report.source import read_source
from dnal.run.change import change_file, read_change, write_change
from dnal.run.files import ARCHITECTURE, MANIFEST, MODEL, RESULT
from dnal.run.loading import load, read_result
from dnal.run.manifest import manifest_of
from independent import counted_macs

METHODS = {"masks": "magnitude-masks:keep=2%,rounds=2", "growth": "net2wider:factor=1.5"}
JOB = ["--epochs", "1,1,1", "--limit-train", "200", "--checkpoint-every", "2"]  # 4 steps an epoch
EXACT = ("config.yaml", MODEL, MANIFEST)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("changes"))


@pytest.fixture(scope="module", params=list(METHODS))
def whole(request: pytest.FixtureRequest, processes: Processes) -> Path:
    """A finished run of each."""
    ended = processes(["learn", "--method", METHODS[request.param], *JOB, "--out", request.param])
    assert ended.status == 0, ended.err
    return processes.folder / request.param


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def changed_by(run: Path) -> Change:
    return read_change(run)


def test_it_loads_without_code_as_the_change_of_its_base(whole: Path) -> None:
    network, change = load(whole), changed_by(whole)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in load_file(whole / MODEL).items())
    torch.manual_seed(0)
    base = create("vgg_small", classes=10, input_shape=(1, 8, 8))
    applied = change.apply(base)
    assert [tuple(t.shape) for t in applied.state_dict().values()] == [
        tuple(t.shape) for t in network.state_dict().values()
    ]
    assert {type(module).__module__.partition(".")[0] for module in network.modules()} <= {"torch", "dnal"}
    assert counted_macs(network, torch.rand(1, 1, 8, 8), 1) == read_result(whole)["compact"]["macs"]
    with pytest.raises(UserError, match="belongs to another network"):
        load(whole, network=create("vgg_small", classes=9, input_shape=(1, 8, 8)))


def test_it_says_what_was_done(whole: Path, dnal: Program) -> None:
    answer, change = dnal("eval", whole), changed_by(whole)
    assert answer.status == 0, answer.err
    assert f"{change.word} / base" in answer.out
    remarks = read_result(whole)["remarks"]
    assert remarks
    assert all(remark in answer.out for remark in remarks)
    weights = {n: t for n, t in load(whole).named_parameters() if t.dim() > 1}
    count = sum(t.numel() for t in weights.values())
    if isinstance(change, Masks):
        zeros = sum(int((t == 0).sum()) for t in weights.values())
        assert zeros > 0.9 * count
        assert remarks[0].startswith(f"{zeros:,} of its {count:,} maskable weights are held at zero")
    else:
        base = create("vgg_small", classes=10, input_shape=(1, 8, 8))
        assert counted_macs(load(whole), torch.rand(1, 1, 8, 8), 1) > 2 * counted_macs(base, torch.rand(1, 1, 8, 8), 1)
        added = sum(sum(m.out_channels for m in n.modules() if hasattr(m, "out_channels")) * s
                    for n, s in ((load(whole), 1), (base, -1)))  # fmt: skip
        assert f"{added:,} channels were added" in remarks[0]


def test_its_report_speaks_of_what_it_is(whole: Path, dnal: Program, tmp_path: Path) -> None:
    assert dnal("report", whole, "--out", tmp_path / "page.html").status == 0
    text = (tmp_path / "page.html").read_text().partition("plotly.js v")[0]
    text += (tmp_path / "page.html").read_text().rpartition("Made by dnal")[0][-200_000:]
    source = read_source(whole)
    assert not source.missing
    assert "no budget" in text
    assert f"Base against {source.word}" in text
    assert all(remark in text for remark in read_result(whole)["remarks"])
    assert ">compact<" not in text
    told = source.details
    assert told is not None
    before, after = (sum(layer.macs[i] for layer in told.layers) for i in (0, 1))
    assert (before, after) == (source.result.base["macs"], source.result.compact["macs"])


@pytest.mark.parametrize("at", [6, *(pytest.param(at, marks=pytest.mark.slow) for at in (3, 9, 11))])
def test_killed_it_goes_on_to_the_same_bytes(whole: Path, at: int, processes: Processes) -> None:
    name = f"{whole.name}{at}"
    ended = processes(["learn", "--method", METHODS[whole.name], *JOB, "--out", name], at=at)
    assert ended.status == -signal.SIGKILL
    resumed = processes(["resume", name])
    assert resumed.status == 0, resumed.err
    folder = processes.folder / name
    for file in (*EXACT, change_file(whole)):
        assert (folder / file).read_bytes() == (whole / file).read_bytes(), file


def test_it_is_repeated_and_replaced(whole: Path, run: Path, dnal: Program, tmp_path: Path) -> None:
    answer = dnal("learn", "--like", whole, "--out", tmp_path / "again", "--quiet")
    assert (answer.status, answer.err) == (0, "")
    for file in (MODEL, change_file(whole)):
        assert (tmp_path / "again" / file).read_bytes() == (whole / file).read_bytes()
    assert dnal("learn", *JOB, "--out", run, "--overwrite", "--no-report", "--quiet").status == 0
    assert change_file(run) == ARCHITECTURE
    assert not (run / change_file(whole)).exists()
    assert load(run) is not None


def test_it_is_exported(whole: Path, dnal: Program, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    answer = dnal("export", whole, "--to", "onnx", "--out", tmp_path / "m.onnx")
    assert answer.status == 0, answer.err
    told = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "m.onnx")).metadata_props}
    assert json.loads(told["remarks"]) == read_result(whole)["remarks"]
    shapes = {name: text.rpartition(" -> ")[2] for name, text in json.loads(told["architecture"]).items()}
    own = {n: "x".join(map(str, t.shape)) for n, t in load(whole).state_dict().items() if t.dim() > 1}
    assert shapes == own
    session, images = runtime.InferenceSession(str(tmp_path / "m.onnx")), torch.rand(3, 1, 8, 8)
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), load(whole)(images), atol=1e-4)


def test_a_budget_is_refused_and_leaves_no_folder(dnal: Program, here: Path) -> None:
    for method in METHODS.values():
        answer = dnal("learn", "--method", method, "--budget", "macs<=30%", *JOB)
        assert (answer.status, answer.err.count("\n")) == (2, 1)
        assert "takes no budget" in answer.err
    assert not list(here.iterdir())


Damage = Callable[[dict[str, Tensor], str], tuple[dict[str, Tensor], str]]


def header(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["change"])


def rewritten(run: Path, damage: Damage) -> None:
    """The change's file with other tensors or another header, under a manifest that fits."""
    path = run / change_file(run)
    tensors, text = damage(load_file(path), header(path))
    save_file(tensors, path, {"change": text})
    (run / MANIFEST).write_text(manifest_of(run))


def deep(tensors: dict[str, Tensor], text: str) -> tuple[dict[str, Tensor], str]:
    return tensors, "[" * 100_000 + "]" * 100_000


DAMAGES: dict[str, Damage] = {
    "no header": lambda tensors, text: (tensors, "{}"),
    "a tensor is missing": lambda tensors, text: (dict(list(tensors.items())[1:]), text),
    "numbers of another kind": lambda tensors, text: ({n: t.float() for n, t in tensors.items()}, text),
    "lists in lists": deep,
    "code": lambda tensors, text: (tensors, json.dumps({"os:system": "touch executed"})),
    "an infinity": lambda tensors, text: (tensors, "Infinity"),
    "another format": lambda tensors, text: (tensors, text.replace('["format",1]', '["format",2]')),
    "a name as long as a book": lambda tensors, text: (tensors, text.replace('["features.', f'["{"0" * 5000}.')),
    "shapes that no tensor has": lambda tensors, text: (tensors, text.replace("[32,", "[4611686018427387905,")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_change_that_nobody_wrote_is_a_sentence(run: Path, damage: Damage, here: Path) -> None:
    before = (run / change_file(run)).read_bytes()
    rewritten(run, damage)
    assert (run / change_file(run)).read_bytes() != before, "the damage is one"
    with pytest.raises(UserError):
        load(run)
    with pytest.raises(UserError):
        read_change(run)
    source = read_source(run)
    assert any("widths are not shown" in sentence for sentence in source.missing)
    assert not (here / "executed").exists()


def test_two_changes_in_a_folder_are_none(run: Path, finished: Path) -> None:
    shutil.copyfile(finished / ARCHITECTURE, run / ARCHITECTURE)
    with pytest.raises(UserError, match=r"architecture\.json' is none of the run's files"):
        load(run)


def test_growth_takes_no_memory_that_the_file_of_tensors_has_not(whole: Path, run: Path) -> None:
    change = changed_by(run)
    if not isinstance(change, Growth):
        pytest.skip("masks make nothing larger")
    name = next(name for name, dims in change.sources.items() if len(dims) == 4)
    index = torch.zeros(300_000, dtype=torch.long)
    larger = Growth(
        change.copies, {**change.sources, name: (index, index, None, None)},
        {**change.shares, name: (None,) * 4}, change.shapes,
    )  # fmt: skip
    write_change(run, larger)
    (run / MANIFEST).write_text(manifest_of(run))
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="the file of tensors has"):
        load(run)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 2**28


def test_a_file_too_large_for_its_tensors_is_not_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnal.run.change.SPARE_CHANGE", 10)
    monkeypatch.setattr("dnal.run.change.TIMES_CHANGE", 0)
    with pytest.raises(UserError, match="more than such a file can have"):
        load(run)


def test_learned_has_no_architecture_where_no_channel_left(whole: Path) -> None:
    data = library.data.loaders(library.data.load("digits", limit_train=96), 48)
    method = "net2wider" if whole.name == "growth" else "magnitude-masks:keep=90%,rounds=1,reset=none"
    network = create("vgg_small", classes=10, input_shape=(1, 8, 8))
    learned = library.learn(network, data.train, data.val, method=method, epochs=(0, 0, 1))
    with pytest.raises(UserError, match="removed no channels"):
        learned.architecture  # noqa: B018


def test_the_result_stays_readable(whole: Path) -> None:
    result: dict[str, Any] = json.loads((whole / RESULT).read_text())
    assert result["budget"] is None
    assert result["constraints"] == []
