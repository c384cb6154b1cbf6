"""The examples as their readers run them: a process each, then its files alone, without the process."""

import os
import random
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import dnal
from independent import counted_macs, parameter_count

EXAMPLES = Path(__file__).parent.parent / "examples"


class Case(NamedTuple):
    """What is asked of an example: arguments that are short, what they write, and the bounds that it states."""

    name: str
    epochs: int
    macs: float
    params: float
    accuracy: float
    images: tuple[int, int, int] = (1, 8, 8)
    shorter: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    measure: Callable[[dict[str, Any], nn.Module], float] | None = None


def digits_right(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """How often a network is right on the test images."""
    test = dnal.data.load("digits", input_shape=shape).test
    images, labels = test.batch(torch.arange(len(test)), seed=0)
    return float((logits(network, images).argmax(1) == labels).float().mean())


def mean_iou(members: dict[str, Any], network: nn.Module) -> float:
    """By counting pixels, class by class."""
    scenes = members["scenes"](dnal.data.load("digits").test, 400, seed=2)
    images, masks = scenes.tensors
    found = logits(network, images).argmax(1)
    shares = [
        float(((found == k) & (masks == k)).sum()) / float(((found == k) | (masks == k)).sum())
        for k in range(members["CLASSES"])
    ]
    return sum(shares) / len(shares)


CASES = [
    Case("own_loop.py", epochs=3, macs=0.3, params=1.0, accuracy=0.9),
    Case("lightning_module.py", epochs=2, macs=0.25, params=0.3, accuracy=0.9),
    Case("hf_trainer.py", epochs=3, macs=0.5, params=1.0, accuracy=0.9, needs=("transformers", "accelerate")),
    Case(
        "segmentation.py", epochs=2, macs=0.3, params=1.0, accuracy=0.8,
        images=(1, 16, 16), shorter=("--scenes", "1000"), measure=mean_iou,
    ),
    Case("timm_finetune.py", epochs=3, macs=0.5, params=1.0, accuracy=0.5, images=(3, 64, 64)),
    Case(
        "edge_deployment.py", epochs=2, macs=0.25, params=1.0, accuracy=0.3,
        images=(3, 32, 32), shorter=("--turns", "20"), needs=("onnx", "onnxruntime", "onnxscript"),
    ),
]  # fmt: skip


class Finished(NamedTuple):
    """An example that has run: its folder, its table, and what it is made of."""

    case: Case
    out: Path
    printed: str
    members: dict[str, Any]

    @property
    def table(self) -> dict[str, list[float]]:
        return table(self.printed)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id=case.name, marks=() if case.name == "own_loop.py" else pytest.mark.slow) for case in CASES
    ],
)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    case: Case = request.param
    for package in case.needs:
        pytest.importorskip(package)
    here = tmp_path_factory.mktemp("example")
    ended = run(case, here, "--epochs", case.epochs, *case.shorter, "--out", "small")
    assert ended.returncode == 0, ended.stderr
    return Finished(case, here / "small", ended.stdout, runpy.run_path(str(EXAMPLES / case.name)))


