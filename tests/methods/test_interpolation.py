import math

import pytest
import torch

from dnal.methods.tas.interpolation import interpolated, interpolation


@pytest.mark.parametrize(("channels", "wanted"), [(3, 8), (8, 3), (5, 5), (1, 4), (4, 1), (19, 64), (64, 19)])
def test_it_is_the_mean_from_floor_to_ceiling(channels: int, wanted: int) -> None:
    x = torch.randn(2, channels, 3, 2)
    found = interpolated(x, wanted)
    assert found.shape == (2, wanted, 3, 2)
    for i in range(wanted):
        window = x[:, math.floor(i * channels / wanted) : math.ceil((i + 1) * channels / wanted)]
        assert torch.allclose(found[:, i], window.mean(dim=1), atol=1e-6)


@pytest.mark.parametrize(("channels", "wanted"), [(7, 20), (20, 7)])
def test_it_is_torchs_adaptive_average_pooling_over_channels(channels: int, wanted: int) -> None:
    x = torch.randn(4, channels)
    assert torch.allclose(interpolated(x, wanted), torch.nn.functional.adaptive_avg_pool1d(x, wanted), atol=1e-6)


def test_rows_are_means() -> None:
    assert torch.allclose(interpolation(7, 12).sum(dim=1), torch.ones(12))
