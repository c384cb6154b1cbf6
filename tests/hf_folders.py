"""Folders as save_pretrained writes them, of tiny networks from a configuration: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24, "hidden_size": 16}
IMAGE = {"image_size": 8, "num_channels": 1}
WORDS = {"vocab_size": 64, "max_position_embeddings": 20}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", {**SMALL, **IMAGE, "patch_size": 4}),
    "deit": ("DeiTForImageClassification", {**SMALL, **IMAGE, "patch_size": 4}),
    "resnet": (
        "ResNetForImageClassification",
        {"num_channels": 1, "embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"},
    ),
    "convnext": (
        "ConvNextForImageClassification",
        {**IMAGE, "patch_size": 2, "num_stages": 2, "hidden_sizes": [8, 12], "depths": [1, 1]},
    ),
    "swin": (
        "SwinForImageClassification",
        {**IMAGE, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 4], "window_size": 2},
    ),
    "segformer": (
        "SegformerForImageClassification",
        {
            "num_channels": 1, "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16],
            "patch_sizes": [3, 3], "strides": [2, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2],
        },
    ),
    "mobilenet_v2": ("MobileNetV2ForImageClassification", {**IMAGE, "depth_multiplier": 0.25}),
    "bert": ("BertForSequenceClassification", {**SMALL, **WORDS}),
    "distilbert": (
        "DistilBertForSequenceClassification", {**WORDS, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24},
    ),
    "roberta": ("RobertaForSequenceClassification", {**SMALL, **WORDS}),
}  # fmt: skip


def network_of(family: str, classes: int = 10, head: str | None = None, **changes: Any) -> Any:
    """A tiny network of a family, in eval mode; ``head``: another class of transformers."""
    import transformers

    name, values = FAMILIES[family]
    config = transformers.CONFIG_MAPPING[family](**{**values, "num_labels": classes, **changes})
    return getattr(transformers, head or name)(config).eval()


def saved(folder: Path, family: str, classes: int = 10, **more: Any) -> Any:
    """Writes such a network into a folder, and returns it."""
    torch.manual_seed(1)
    network = network_of(family, classes, **more)
    network.save_pretrained(folder)
    return network
