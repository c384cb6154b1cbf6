"""A compact network is copied, saved, exported, compiled and trained like any other: one network per family."""

import contextlib
import copy
import io
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import dnal
from independent import difference, randomise, run
from test_invariants import BATCH, create, first

NETWORKS = {  # name: input pixels
    "torchvision/resnet18": 64,
    "torchvision/mobilenet_v2": 64,
    "torchvision/densenet121": 64,
    "torchvision/squeezenet1_0": 64,
    "torchvision/resnext50_32x4d": 64,
    "torchvision/shufflenet_v2_x1_0": 64,
    "torchvision/convnext_tiny": 64,
    "timm/vit_tiny_patch16_224": 224,
    "torchvision/swin_t": 64,
    "timm/mixer_s32_224": 224,
    "timm/skresnet18": 64,
    "timm/nfnet_l0": 64,
}
pytestmark = pytest.mark.slow


class Case(NamedTuple):
    network: nn.Module
    small: nn.Module
    images: Tensor


@pytest.fixture(scope="module", params=list(NETWORKS))
def case(request: pytest.FixtureRequest) -> Case:
    network = randomise(create(request.param)).eval()
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0  # a dropped row has no gradient, in either network
    images = torch.randn(BATCH, 3, NETWORKS[request.param], NETWORKS[request.param])
    space = dnal.Space.of(network, images)
    with pytest.warns(UserWarning, match="plain") if space.baked else contextlib.nullcontext():
        small = dnal.compact(network, dnal.Architecture.random(space, 0.5, seed=1))
    return Case(network, small.eval(), images)


def test_it_is_copied_and_loaded(case: Case) -> None:
    expected = run(case.small, case.images)
    twin = copy.deepcopy(case.small)
    assert difference(expected, run(twin, case.images)) == 0
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    buffer = io.BytesIO()
    torch.save(case.small.state_dict(), buffer)
    buffer.seek(0)
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    assert difference(expected, run(twin, case.images)) == 0


def test_it_is_exported(case: Case) -> None:
    exported = torch.export.export(case.small, (case.images,)).module()
    assert difference(run(case.small, case.images), run(exported, case.images)) <= 1e-6


def test_it_is_compiled(case: Case) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(case.small), backend="eager", fullgraph=False)
    assert difference(run(case.small, case.images), run(compiled, case.images)) <= 1e-6


def test_a_trained_copy_has_every_gradient_and_leaves_the_original(case: Case) -> None:
    before = {name: value.clone() for name, value in case.small.state_dict().items()}
    twin = copy.deepcopy(case.small).train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-4)
    for _ in range(10):
        optimizer.zero_grad()
        first(twin(case.images)).square().mean().backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in twin.parameters() if p.requires_grad)
        optimizer.step()
    moved = [name for name, value in twin.state_dict().items() if not torch.equal(value, before[name])]
    assert len(moved) > len(before) / 2  # the gradients of some biases vanish
    assert all(p.grad is None for p in case.small.parameters())
    assert all(torch.equal(value, before[name]) for name, value in case.small.state_dict().items())
    assert all(p.grad is None for p in case.network.parameters())
