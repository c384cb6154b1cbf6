"""dnal.load: rebuilds the network from four files, and runs nobody's code unasked."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

import dnal
from dnal import models
from dnal.architecture.architecture import Architecture
from dnal.base.errors import UserError
from dnal.changes.removal import Removal
from dnal.pipeline.result import BaseAndCompact, Figures, Learned
from dnal.run import RunWriter, evaluate, load
from dnal.run.files import ARCHITECTURE, CONFIG, MANIFEST, MODEL, write_tensors
from dnal.run.loading import check_trust
from dnal.run.manifest import manifest_of
from dnal.space.space import Space
from dnal.space.surgery.tensors import named_tensors

JOB: dict[str, Any] = {
    "weights": None, "data": "digits", "root": None, "limit_train": None, "batch_size": 8, "workers": 0, "seed": 3,
}  # fmt: skip

NETWORK = """
from pathlib import Path
from torch import nn

Path("executed").touch()

def net(classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))
"""


def written(path: Path, model: str, network: nn.Module, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A finished run with a random half of a network's channels; the compact network."""
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-1, 1)
    space = Space.of(network, torch.rand(2, *shape))
    architecture = Architecture.random(space, 0.5, seed=1)
    with torch.no_grad():
        compact = dnal.compact(network, architecture).eval()
    each = Figures({"macs": 1, "params": 1, "latency_ms": 1.0}, 0.5)
    figures = BaseAndCompact(each, each)
    settings = {"budget": "macs<=50%"}
    writer = RunWriter(path, {**JOB, "model": model, "input": list(shape), "classes": classes})
    writer.start({"budget": "macs<=50%", "method": {"name": "dnal"}, "epochs": [1, 1, 1]})
    writer.finish(Learned(compact, Removal(architecture), space, [], figures, [], settings, {"base": 1.0}))
    return compact


def changed(run: Path, **values: object) -> None:
    """Another config.yaml, and a manifest that fits it."""
    document = yaml.safe_load((run / CONFIG).read_text())
    (run / CONFIG).write_text(yaml.safe_dump({**document, **values}))
    (run / MANIFEST).write_text(manifest_of(run))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def users(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of the user's own function, which was not imported in this process."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    sys.modules.pop("own_network", None)
    (here / "own_network.py").write_text(NETWORK)
    written(
        here / "run",
        "own_network:net",
        models.create("own_network:net", classes=4, input_shape=(3, 16, 16)),
        (3, 16, 16),
        4,
    )
    del sys.modules["own_network"]
    (here / "executed").unlink()
    return here / "run"


def test_four_files_are_enough(finished: Path, tmp_path: Path) -> None:
    for name in (CONFIG, ARCHITECTURE, MODEL, MANIFEST):
        shutil.copy(finished / name, tmp_path / name)
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(load(tmp_path)(x), load(finished)(x))


# Plain; other channels; buffers that no file holds; weight standardisation; attention; numbers reckoned with.
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("cifar/mobilenet_v2", (3, 32, 32)),
        ("torchvision/shufflenet_v2_x0_5", (1, 64, 64)),
        pytest.param("timm/swin_tiny_patch4_window7_224", (3, 64, 64), marks=pytest.mark.slow),
        ("timm/nf_regnet_b0", (3, 64, 64)),
        pytest.param("torchvision/regnet_y_400mf", (3, 64, 64), marks=pytest.mark.slow),
        pytest.param("timm/levit_128s", (3, 224, 224), marks=pytest.mark.slow),
        pytest.param("timm/mobilevit_xxs", (3, 64, 64), marks=pytest.mark.slow),
    ],
)
def test_the_network_is_the_saved_one_to_the_bit(tmp_path: Path, model: str, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = models.create(model, classes=5, input_shape=shape)
    compact = written(tmp_path / "run", model, network, shape, 5)
    loaded = load(tmp_path / "run")
    assert not any(tensor.is_meta for _, tensor in named_tensors(loaded))
    assert [name for name, _ in named_tensors(loaded)] == [name for name, _ in named_tensors(compact)]
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in compact.parameters()]
    x = torch.rand(2, *shape)
    with torch.no_grad():
        assert torch.equal(loaded(x), compact(x))


def test_a_loaded_network_can_be_trained_and_loaded_twice(finished: Path) -> None:
    one, other = load(finished), load(finished)
    one.train()(torch.rand(4, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in one.parameters())
    assert all(p.grad is None for p in other.parameters())


def test_the_users_random_state_stays_and_no_hook_is_left(finished: Path) -> None:
    before = torch.random.get_rng_state()
    load(finished)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not nn.Linear(2, 2).weight.is_meta


def test_a_users_function_is_not_run_unasked(users: Path, here: Path) -> None:
    with pytest.raises(
        UserError, match=r"own_network:net.*trust=\('own_network',\).*--trust own_network.*network="
    ) as error:
        load(users)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="own_network:net"):
        load(users, trust=("own", "own_net", "own_network.sub", "", "torch"))
    with pytest.raises(UserError, match="trust is a tuple"):
        load(users, trust="own_network")
    with pytest.raises(UserError, match="own_network:net"):
        evaluate(users)
    assert "own_network" not in sys.modules
    assert not (here / "executed").exists()


def test_a_users_function_is_run_where_it_is_trusted(users: Path) -> None:
    x = torch.rand(2, 3, 16, 16)
    network = load(users, trust=("own_network",))
    base = models.create("own_network:net", classes=4, input_shape=(3, 16, 16))
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    given = load(users, network=base)
    assert torch.equal(network(x), given(x))
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert [tuple(t.shape) for t in base.state_dict().values()] == [tuple(t.shape) for t in before.values()]


