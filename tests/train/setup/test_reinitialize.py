import pytest
import torch
from torch import nn

import dnal
from dnal.models import own_names
from dnal.train.setup.reinitialize import check_resettable, reset


def test_all_weights_are_drawn_anew_and_equally_for_a_seed() -> None:
    network = dnal.models.create("cifar/resnet20")
    network.bn1.running_mean.fill_(3)
    before, state = {n: p.clone() for n, p in network.named_parameters()}, torch.get_rng_state()
    reset(network, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert float(network.bn1.running_mean.abs().max()) == 0
    first = {n: p.clone() for n, p in network.named_parameters()}
    assert all(not torch.equal(before[n], first[n]) for n in first if first[n].dim() > 1)
    reset(network, 1)
    assert all(torch.equal(p, first[n]) for n, p in network.named_parameters())
    reset(network, 2)
    assert not torch.equal(network.conv1.weight, first["conv1.weight"])


def test_a_module_that_does_not_say_how_is_named() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(3))

    with pytest.raises(dnal.UserError, match=r"'1' \(Scale\) has no reset_parameters"):
        reset(nn.Sequential(nn.Linear(3, 3), Scale()), 0)


def test_attention_of_torch_is_drawn_anew_too() -> None:
    network = nn.TransformerEncoderLayer(8, 2, 16)
    before = network.self_attn.in_proj_weight.clone()
    reset(network, 1)
    assert not torch.equal(before, network.self_attn.in_proj_weight)


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_drawn_as_torch_does(bias: bool) -> None:
    module = nn.MultiheadAttention(8, 2, bias=bias, add_bias_kv=True)
    reset(module, 1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module_of_torch = nn.MultiheadAttention(8, 2, bias=bias, add_bias_kv=True)
        torch.manual_seed(1)
        module_of_torch._reset_parameters()
    for name in ("in_proj_weight", "bias_k", "bias_v"):
        assert torch.equal(getattr(module, name), getattr(module_of_torch, name))


def test_attention_with_fewer_heads_is_drawn_anew_too() -> None:
    network = dnal.models.create("transformer/small", classes=2, input_shape=(8, 20))
    inputs = {"input_ids": torch.ones(2, 8, dtype=torch.long), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    space = dnal.Space.of(network, inputs)
    small = dnal.compact(network, dnal.Architecture.random(space, keep=0.5))
    before = [layer.self_attn.in_proj_weight.clone() for layer in small.encoder.layers]
    reset(small, 1)
    for old, layer in zip(before, small.encoder.layers, strict=True):
        assert len(old) < 3 * 64
        assert not bool((layer.self_attn.in_proj_weight == old).any())
        assert not bool(layer.self_attn.in_proj_bias.any())
    assert bool(small(**inputs).isfinite().all())


@pytest.mark.parametrize("name", own_names())
def test_every_network_of_ours_can_be_drawn_again(name: str) -> None:
    with torch.device("meta"):
        check_resettable(dnal.models.create(name))


def test_places_of_a_transformer_are_drawn_again() -> None:
    network = dnal.models.create("transformer/small", classes=2, input_shape=(8, 20))
    before = network.positions.detach().clone()
    reset(network, 1)
    assert not torch.equal(before, network.positions)
    assert float(network.positions.detach().std()) == pytest.approx(0.02, rel=0.2)
