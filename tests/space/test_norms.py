"""Streams through layer norms and channels under global response normalisation stay, and say so; the layers that
would let them leave compute what the rule's docstring says."""

import timm
import torch
import torch.nn.functional as F
from timm.layers.grn import GlobalResponseNorm
from torch import nn

import dnal


def test_convnextv2_names_layer_norm_and_global_response_normalisation() -> None:
    network = timm.create_model("convnextv2_atto").eval()
    space = dnal.Space.of(network, torch.zeros(1, 3, 64, 64))
    assert space.num_variables == 0
    said = {fixed.name: fixed.reason for fixed in space.fixed}
    for block in ("stages.0.blocks.0", "stages.3.blocks.1"):
        assert "native_layer_norm.default normalises over it" in said[f"{block}.conv_dw.weight"]
        assert "averages over it, as global response normalisation does" in said[f"{block}.mlp.grn.weight"]
        reasons = str(space.explain(f"{block}.mlp.fc1.weight"))
        assert "dimension 0 (" in reasons
        assert "global response normalisation" in reasons
        assert "native_layer_norm.default normalises over it" in reasons


def test_a_layer_norm_that_remembers_its_width_would_be_exact() -> None:
    torch.manual_seed(0)
    width, kept = 12, torch.tensor([0, 3, 4, 8, 11])
    zeros = torch.zeros(width).index_fill(0, kept, 1.0)
    x, weight, bias = (torch.randn(5, width) + 1) * zeros, torch.randn(width) * zeros, torch.randn(width) * zeros
    small = x[:, kept]
    mean = small.sum(1, keepdim=True) / width
    variance = small.square().sum(1, keepdim=True) / width - mean.square()
    ours = (small - mean) / (variance + 1e-5).sqrt() * weight[kept] + bias[kept]
    reference = F.layer_norm(x, (width,), weight, bias)
    torch.testing.assert_close(ours, reference[:, kept])
    assert not reference[:, zeros == 0].any()
    assert not torch.allclose(F.layer_norm(small, (len(kept),), weight[kept], bias[kept]), ours, atol=1e-2)


def test_a_response_normalisation_that_remembers_its_width_would_be_exact() -> None:
    torch.manual_seed(0)
    width, kept = 12, torch.tensor([0, 3, 4, 8, 11])
    layer = GlobalResponseNorm(width, channels_last=False)
    zeros = torch.zeros(width).index_fill(0, kept, 1.0)
    layer.weight, layer.bias = nn.Parameter(torch.randn(width) * zeros), nn.Parameter(torch.randn(width) * zeros)
    x = torch.randn(2, width, 4, 4) * zeros.view(-1, 1, 1)
    small = x[:, kept]
    norms = small.norm(dim=(2, 3), keepdim=True)
    scaled = small * norms / (norms.sum(1, keepdim=True) / width + layer.eps)
    ours = small + layer.bias[kept].view(-1, 1, 1) + layer.weight[kept].view(-1, 1, 1) * scaled
    torch.testing.assert_close(ours, layer(x)[:, kept])
