"""Kaiming initialisation, the same for all own models."""

from __future__ import annotations

from torch import nn


def kaiming_init(network: nn.Module) -> None:
    """Initialise in place: convolutions He-normal by fan-out, batch-norms to identity, linear layers small normal.

    Source: He et al., "Delving Deep into Rectifiers" (2015); std .01 for linear layers as in torchvision's VGG
    would make a two-layer classifier start almost dead, so linear layers are He-normal by fan-in instead.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
