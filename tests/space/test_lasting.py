"""Activation checkpointing under gates: what is computed again for the backward pass has the same gates."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from timm import create_model
from timm.layers import StdConv2dSame
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils import checkpoint as checkpointing
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import MobileNetV2

import dnal
from dnal.methods.tas.tas import WidthSupernet
from dnal.selection.widths import WidthRule
from dnal.space.surgery.edge import MixedEdge


def images(size: int = 32) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(2))


def timm_vit(on: bool) -> nn.Module:
    network = create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=4
    )
    network.set_grad_checkpointing(on)
    return network


class InUserCode(nn.Module):
    """A CNN of torchvision whose blocks the user's own forward pass checkpoints, one within another."""

    def __init__(self, on: bool, **options: Any) -> None:
        super().__init__()
        settings = [[1, 8, 1, 1], [4, 12, 2, 2], [4, 16, 2, 2]]
        self.body = MobileNetV2(num_classes=4, width_mult=0.5, inverted_residual_setting=settings, dropout=0.0)
        self.on, self.options = on, options

    def blocks(self, x: Tensor) -> Tensor:
        x = self.again(self.body.features[1:3], x)
        return self.body.features[3](x)

    def again(self, function: Callable[..., Tensor], x: Tensor) -> Tensor:
        return checkpoint(function, x, **self.options) if self.on else function(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.blocks, self.body.features[0](x))
        x = self.body.features[4](x)
        x = self.again(self.body.features[5:], x)
        return self.body.classifier(x.mean((2, 3)))


def standardised(on: bool) -> nn.Module:
    """Layers that compute their weight, gated at their inputs by hooks."""

    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = StdConv2dSame(3, 8, 3), StdConv2dSame(8, 6, 3), nn.Linear(6, 4)

        def body(self, x: Tensor) -> Tensor:
            return self.two(self.one(x).relu()).relu()

        def forward(self, x: Tensor) -> Tensor:
            x = checkpoint(self.body, x, use_reentrant=False) if on else self.body(x)
            return self.head(x.mean((2, 3)))

    return Standardised()


