"""Detectors, segmentation, video and feature networks of torchvision and timm."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from people.case import Case, Make, Network, generator, images, video, with_statistics


def list_of_images(n: int, s: int) -> tuple[list[Tensor]]:
    """As torchvision's detectors are called: one list."""
    return (list(torch.rand(n, 3, s, s, generator=generator(n, s))),)


def with_targets(masks: bool = False, keypoints: bool = False) -> Make:
    """The same and two boxes in each image."""

    def make(n: int, s: int) -> Any:
        boxes = torch.tensor([[4.0, 4.0, s / 2, s / 2], [s / 3, s / 3, s - 4.0, s - 4.0]])
        target: dict[str, Tensor] = {"boxes": boxes, "labels": torch.tensor([1, 1])}
        if masks:
            target["masks"] = torch.ones(2, s, s, dtype=torch.uint8)
        if keypoints:
            target["keypoints"] = torch.cat((boxes.view(2, 2, 2), torch.ones(2, 2, 1)), 2)
        return (*list_of_images(n, s), [dict(target) for _ in range(n)])

    return make


def detector(name: str, size: int, masks: bool = False, **settings: Any) -> Case:
    network = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=5, min_size=size, max_size=size, **settings
    )
    return Case(network, list_of_images, (size,), with_targets(masks), chooses="rcnn" in name, selects=True)


def ssdlite() -> Case:
    network = torchvision.models.get_model(
        "ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=5, score_thresh=0.0
    )
    training = with_targets()
    return Case(with_statistics(network, training(4, 320)), list_of_images, (320,), training, selects=True)


def segmentation(name: str) -> Case:
    settings = {} if name.startswith("lraspp") else {"aux_loss": True}
    network = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=5, **settings)
    return Case(network, images(), (64, 96))


def of_video(name: str, frames: int, sizes: tuple[int, ...], **settings: Any) -> Case:
    return Case(torchvision.models.get_model(name, weights=None, num_classes=5, **settings), video(frames), sizes)


def timm_model(name: str, sizes: tuple[int, ...], checkpointed: bool = False, **settings: Any) -> Case:
    network = timm.create_model(name, pretrained=False, **settings)
    if checkpointed:
        network.set_grad_checkpointing(True)
    return Case(network, images(), sizes)


class Pyramid(nn.Module):
    """A timm backbone with a feature pyramid and a dense head, as many detectors are built."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.body = timm.create_model(backbone, pretrained=False, features_only=True, out_indices=(1, 2, 3))
        self.pyramid = FeaturePyramidNetwork(self.body.feature_info.channels(), 32)
        self.head = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 9, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = self.pyramid(OrderedDict((str(i), level) for i, level in enumerate(self.body(x))))
        return [self.head(level) for level in levels.values()]


SMALL_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "num_classes": 5}
NETWORKS: dict[str, Network] = {
    "torchvision/fasterrcnn_mobilenet_v3": partial(detector, "fasterrcnn_mobilenet_v3_large_320_fpn", 96),
    "torchvision/fasterrcnn_resnet50_fpn": partial(detector, "fasterrcnn_resnet50_fpn", 64),
    "torchvision/retinanet_resnet50_fpn": partial(detector, "retinanet_resnet50_fpn", 64, score_thresh=0.0),
    "torchvision/fcos_resnet50_fpn": partial(detector, "fcos_resnet50_fpn", 64, score_thresh=0.0),
    "torchvision/ssdlite320_mobilenet_v3": ssdlite,
    "torchvision/deeplabv3_mobilenet_v3": partial(segmentation, "deeplabv3_mobilenet_v3_large"),
    "torchvision/lraspp_mobilenet_v3": partial(segmentation, "lraspp_mobilenet_v3_large"),
    "torchvision/fcn_resnet50": partial(segmentation, "fcn_resnet50"),
    "torchvision/r3d_18": partial(of_video, "r3d_18", 4, (32, 48)),
    "torchvision/r2plus1d_18": partial(of_video, "r2plus1d_18", 4, (32, 48)),
    "torchvision/mc3_18": partial(of_video, "mc3_18", 4, (32, 48)),
    "torchvision/swin3d_t": partial(of_video, "swin3d_t", 4, (64, 96)),
    "timm/vit": partial(timm_model, "vit_tiny_patch16_224", (32,), **SMALL_VIT),
    "timm/vit_checkpointed": partial(timm_model, "vit_tiny_patch16_224", (32,), checkpointed=True, **SMALL_VIT),
    "timm/vit_dynamic_size": partial(timm_model, "vit_tiny_patch16_224", (32, 48), dynamic_img_size=True, **SMALL_VIT),
    "timm/vit_registers": partial(
        timm_model, "vit_small_patch14_reg4_dinov2", (28,), img_size=28, embed_dim=48, depth=2, num_heads=4
    ),
    "timm/eva02": partial(
        timm_model, "eva02_tiny_patch14_224", (28,), img_size=28, embed_dim=48, depth=2, num_heads=4, num_classes=5
    ),
    "timm/convnext_features": partial(timm_model, "convnext_atto", (64, 96), features_only=True),
    "timm/resnet18_pyramid": lambda: Case(Pyramid("resnet18"), images(), (64, 96)),
    "timm/mobilenetv3_pyramid": lambda: Case(Pyramid("mobilenetv3_small_050"), images(), (64, 96)),
    "timm/efficientnet_b0_gray": lambda: Case(
        timm.create_model("efficientnet_b0", pretrained=False, in_chans=1, num_classes=5), images(1), (64, 96)
    ),
    "timm/resnet26_checkpointed": partial(timm_model, "resnet26", (64, 96), checkpointed=True, num_classes=5),
}
