"""Networks of segmentation_models_pytorch."""

from __future__ import annotations

from functools import partial

import segmentation_models_pytorch as smp

from people.case import Case, Network, images

ARCHITECTURES = {
    "unet_resnet18": ("Unet", "resnet18"),
    "unet_mobilenet_v2": ("Unet", "mobilenet_v2"),
    "unetplusplus_resnet18": ("UnetPlusPlus", "resnet18"),
    "fpn_efficientnet_b0": ("FPN", "timm-efficientnet-b0"),
    "deeplabv3plus_resnet18": ("DeepLabV3Plus", "resnet18"),
    "pspnet_resnet18": ("PSPNet", "resnet18"),
    "manet_resnet18": ("MAnet", "resnet18"),
    "segformer_mit_b0": ("Segformer", "mit_b0"),
}


def built(architecture: str, encoder: str) -> Case:
    network = getattr(smp, architecture)(encoder_name=encoder, encoder_weights=None, classes=5)
    return Case(network, images(), (64, 96))


NETWORKS: dict[str, Network] = {f"smp/{name}": partial(built, *pair) for name, pair in ARCHITECTURES.items()}
