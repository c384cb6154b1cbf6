"""The same jobs on an NVIDIA GPU. What holds on any device is tested elsewhere, on whatever device is there."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import dnal
from dnal.gates.gated import Gated
from dnal.latency import LatencyModel, measured_ms, profile
from dnal.latency.sample import open_at, random_shares
from dnal.train.losses import Losses
from dnal.train.resume.checkpoint import Checkpoints
from killer import Killed, Killer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
SHAPE = (1, 8, 8)


def job(**options: Any) -> dnal.Learned:
    loaders = dnal.data.loaders(dnal.data.load("digits", limit_train=400), 64)
    torch.manual_seed(0)
    network = dnal.models.create("vgg_small", classes=10, input_shape=SHAPE)
    settings: dict[str, Any] = {"budget": "macs<=30%", "epochs": (4, 5, 4), **options}
    return dnal.learn(network, loaders.train, loaders.val, loaders.test, **settings)


def test_learn() -> None:
    learned = job()
    assert learned.settings["device"] == "cuda"
    assert learned.settings["precision"] == "bf16-mixed"
    assert learned.figures.compact.macs <= 0.3 * learned.figures.base.macs
    assert learned.figures.compact.metric > 0.5


def test_a_loss_is_on_its_way_while_the_device_computes() -> None:
    losses, loss = Losses(), torch.tensor(0.5, device="cuda")
    losses.put(0, loss, None)  # takes the pinned memory
    list(losses.read(wait=True))
    torch.cuda._sleep(2_000_000_000)  # cycles: about a second
    losses.put(1, loss, None)
    assert list(losses.read()) == []
    assert [read.loss for read in losses.read(wait=True)] == [0.5]


class Pair(nn.Module):
    """Words and an image, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.image, self.head = nn.Embedding(20, 16), nn.Linear(64, 16), nn.Linear(32, 10)

    def forward(self, words: Tensor, image: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        both = torch.cat([self.words(words).mean(1), self.image(image.flatten(1))], 1)
        logits = self.head(both.relu())
        return {"logits": logits, "loss": None if labels is None else F.cross_entropy(logits, labels)}


@pytest.mark.parametrize(
    "method", ["dnal", "dnal:curves_to=none", "obs", "tas", "taylor", "random-search:candidates=3"]
)
def test_batches_of_several_inputs(method: str) -> None:
    labels = torch.arange(64) % 10
    image, words = torch.randn(64, 1, 8, 8), labels[:, None] + torch.randint(10, (64, 5))
    data = [{"image": image[i : i + 16], "words": words[i : i + 16], "labels": labels[i : i + 16]} for i in (0, 16, 32)]
    learned = dnal.learn(Pair(), data, data, budget="macs<=60%", method=method, epochs=(2, 2, 2), lr=0.05)
    assert learned.settings["device"] == "cuda"
    assert learned.figures.compact.macs <= 0.6 * learned.figures.base.macs


def test_the_network_comes_back_to_its_own_device() -> None:
    loaders = dnal.data.loaders(dnal.data.load("digits", limit_train=100), 64)
    for device in ("cpu", "cuda"):
        network = dnal.models.create("vgg_small", classes=10, input_shape=SHAPE).to(device)
        learned = dnal.learn(network, *loaders, budget="macs<=30%", epochs=(1, 1, 1))
        assert {p.device.type for p in [*network.parameters(), *learned.network.parameters()]} == {device}


def test_a_space_has_as_many_variables_as_on_the_cpu() -> None:
    """TF32 would pass for a removal that is not exact."""
    for name, variables in (("resnet18", 2_880), ("vgg16_bn", 12_416), ("mobilenet_v2", 9_128)):
        network = torchvision.models.get_model(name).cuda().eval()
        assert dnal.Space.of(network, torch.randn(2, 3, 96, 96, device="cuda")).num_variables == variables


@pytest.mark.usefixtures("own_cache")
def test_a_bound_on_the_latency_of_the_gpu() -> None:
    loaders = dnal.data.loaders(dnal.data.load("digits", limit_train=100), 64)
    network = nn.Sequential(
        nn.Conv2d(1, 256, 3, padding=1), nn.BatchNorm2d(256), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1),
        nn.BatchNorm2d(256), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    learned = dnal.learn(
        network, *loaders, budget="latency<=60%", deployment="deploy_batch_size=8192", epochs=(1, 1, 1)
    )
    (row,) = learned.constraints
    assert learned.settings["backend"] == "torch-cuda"
    assert row["got"] < 0.8 * learned.figures.base.latency_ms


@pytest.mark.parametrize("at", [3, 12, 20])
def test_killed_and_resumed(at: int, tmp_path: Path) -> None:
    whole = job(epochs=(1, 2, 1), numerics="precision=32-true")
    with pytest.raises(Killed):
        job(epochs=(1, 2, 1), numerics="precision=32-true", checkpoints=Checkpoints(tmp_path, 2), listener=Killer(at))
    again = job(epochs=(1, 2, 1), numerics="precision=32-true", checkpoints=tmp_path)
    assert again.architecture == whole.architecture
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(tensor, whole.network.state_dict()[name]), name


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_every_precision(precision: str) -> None:
    assert job(numerics={"precision": precision}, epochs=(3, 3, 3)).figures.compact.metric > 0.4


def test_compact_is_the_gated_network_also_compiled() -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=10).cuda().eval()
    images = torch.randn(8, 3, 64, 64, device="cuda")
    space = dnal.Space.of(network, images, depth=True)
    architecture = dnal.Architecture.random(space, keep=0.5, branches=0.7)
    with torch.no_grad():
        expected = dnal.gated(network, architecture)(images)
        small = dnal.compact(network, architecture)
        assert next(small.parameters()).is_cuda
        for form in (small, torch.compile(small)):
            got = form(images)
            assert (got - expected).abs().max() <= 1e-3 * expected.abs().max()
    cost = space.cost_of(architecture.open)["macs"]
    assert dnal.macs(small, images[:1]) == cost