def run(case: Case, here: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`python examples/NAME ARGUMENTS` in a folder of its own, with nothing to download from."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(EXAMPLES / case.name), *map(str, arguments)]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)


def table(printed: str) -> dict[str, list[float]]:
    """MACs, parameters and accuracy (0 to 1) of the rows "base" and "compact"."""
    rows = re.findall(r"^(base|compact) +([\d,]+) +([\d,]+) +([\d.]+)%$", printed, flags=re.M)
    return {
        name: [*(float(count.replace(",", "")) for count in counts), float(right) / 100]
        for name, *counts, right in rows
    }


def loaded(finished: Finished) -> nn.Module:
    """A fresh network of the example's own function, cut and filled by what the example has written."""
    architecture = dnal.Architecture.load(finished.out / "architecture.json")
    small = dnal.compact(finished.members["make_network"](), architecture)
    small.load_state_dict(load_file(finished.out / "model.safetensors"))
    return small.eval()


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found = network(images)
    return found if isinstance(found, Tensor) else found.logits


def test_both_networks_are_shown_and_have_learnt(finished: Finished) -> None:
    assert list(finished.table) == ["base", "compact"]
    assert min(row[-1] for row in finished.table.values()) >= finished.case.accuracy


def test_the_budget_holds_on_the_network_that_was_written(finished: Finished) -> None:
    images = torch.randn(2, *finished.case.images)
    small, base = loaded(finished), finished.members["make_network"]()
    macs, params = counted_macs(small, images, batch=2), parameter_count(small)
    full_macs, full_params = counted_macs(base, images, batch=2), parameter_count(base)
    assert finished.table["base"][:2] == [full_macs, full_params]
    assert finished.table["compact"][:2] == [macs, params]
    used = (macs / full_macs / finished.case.macs, params / full_params / finished.case.params)
    assert max(used) <= 1
    assert max(used) > 0.95, "and is used"


def test_the_network_that_was_written_is_as_good_as_shown(finished: Finished) -> None:
    case, small = finished.case, loaded(finished)
    right = digits_right(small, case.images) if case.measure is None else case.measure(finished.members, small)
    assert right == pytest.approx(finished.table["compact"][-1], abs=0.002)  # printed to a thousandth


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_as_it_stands_it_loses_little(case: Case, tmp_path: Path) -> None:
    for package in case.needs:
        pytest.importorskip(package)
    ended = run(case, tmp_path)
    assert ended.returncode == 0, ended.stderr
    rows = table(ended.stdout)
    assert rows["base"][-1] >= 0.93
    assert rows["compact"][-1] >= rows["base"][-1] - 0.03


@pytest.mark.slow
def test_two_processes_learn_one_architecture(tmp_path: Path) -> None:
    """The example itself compares the gates of both."""
    ended = run(CASES[1], tmp_path, "--devices", 2, "--epochs", 2, "--out", "small")
    assert ended.returncode == 0, ended.stderr
    assert table(ended.stdout)["compact"][-1] >= CASES[1].accuracy


@pytest.mark.slow
@pytest.mark.parametrize(
    "finished", [case for case in CASES if case.name.startswith("edge")], indirect=True, ids=["edge"]
)
def test_files_for_a_device_compute_what_the_network_does(finished: Finished) -> None:
    """Each is run by ONNX Runtime here too; 8 bits may differ in an answer now and then."""
    import onnxruntime

    shown = re.findall(r"^(\w+)\.onnx +\d+ +[\d.]+ +[\d.]+ +([\d.]+)%$", finished.printed, flags=re.M)
    assert [name for name, _ in shown] == ["base", "compact", "int8"]
    case, small = finished.case, loaded(finished)
    test = dnal.data.load("digits", input_shape=case.images).test
    images, _ = test.batch(torch.arange(64), seed=0)
    expected = logits(small, images)
    answers = {}
    for name in ("compact", "compact.int8"):
        session = onnxruntime.InferenceSession(finished.out / f"{name}.onnx")
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        answers[name] = torch.from_numpy(found)
    assert float((answers["compact"] - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
    assert float((answers["compact.int8"].argmax(1) == expected.argmax(1)).float().mean()) >= 0.8


PLAIN = ["the", "film", "its", "plot", "and", "every", "actor", "of", "this", "story"]
GOOD, BAD = ["warm", "witty", "moving", "charming"], ["dull", "stale", "clumsy", "tedious"]


def reviews(count: int) -> str:
    """Texts that say in a word or two what they mean, and their class."""
    draw, lines = random.Random(1), []
    for _ in range(count):
        label = draw.randrange(2)
        words = [draw.choice(PLAIN) for _ in range(8)]
        for _ in range(2):
            words[draw.randrange(8)] = draw.choice(GOOD if label else BAD)
        lines.append(f"{' '.join(words)}\t{label}")
    return "\n".join(lines)


@pytest.mark.slow
def test_bert_learns_from_a_file_of_texts(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "reviews.tsv").write_text(reviews(600), encoding="utf-8")
    case = Case("bert_text.py", epochs=4, macs=0.3, params=1.0, accuracy=0.9)
    ended = run(case, tmp_path, "reviews.tsv", "--epochs", case.epochs, "--length", 8, "--out", "small")
    assert ended.returncode == 0, ended.stderr
    base, compact = table(ended.stdout).values()
    assert min(base[-1], compact[-1]) >= case.accuracy
    assert 0.95 * case.macs < compact[0] / base[0] <= case.macs
    weights = load_file(tmp_path / "small" / "model.safetensors")
    members = runpy.run_path(str(EXAMPLES / case.name))
    whole = members["make_network"](len(weights["bert.embeddings.word_embeddings.weight"]), 2, 8)
    small = dnal.compact(whole, dnal.Architecture.load(tmp_path / "small" / "architecture.json"))
    small.load_state_dict(weights)
    assert [counted_macs(small, torch.ones(2, 8).long(), batch=2), parameter_count(small)] == compact[:2]
    rows = members["read"](tmp_path / "reviews.tsv")
    found = small.eval()(**members["Tokenizer"](rows, 8)(rows[:4]))
    assert found.logits.shape == (4, 2)
    assert found.loss > 0


@pytest.mark.slow
def test_a_detector_learns_from_boxes(tmp_path: Path) -> None:
    case = Case("detector.py", epochs=1, macs=1.0, params=0.5, accuracy=0.0)
    ended = run(case, tmp_path, "--epochs", case.epochs, "--images", 64, "--out", "small")
    assert ended.returncode == 0, ended.stderr
    printed = re.findall(r"^(?:base|compact) +[\d,]+ +([\d,]+) +[\d.]+%$", ended.stdout, flags=re.M)
    base, compact = (float(count.replace(",", "")) for count in printed)
    assert 0.95 * case.params < compact / base <= case.params
    members = runpy.run_path(str(EXAMPLES / case.name))
    small = dnal.compact(members["make_network"](), dnal.Architecture.load(tmp_path / "small" / "architecture.json"))
    small.load_state_dict(load_file(tmp_path / "small" / "model.safetensors"))
    assert parameter_count(small) == compact
    images, targets = members["collate"]([members["Shapes"](2, seed=9)[number] for number in range(2)])
    assert set(small.train()(list(images), list(targets))) >= {"loss_classifier", "loss_box_reg"}
    assert len(small.eval()(list(images))) == 2


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    """On few images and epochs; where CIFAR-10 is not on this machine, on other real images of its shape."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for package in ("ipykernel", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    notebook = nbformat.read(EXAMPLES / "cifar10.ipynb", as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells), "it is kept empty"
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    short = {"data": images_like_cifar10(tmp_path), "epochs": (1, 1, 1), "limit_train": 400, "out": "small.onnx"}
    assert all(f"{name} = " in parameters.source for name in short)
    parameters.source += "".join(f"\n{name} = {value!r}" for name, value in short.items())
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "holds: True" in printed
    figures = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(figures) == 3
    assert (tmp_path / "small.onnx").is_file()


def images_like_cifar10(folder: Path) -> str:
    """CIFAR-10 if it has been downloaded, else the digits at its size and in its colours."""
    if (Path("~/.cache/dnal").expanduser() / "cifar-10-batches-py").is_dir():
        return "cifar10"
    digits, arrays = dnal.data.load("digits", input_shape=(3, 32, 32), augment=False), {}
    for name, part in (("train", digits.train), ("test", digits.test)):
        images, labels = part.batch(torch.arange(len(part)), seed=0)
        arrays[f"x_{name}"], arrays[f"y_{name}"] = images.numpy(), labels.numpy()
    np.savez(folder / "digits32.npz", **arrays)
    return str(folder / "digits32.npz")