def hugging_face(on: bool, **options: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        num_labels=4, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    network = transformers.ViTForImageClassification(config)
    if on:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    return network


def mixed(on: bool) -> nn.Module:
    def candidate() -> nn.Module:
        return nn.Sequential(nn.Conv2d(8, 12, 1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3, padding=1))

    edge = MixedEdge([candidate(), candidate()], shortcut=True, recompute=on)
    return nn.Sequential(nn.Conv2d(3, 8, 3), edge, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


FAMILIES: dict[str, Callable[[bool], nn.Module]] = {
    "timm's ViT": timm_vit,
    "torchvision's MobileNet": lambda on: InUserCode(on, use_reentrant=False),
    "torchvision's MobileNet, reentrant": lambda on: InUserCode(on, use_reentrant=True),
    "Hugging Face's ViT": lambda on: hugging_face(on, use_reentrant=False),
    "Hugging Face's ViT, reentrant": lambda on: hugging_face(on, use_reentrant=True),
    "weight standardisation": standardised,
    "a mixed edge": mixed,
}


def gated(build: Callable[[bool], nn.Module], on: bool, *, hard: bool) -> dnal.Gated:
    torch.manual_seed(0)
    network = build(on)
    space = dnal.Space.of(network, images()[:2], probe=False)
    module = dnal.Gated(network, space)
    module.hard, module.delta = hard, 0.7
    with torch.no_grad():
        module.s.copy_(torch.randn(space.num_gates, generator=torch.Generator().manual_seed(1)))
    return module


def gradients(module: nn.Module, autocast: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = module(images())
    out = out if isinstance(out, Tensor) else out.logits
    F.cross_entropy(out.float(), torch.arange(4)).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def equal(expected: dict[str, Tensor], found: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    assert expected.keys() == found.keys()
    whole = torch.stack([g.norm() for g in expected.values()]).norm()
    for name, gradient in expected.items():
        assert float((gradient - found[name]).norm()) <= tolerance * float(whole), name
        assert float((gradient - found[name]).norm()) <= 100 * tolerance * float(gradient.norm()) + 1e-9, name
    assert expected["s"].any()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_without_checkpointing(family: str, training: bool) -> None:
    plain, again = (gated(FAMILIES[family], on, hard=training) for on in (False, True))
    own = dict(again.network.named_parameters())
    equal(gradients(plain.train(training)), gradients(again.train(training)))
    assert all(own[name] is p for name, p in again.network.named_parameters())  # nothing stays in their place


@pytest.mark.parametrize("family", ["timm's ViT", "torchvision's MobileNet, reentrant"])
def test_under_autocast_too(family: str) -> None:
    plain, again = (gated(FAMILIES[family], on, hard=True).train() for on in (False, True))
    equal(gradients(plain, autocast=True), gradients(again, autocast=True))


def test_they_would_differ_if_the_second_run_had_no_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above do see another second run."""
    plain, again = (gated(timm_vit, on, hard=True).train() for on in (False, True))
    expected = gradients(plain)
    monkeypatch.setattr("dnal.space.surgery.substitute.lasting", lambda enter: enter())
    with pytest.raises(AssertionError):
        equal(expected, gradients(again))


def test_every_pass_has_its_own_gates_again() -> None:
    plain, again = (gated(timm_vit, on, hard=True).train() for on in (False, True))
    expected = gradients(plain)
    first = again(images())
    with torch.no_grad():
        again.s.neg_()
    F.cross_entropy(again(images()), torch.arange(4)).backward()
    again.zero_grad()
    F.cross_entropy(first, torch.arange(4)).backward()
    equal(expected, {name: p.grad for name, p in again.named_parameters() if p.grad is not None})


def test_a_backward_pass_in_another_thread_has_them_too() -> None:
    """As on a GPU, whose backward passes run in threads of torch's own."""
    plain, again = (gated(timm_vit, on, hard=True).train() for on in (False, True))
    expected = gradients(plain)
    loss = F.cross_entropy(again(images()), torch.arange(4))
    other = threading.Thread(target=loss.backward)
    other.start()
    other.join()
    equal(expected, {name: p.grad for name, p in again.named_parameters() if p.grad is not None})


def test_norms_by_width_of_tas_run_again() -> None:
    def once(on: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        network = InUserCode(on, use_reentrant=False)
        space = dnal.Space.of(network, images()[:2], probe=False)
        supernet = WidthSupernet(network, space, WidthRule())
        torch.manual_seed(4)
        F.cross_entropy(supernet.train()(images()), torch.arange(4)).backward()
        return {name: p.grad for name, p in supernet.named_parameters() if p.grad is not None}

    expected, found = once(False), once(True)
    assert expected.keys() == found.keys()
    whole = torch.stack([g.norm() for g in expected.values()]).norm()
    for name, gradient in expected.items():
        assert float((gradient - found[name]).norm()) <= 1e-5 * float(whole), name
    assert any(name.startswith("norms.") for name in expected)


def test_torch_is_as_it_was_afterwards_also_after_an_error() -> None:
    before = checkpointing._CheckpointFrame.__init__, vars(Function)["apply"]
    network = gated(timm_vit, True, hard=True).train()
    with pytest.raises(AssertionError, match="height"):
        network(images(40))
    gradients(network)
    assert before == (checkpointing._CheckpointFrame.__init__, vars(Function)["apply"])


class Homemade(Function):
    """Checkpointing as some repositories have written it themselves."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], x: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(x)
        with torch.no_grad():
            return function(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            ctx.function(x).backward(gradient)
        return None, x.grad


class Scaled(Function):
    """A function of a function, without anything of the network."""

    @staticmethod
    def forward(ctx: Any, function: Callable[[float], float], x: Tensor) -> Tensor:
        return x * function(2.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient * 2.0


class WithFunction(nn.Module):
    def __init__(self, kind: type[Function], way: str) -> None:
        super().__init__()
        self.kind, self.way = kind, way
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        body = self.body
        given = {"module": body, "method": body.forward, "closure": lambda x: body(x), "plain": lambda x: x}[self.way]
        x = self.stem(x)
        return self.head(self.kind.apply(given, self.body(x) if self.way == "plain" else x).mean((2, 3)))


@pytest.mark.parametrize("way", ["module", "method", "closure"])
def test_checkpointing_that_is_not_torchs_is_refused_before_training(way: str) -> None:
    network = WithFunction(Homemade, way)
    learnt = gated(lambda _: network, True, hard=True)
    with pytest.raises(dnal.UserError, match="Homemade runs a part of the network again"):
        learnt(images())
    before = {name: p.clone() for name, p in network.named_parameters()}
    loader = DataLoader(TensorDataset(images(), torch.arange(4)), 2)
    with pytest.raises(dnal.UserError, match=r"Homemade .*use torch\.utils\.checkpoint"):
        dnal.learn(network, loader, loader, epochs=(1, 1, 1), fabric=Fabric(accelerator="cpu", devices=1))
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_a_function_that_runs_no_module_is_not() -> None:
    plain = gated(lambda _: WithFunction(Scaled, "plain"), True, hard=True)
    assert gradients(plain)["s"].any()


def test_a_whole_learn_of_a_checkpointed_network() -> None:
    loader = DataLoader(TensorDataset(images(), torch.arange(4)), 2)
    torch.manual_seed(0)
    learned = dnal.learn(timm_vit(True), loader, loader, budget="macs<=80%", epochs=(1, 1, 1))
    assert learned.constraints[0]["holds"]