def test_a_network_that_is_given_needs_no_name_that_exists(run: Path) -> None:
    x = torch.rand(2, 1, 8, 8)
    expected = load(run)(x)
    base = models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    changed(run, model="nothing/like_this")
    assert torch.equal(load(run, network=base)(x), expected)
    with pytest.raises(UserError, match="belongs to another network"):
        load(run, network=models.create("vgg_small", classes=9, input_shape=(1, 8, 8)))


@pytest.mark.parametrize(
    ("model", "trust", "allowed"),
    [
        ("vgg_small", (), True),
        ("timm/resnet18", (), True),
        ("a.b.c:net", ("a",), True),
        ("a.b.c:net", ("a.b.c",), True),
        ("a.b.c:net", ("b", "a.b.c.d", "a.b.cc", "net"), False),
        ("os:system", (), False),
        ("timm/hf-hub:somebody/network", ("timm", "timm/hf-hub"), False),
        ("hf-hub:somebody/network", ("hf-hub",), False),
        (":net", ("",), False),
        ("..a:net", ("", "..a"), False),
    ],
)
def test_trust_is_by_package(model: str, trust: tuple[str, ...], allowed: bool) -> None:
    if allowed:
        check_trust(model, trust)
    else:
        with pytest.raises(UserError, match="network="):
            check_trust(model, trust)


@pytest.mark.parametrize("function", ["os.getcwd", "Path.__call__", "__loader__.create_module", "nn.Identity"])
def test_trust_ends_at_the_modules_own_functions(users: Path, function: str) -> None:
    changed(users, model=f"own_network:{function}")
    with pytest.raises(UserError, match=r"package\.module:function"):
        load(users, trust=("own_network",))


def test_nothing_is_made_of_shapes_that_the_file_has_not(run: Path) -> None:
    for values, expected in (
        ({"classes": 10**7}, "classes: input should be less than or equal to 65536"),
        ({"classes": 60_000}, "60000 classes"),
        ({"input": [60_000, 8, 8]}, "60000 channels"),
        ({"input": [1, 10**6, 10**6]}, "images of"),
        ({"model": "torchvision/vgg19", "input": [1, 224, 224]}, "another network"),
        ({"model": "timm/swin_base_patch4_window7_224", "input": [1, 2048, 2048]}, "network="),
    ):
        document = yaml.safe_load((run / CONFIG).read_text())
        changed(run, **values)
        with pytest.raises(UserError, match=expected):
            load(run)
        (run / CONFIG).write_text(yaml.safe_dump(document))


def test_a_file_of_one_run_beside_the_manifest_of_another(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    written(run, "vgg_small", models.create("vgg_small", classes=10, input_shape=(1, 8, 8)), (1, 8, 8), 10)
    shutil.copy(finished / MODEL, run / MODEL)
    with pytest.raises(UserError, match=r"model\.safetensors' is not as the run wrote it: tensor"):
        load(run)


def test_tensors_that_do_not_fit_are_named_though_the_manifest_does(run: Path) -> None:
    tensors = load_file(run / MODEL)
    name = sorted(tensors)[2]
    save_file({**tensors, name: torch.zeros(3, 3)}, run / MODEL)
    (run / MANIFEST).write_text(manifest_of(run))
    with pytest.raises(UserError, match=f"tensor '{name}'"):
        load(run)


def test_sentences_quote_hostile_names_on_one_line(run: Path) -> None:
    document = json.loads((run / ARCHITECTURE).read_text())
    name = "a\n\x1b[31mb" + "c" * 10**4
    document["tensors"][name] = {"shape": "none"}
    (run / ARCHITECTURE).write_text(json.dumps(document))
    (run / MANIFEST).write_text(manifest_of(run))
    with pytest.raises(UserError) as error:
        load(run)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 700


def test_shared_parameters_stay_shared(here: Path) -> None:
    (here / "tied_network.py").write_text(
        "from torch import nn\n"
        "class Tied(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)\n"
        "        self.b.weight = self.a.weight\n"
        "        self.head = nn.Linear(8, 4)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.b(self.a(x.flatten(1)[:, :8]).relu()).relu())\n"
        "def net():\n    return Tied()\n"
    )
    network = models.create("tied_network:net")
    written(here / "run", "tied_network:net", network, (3, 16, 16), 4)
    loaded = load(here / "run", trust=("tied_network",))
    assert loaded.a.weight is loaded.b.weight


def test_a_skeleton_has_no_memory_and_the_same_names() -> None:
    for name, shape in (("cifar/resnet20", (3, 32, 32)), ("timm/swin_tiny_patch4_window7_224", (3, 64, 64))):
        skeleton = models.skeleton(name, classes=7, input_shape=shape, largest=2**26)
        real = models.create(name, classes=7, input_shape=shape)
        assert sum(p.nbytes for p in skeleton.parameters() if not p.is_meta) < 0.02 * sum(
            p.nbytes for p in real.parameters()
        )
        assert {n: (t.shape, t.dtype) for n, t in named_tensors(skeleton)} == {
            n: (t.shape, t.dtype) for n, t in named_tensors(real)
        }
        for (n, ours), (_, theirs) in zip(skeleton.named_buffers(), real.named_buffers(), strict=True):
            assert ours.is_meta or torch.equal(ours, theirs), n


def test_write_tensors_is_what_load_reads(run: Path) -> None:
    network = load(run)
    write_tensors(run / MODEL, network.state_dict())
    assert manifest_of(run) == (run / MANIFEST).read_text()