def test_the_gates_of_a_supernet() -> None:
    torch.manual_seed(0)
    supernet = dnal.models.create("supernet/tiny", classes=10, input_shape=SHAPE).cuda()
    images = torch.randn(16, *SHAPE, device="cuda")
    space = dnal.Space.of(supernet, images)
    gated = Gated(supernet, space, start=1.0).cuda()
    limits = {"macs": 0.3 * space.full_cost["macs"]}
    search = dnal.BudgetSearch(gated, space, limits, 10)
    for _ in range(10):
        F.cross_entropy(gated(images), torch.arange(16, device="cuda") % 10).backward()
        search.step()
        gated.zero_grad()
    open_ = dnal.select(space, gated.s, limits)
    small = dnal.compact(supernet, dnal.Architecture.of(space, open_))
    assert dnal.macs(small, images[:1]) <= limits["macs"]


def test_the_latency_of_networks_it_has_not_seen() -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18().cuda().eval()
    images = torch.randn(1, 3, 224, 224, device="cuda")
    space = dnal.Space.of(network, images)
    model = profile(network, space, images, backend="torch-cuda", batch=32, cache=False)
    assert LatencyModel.of(model.document()).base_ms == model.base_ms
    opened = [open_at(space, random_shares(space, seed)) for seed in range(4)]
    smaller = [dnal.compact(network, dnal.Architecture.of(space, o), check=False) for o in opened]
    measured = measured_ms(smaller, torch.randn(32, 3, 224, 224, device="cuda"), "torch-cuda")
    for open_, ms in zip(opened, measured, strict=True):
        assert model.predicted_ms(space, open_) == pytest.approx(ms, rel=0.3)


def test_a_network_of_the_gpu_leaves_as_a_file(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = network.cuda().eval()
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(2, 3, 16, 16, device="cuda")
    dnal.export.to_onnx(network, images, tmp_path / "small.onnx")
    dnal.export.to_pt2(network, images, tmp_path / "small.pt2")
    assert all(tensor.is_cuda for tensor in network.state_dict().values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
