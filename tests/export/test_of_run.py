"""What the file of a run says, and the run in 8 bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest
import torch
import yaml

import dnal
from dnal.base.errors import UserError
from dnal.changes import Removal
from dnal.data import Dataset
from dnal.export import FORMATS, default_file, export_run, quantize_run
from dnal.export.licence import licences_of
from dnal.export.metadata import widths
from dnal.export.of_run import calibration_batches
from dnal.run import check_free, load, read_config, read_result
from dnal.run.data import data_of
from dnal.run.files import ARCHITECTURE, CONFIG, EXPORTS, MANIFEST, RESULT
from dnal.run.manifest import manifest_of


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "digits.onnx"
    assert export_run(finished, "onnx", out=path).difference <= 1e-4
    return path


def told(path: Path) -> dict[str, str]:
    return {prop.key: prop.value for prop in onnx.load(path).metadata_props}


def test_whoever_deploys_it_finds_everything_in_the_file(finished: Path, exported: Path) -> None:
    found, result = told(exported), read_result(finished)
    assert found["dnal"] == dnal.__version__
    assert found["model"] == "vgg_small"
    assert json.loads(found["input_shape"]) == [1, 8, 8]
    assert int(found["classes"]) == 10
    assert json.loads(found["class_names"]) == [str(digit) for digit in range(10)]
    for key in ("macs", "params", "accuracy"):
        assert float(found[key]) == result["compact"][key]
    assert found["licence"] == "Apache-2.0"


def test_its_numbers_normalise_images_as_the_run_did(finished: Path, exported: Path) -> None:
    found = told(exported)
    digits = data_of(read_config(finished), augment=False)
    images = digits.train.batch(torch.arange(len(digits.train)), 0)[0]
    raw = images * torch.tensor(digits.std).view(-1, 1, 1) + torch.tensor(digits.mean).view(-1, 1, 1)
    mean, std = (torch.tensor(json.loads(found[key])).view(-1, 1, 1) for key in ("mean", "std"))
    assert float(raw.min()) + 1e-6 >= 0
    assert float(((raw - mean) / std - images).abs().max()) < 1e-6
    assert abs(float(images.mean())) < 1e-4


def test_the_architecture_in_it_is_that_of_the_network(finished: Path, exported: Path) -> None:
    shapes = json.loads(told(exported)["architecture"])
    own = {name: "x".join(map(str, t.shape)) for name, t in load(finished).state_dict().items() if t.dim() > 1}
    assert {name: text.rpartition(" -> ")[2] for name, text in shapes.items()} == own


def test_a_branch_that_was_left_out_is_said() -> None:
    network = dnal.models.create("cifar/resnet20", input_shape=(3, 16, 16))
    space = dnal.Space.of(network, torch.rand(1, 3, 16, 16), depth=True)
    architecture = dnal.Architecture.random(space, 1.0, branches=0.5)
    small = dnal.compact(network, architecture)
    shapes = widths(Removal(architecture))
    left = {name for name, text in shapes.items() if text.endswith("left out")}
    assert left
    assert set(shapes) - left == {name for name, t in small.state_dict().items() if t.dim() > 1}


def test_a_run_is_exported_without_its_data(run: Path) -> None:
    config = yaml.safe_load((run / CONFIG).read_text())
    (run / CONFIG).write_text(yaml.safe_dump({**config, "data": "gone.npz"}))
    (run / MANIFEST).write_text(manifest_of(run))
    assert json.loads(told(export_run(run, "onnx").path)["mean"]) == config["mean"]
    with pytest.raises(UserError, match=r"gone\.npz"):
        quantize_run(run)


def test_an_exported_run_can_be_loaded_and_overwritten(run: Path) -> None:
    assert {default_file("", to).name for to in FORMATS} | {default_file("", "onnx", int8=True).name} == set(EXPORTS)
    path = export_run(run, "pt2").path
    assert path.parent == run
    load(run)
    check_free(run, overwrite=True)


def test_the_network_in_8_bits(finished: Path, tmp_path: Path) -> None:
    made = quantize_run(finished, out=tmp_path / "digits.onnx")
    assert list(tmp_path.iterdir()) == [made.path]
    model = onnx.load(made.path)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") > kinds.count("Conv") > 0
    weights = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.raw_data) for tensor in weights) > 0.8 * read_result(finished)["compact"]["params"]
    assert told(made.path)["quantization"] == "int8"
    assert told(made.path)["model"] == "vgg_small"
    plain, eight = made.figures["float32"], made.figures["int8"]
    assert plain["accuracy"] == pytest.approx(read_result(finished)["compact"]["accuracy"], abs=2 / 540)
    assert eight["accuracy"] > plain["accuracy"] - 0.03
    assert 0 < eight["bytes"] < plain["bytes"]
    assert min(plain["latency_ms"], eight["latency_ms"]) > 0


def test_calibration_sees_training_images_as_they_are(finished: Path) -> None:
    digits: Dataset = data_of(read_config(finished), augment=False)
    batches = list(calibration_batches(digits))
    assert sum(map(len, batches)) == min(256, len(digits.train))
    everything = digits.train.batch(torch.arange(len(digits.train)), 1)[0]
    assert all(bool((everything == image).flatten(1).all(1).any()) for image in batches[0])


@pytest.mark.parametrize("name", [RESULT, ARCHITECTURE])
def test_an_unfinished_run_is_refused(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        export_run(run, "pt2")


@pytest.mark.parametrize(
    ("model", "weights", "expected"),
    [
        ("vgg_small", None, {"licence": "Apache-2.0"}),
        ("torchvision/resnet18", None, {"licence": "BSD-3-Clause"}),
        ("timm/resnet18", None, {"licence": "Apache-2.0"}),
        ("mine:net", None, {"licence": "unknown"}),
        ("vgg_small", "trained.safetensors", {"licence": "Apache-2.0", "weights_licence": "unknown"}),
        ("timm/convnextv2_atto", "pretrained", {"licence": "Apache-2.0", "weights_licence": "cc-by-nc-4.0"}),
    ],
)
def test_the_licence_is_that_of_the_source(model: str, weights: str | None, expected: dict[str, str]) -> None:
    assert licences_of(model, weights) == expected


def test_torchvisions_weights_are_not_said_to_have_the_licence_of_its_code() -> None:
    assert "BSD" not in licences_of("torchvision/resnet18", "pretrained")["weights_licence"]
