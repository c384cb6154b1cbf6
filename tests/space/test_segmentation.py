"""Networks with a dense output: one class a position, returned in a dictionary."""

import pytest
import torch
import torchvision

import dnal
from independent import assert_exact, coin_flips, difference, randomise, run, zero_twin


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_segmentation_networks_lose_channels_exactly(name: str, auxiliary: bool) -> None:
    torch.manual_seed(0)
    network = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=4,
        aux_loss=auxiliary,
    )  # fmt: skip
    network = randomise(network).eval()
    images = torch.randn(2, 3, 64, 64)
    space = dnal.Space.of(network, images)
    assert space.removable_share >= 0.85
    architecture = coin_flips(space, 0)
    small = assert_exact(network, images, space, architecture)
    assert small(images)["out"].shape == (2, 4, 64, 64)
    larger = torch.randn(1, 3, 96, 80)
    assert difference(run(zero_twin(network, space, architecture.open), larger), run(small, larger)) <= 1e-4
