"""A network as a file: what the file computes elsewhere, what it says, and what is refused."""

from __future__ import annotations

import copy
import json
import logging
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal import models
from dnal.base.errors import UserError
from dnal.export import BATCHES, FORMATS, TOLERANCE, Exported, export, format_of, to_onnx, to_pt2
from dnal.export.writing import difference
from dnal.space.surgery.inputs import Inputs
from independent import coin_flips, randomise, run
from independent import difference as apart

SUFFIX = {"onnx": ".onnx", "pt2": ".pt2"}


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(9))


class Attention(nn.Module):
    """Heads whose number stands in the code, and a sum over a token that stands for all."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.norm(x)[:, 0])


class Heads(nn.Module):
    """Widths of heads reckoned from a stream that stays: the compact network corrects them in its calls, beside sizes
    that are symbols while it is exported."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        n, length, c = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + self.out(y.transpose(1, 2).reshape(n, length, -1))


class Words(nn.Module):
    """Two inputs by name, one of them whole numbers, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(50, 8), nn.Linear(8, 8)

    def forward(self, tokens: Tensor, weights: Tensor) -> dict[str, Tensor]:
        x = self.mix(self.words(tokens)) * weights[..., None]
        return {"each": x, "all": x.sum(1)}


def half(network: nn.Module, images: Tensor) -> nn.Module:
    """The network without half of its channels, by coin flips, so that every width is another one."""
    randomise(network)
    return dnal.compact(network, coin_flips(dnal.Space.of(network, images), 1)).eval()


def compact_resnet() -> tuple[nn.Module, Inputs]:
    images = noise(1, 3, 16, 16)
    return half(models.create("cifar/resnet20", input_shape=(3, 16, 16)).eval(), images), images


def compact_attention() -> tuple[nn.Module, Inputs]:
    images = noise(1, 3, 16, 16)
    return half(Attention().eval(), images), images


def compact_heads() -> tuple[nn.Module, Inputs]:
    tokens = noise(1, 6, 16)
    network = Heads().eval()
    space = dnal.Space.of(randomise(network), tokens)
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5)).eval()
    assert small.qkv.out_features < 48  # type: ignore[operator]
    return small, tokens


def words() -> tuple[nn.Module, Inputs]:
    torch.manual_seed(0)
    return Words().eval(), {"tokens": torch.arange(14).reshape(2, 7) * 3, "weights": torch.rand(2, 7)}


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Inputs]]] = {
    "resnet": compact_resnet,
    "attention": compact_attention,
    "heads": compact_heads,
    "words": words,
}


class Case:
    """A network, example inputs, and the file it was written into, once for all tests of this module."""

    def __init__(self, name: str, to: str, folder: Path) -> None:
        self.network, self.example = NETWORKS[name]()
        self.to = to
        self.exported: Exported = export(
            self.network,
            self.example,
            folder / f"{name}{SUFFIX[to]}",
            to,
            metadata={"model": name, "kept": "a: 1 -> 2"},
        )

    @property
    def path(self) -> Path:
        return self.exported.path

    def inputs(self, batch: int) -> Inputs:
        """Other numbers than those of the export and of its check."""
        if isinstance(self.example, Tensor):
            return noise(batch, *self.example.shape[1:])
        tokens = torch.randint(50, (batch, 7), generator=torch.Generator().manual_seed(3))
        return {"tokens": tokens, "weights": noise(batch, 7)}

    def outputs(self, inputs: Inputs) -> list[Tensor]:
        """Of the file, by its runtime itself."""
        given = {"images": inputs} if isinstance(inputs, Tensor) else dict(inputs)  # type: ignore[arg-type]
        if self.to == "pt2":
            loaded = torch.export.load(self.path).module()
            return run(loaded, inputs)
        session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        names = [place.name for place in session.get_inputs()]
        arrays = [tensor.numpy() for tensor in given.values()]
        return [torch.from_numpy(array) for array in session.run(None, dict(zip(names, arrays, strict=True)))]


@pytest.fixture(scope="module", params=[(name, to) for name in NETWORKS for to in SUFFIX], ids="-".join)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(*request.param, tmp_path_factory.mktemp("exported"))


def test_every_format_is_tested() -> None:
    assert {name: kind.suffix for name, kind in FORMATS.items()} == SUFFIX


@pytest.mark.parametrize("batch", [1, 5, 8])
def test_the_file_computes_what_the_network_computes_at_any_batch(case: Case, batch: int) -> None:
    inputs = case.inputs(batch)
    assert apart(run(case.network, inputs), case.outputs(inputs)) <= 1e-5


def test_what_was_checked_is_told(case: Case) -> None:
    assert tuple(case.exported.differences) == BATCHES
    assert 0 <= case.exported.difference <= TOLERANCE


def test_it_says_what_it_holds(case: Case) -> None:
    if case.to == "onnx":
        model = onnx.load(case.path)
        told = {prop.key: prop.value for prop in model.metadata_props}
        onnx.checker.check_model(model)
        first = [place.type.tensor_type.shape.dim[0].dim_param for place in [*model.graph.input, *model.graph.output]]
        assert set(first) == {"batch"}
    else:
        extra = {"metadata.json": ""}
        torch.export.load(case.path, extra_files=extra)
        told = json.loads(extra["metadata.json"])
    name = case.path.stem
    assert told.pop("free_sizes").split(", ") == ["batch", *case.exported.sizes]
    assert told == {"dnal": dnal.__version__, "model": name, "kept": "a: 1 -> 2"}


def members(path: Path) -> dict[str, bytes]:
    """The parts of a file that is an archive, or the file."""
    if not zipfile.is_zipfile(path):
        return {path.name: path.read_bytes()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_no_place_on_this_machine_is_in_it(case: Case) -> None:
    for name, content in members(case.path).items():
        for place in (Path(dnal.__file__).parent, Path(torch.__file__).parent, Path(__file__).parent, Path.cwd()):
            assert str(place).encode() not in content, name
    assert list(case.path.parent.iterdir()) == [case.path]  # one file, and nothing temporary


def test_a_pt2_of_todays_pytorch_holds_no_pickle(case: Case) -> None:
    found = members(case.path)
    if not any(name.endswith("archive_format") for name in found):
        pytest.skip("no archive of raw tensors: ONNX, or a PyTorch whose archives hold pickles")
    sizes = sorted(len(content) for name, content in found.items() if "/weight_" in name)
    tensors = torch.export.load(case.path).state_dict.values()
    assert sizes == sorted(t.numel() * t.element_size() for t in tensors)  # raw numbers, nothing around them
    assert not any(content for name, content in found.items() if "sample_inputs" in name)
    assert not [
        name for name, content in found.items() if name.endswith(".pkl") or zipfile.is_zipfile(BytesIO(content))
    ]


LOAD = {
    "onnx": "import onnxruntime as r\n"
    "s = r.InferenceSession(path, providers=['CPUExecutionProvider'])\n"
    "got = s.run(None, {s.get_inputs()[0].name: x.numpy()})[0]",
    "pt2": "got = torch.export.load(path).module()(x).detach().numpy()",
}


@pytest.mark.parametrize("to", [pytest.param(to, marks=[pytest.mark.slow] * (to == "pt2")) for to in SUFFIX])
def test_it_runs_where_there_is_no_dnal(to: str, tmp_path: Path) -> None:
    network, _ = compact_resnet()
    images = torch.linspace(-1, 1, 4 * 3 * 16 * 16).reshape(4, 3, 16, 16)
    path = export(network, images, tmp_path / f"network{SUFFIX[to]}", to).path
    code = (
        "import sys, json, torch\nsys.modules['dnal'] = None\npath = sys.argv[1]\n"
        f"x = torch.linspace(-1, 1, 4 * 3 * 16 * 16).reshape(4, 3, 16, 16)\n{LOAD[to]}\nprint(json.dumps(got.tolist()))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=tmp_path)
    got = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    assert apart(run(network, images), [got]) <= 1e-5


@pytest.mark.parametrize("to", SUFFIX)
def test_network_and_surroundings_stay_as_they_were(to: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)).train()
    network[3].weight.requires_grad_(False)
    before, random = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    handlers, disabled = list(logging.root.handlers), logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(network, noise(1, 3, 8, 8), tmp_path / f"network{SUFFIX[to]}", to)
    assert capfd.readouterr() == ("", "")
    assert all(module.training for module in network.modules())
    assert [p.requires_grad for p in network.parameters()] == [True, True, True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    assert (handlers, disabled) == (logging.root.handlers, logging.root.manager.disable)


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Looking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp() if bool(x.sum() > 0) else x


class OfTwo(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


REFUSED = {"something else": Noisy, "batch of any size (": Looking, "with a batch of any size": OfTwo}


@pytest.mark.parametrize("to", SUFFIX)
@pytest.mark.parametrize(("expected", "network"), REFUSED.items(), ids=[n.__name__ for n in REFUSED.values()])
def test_what_cannot_be_right_leaves_the_file_that_was_there(
    to: str, expected: str, network: type[nn.Module], tmp_path: Path
) -> None:
    path = tmp_path / f"network{SUFFIX[to]}"
    path.write_text("an older file")
    with pytest.raises(UserError) as caught:
        export(network(), noise(2, 8), path, to)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["an older file"]


@pytest.mark.parametrize(("function", "to"), [(to_onnx, "onnx"), (to_pt2, "pt2")])
def test_a_file_that_was_there_is_replaced(function: Callable[..., Exported], to: str, tmp_path: Path) -> None:
    path = tmp_path / f"network{SUFFIX[to]}"
    path.write_text("an older file")
    images = noise(2, 8)
    function(nn.Linear(8, 3), images, path)
    format_of(to).runner(path.read_bytes())(images)


def test_places_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(path: Path, to: str = "onnx") -> str:
        with pytest.raises(UserError) as caught:
            export(nn.Linear(8, 3), noise(2, 8), path, to)
        return str(caught.value)

    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "model.safetensors").write_text("weights")
    assert "ends in .onnx" in said(tmp_path / "model.safetensors")
    assert "ends in .pt2" in said(tmp_path / "model.onnx", "pt2")
    assert "is a folder" in said(tmp_path / "folder.onnx")
    assert "no folder" in said(tmp_path / "nowhere" / "model.onnx")
    assert "did you mean 'onnx'" in said(tmp_path / "model.onnx", "onx")
    # Refused by the system as for an ordinary user; tests may run as one who may write anywhere.
    monkeypatch.setattr("dnal.export.writing.os.access", lambda path, mode: False)
    assert "nothing may be written" in said(tmp_path / "model.onnx")
    assert (tmp_path / "model.safetensors").read_text() == "weights"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dnal.base.atomic.os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        export(nn.Linear(8, 3), noise(2, 8), tmp_path / "model.pt2", "pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_its_remedy(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package}; run: pip install 'dnal\[onnx\]'"):
        format_of("onnx")


def test_the_difference_is_relative_and_never_overlooks() -> None:
    a, b = torch.tensor([1.0, -4.0]), torch.tensor([1.0, -3.0])
    assert difference([a], [b]) == 0.25
    assert difference([a, b], [a, b]) == 0
    assert difference([a, a], [a]) == float("inf")
    assert difference([a], [a[None]]) == float("inf")
    assert difference([a], [torch.tensor([1.0, float("nan")])]) == float("inf")
    assert difference([torch.tensor([1.0, float("nan")])], [a]) == float("inf")
    assert difference([], []) == float("inf")


SLOW = {  # name: input pixels; one per way in which exporters differ
    "torchvision/mobilenet_v3_small": 64,
    "torchvision/shufflenet_v2_x0_5": 64,
    "torchvision/swin_t": 64,
    "torchvision/vit_b_32": 64,
    "timm/skresnet18": 64,
}


@pytest.mark.slow
@pytest.mark.parametrize("to", SUFFIX)
@pytest.mark.parametrize("name", SLOW)
def test_larger_networks(name: str, to: str, tmp_path: Path) -> None:
    images = noise(1, 3, SLOW[name], SLOW[name])
    torch.manual_seed(0)
    network = half(models.create(name, input_shape=(3, SLOW[name], SLOW[name])).eval(), images)
    assert export(network, images, tmp_path / f"network{SUFFIX[to]}", to).difference <= TOLERANCE
