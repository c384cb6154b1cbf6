"""Hugging Face's networks from small configurations, called as their documentation does: by keywords, with padding."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers

from people.case import Case, Inputs, Make, Network, generator, whole

PAIRING = ("CLIPModel", "SiglipModel")
GROUPED = ("MixtralForCausalLM",)
"""Of whose grouped matrix products torch's counter knows nothing."""
V = 120
"""Tokens in every vocabulary."""
BERT = {
    "vocab_size": V, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 64,
}  # fmt: skip
LLAMA = BERT | {"num_key_value_heads": 2, "head_dim": 12, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
VIT = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
SPEECH = {
    "vocab_size": 32, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
    "conv_dim": (32, 32, 32), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2), "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4, "mask_time_prob": 0.0,
}  # fmt: skip


def padded(batch: int, size: int) -> Inputs:
    """Token numbers and a mask, the first text two tokens shorter than the others."""
    mask = torch.ones(batch, size, dtype=torch.long)
    mask[0, -2:] = 0
    return {"input_ids": whole(batch, size, V), "attention_mask": mask}


def plain_tokens(batch: int, size: int) -> Inputs:
    return {"input_ids": whole(batch, size, V)}


def two_texts(batch: int, size: int) -> Inputs:
    return {"input_ids": whole(batch, size, V), "decoder_input_ids": whole(batch, size // 2, V)}


def pixels(batch: int, size: int) -> Inputs:
    return {"pixel_values": torch.randn(batch, 3, size, size, generator=generator(batch, size))}


def frames(batch: int, size: int) -> Inputs:
    return {"pixel_values": torch.randn(batch, 4, 3, size, size, generator=generator(batch, size))}


def sound(batch: int, size: int) -> Inputs:
    return {"input_values": torch.randn(batch, size, generator=generator(batch, size))}


def spectra(batch: int, size: int) -> Inputs:
    return {"input_values": torch.randn(batch, size, 16, generator=generator(batch, size))}


def codec(batch: int, size: int) -> Inputs:
    return {"input_values": torch.randn(batch, 1, size, generator=generator(batch, size))}


def whisper(batch: int, size: int) -> Inputs:
    features = torch.randn(batch, 16, 64, generator=generator(batch, size))
    return {"input_features": features, "decoder_input_ids": whole(batch, size, V)}


def image_and_text(batch: int, size: int) -> Inputs:
    return {"pixel_values": torch.randn(batch, 3, 32, 32, generator=generator(batch, size)), **padded(batch, size)}


def noise_image(batch: int, size: int) -> Inputs:
    return torch.randn(batch, 3, size, size, generator=generator(batch, size))


def built(model: str, configuration: dict[str, Any], inputs: Make, sizes: tuple[int, ...], checkpointing: bool) -> Case:
    kind = getattr(transformers, model)
    network = kind(kind.config_class(**configuration))
    if (
        model == "DPTForDepthEstimation"
    ):  # it ends with a ReLU: random weights may give zeros alone, which prove nothing
        torch.nn.init.constant_(network.head.head[-2].bias, 1.0)
    if checkpointing:
        network.gradient_checkpointing_enable()
    return Case(network, inputs, sizes, torch_counts=model not in GROUPED, pairs=model in PAIRING)


CLIP_TEXT = BERT | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "projection_dim": 24}
DETR = {
    "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "num_queries": 7, "d_model": 32,
    "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_labels": 5,
}  # fmt: skip


def small_resnet() -> Any:
    return transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], out_features=["stage4"]
    )


def detr() -> Case:
    configuration = transformers.DetrConfig(**DETR | {"backbone_config": small_resnet()})
    return Case(transformers.DetrForObjectDetection(configuration), pixels, (64, 96))


def rt_detr() -> Case:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    configuration = transformers.RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[32, 48, 64], encoder_ffn_dim=64,
        encoder_attention_heads=4, d_model=32, num_queries=10, decoder_in_channels=[32, 32, 32], decoder_ffn_dim=64,
        decoder_layers=2, decoder_attention_heads=4, num_denoising=0, num_labels=5,
    )  # fmt: skip
    return Case(transformers.RTDetrForObjectDetection(configuration), pixels, (64, 96))


TABLE: dict[str, tuple[str, dict[str, Any], Make, tuple[int, ...]]] = {
    "bert": ("BertForSequenceClassification", BERT, padded, (12, 20)),
    "bert_checkpointed": ("BertForSequenceClassification", BERT, padded, (12, 20)),
    "roberta": ("RobertaForTokenClassification", BERT | {"pad_token_id": 1}, padded, (12, 20)),
    "distilbert": (
        "DistilBertForSequenceClassification",
        {"vocab_size": V, "dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96},
        padded,
        (12, 20),
    ),
    "electra": ("ElectraForSequenceClassification", BERT | {"embedding_size": 24}, padded, (12, 20)),
    "albert": ("AlbertForSequenceClassification", BERT | {"embedding_size": 24}, padded, (12, 20)),
    "deberta_v2": (
        "DebertaV2ForSequenceClassification",
        BERT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 16},
        padded,
        (12, 20),
    ),
    "modernbert": (
        "ModernBertForSequenceClassification",
        BERT | {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8},
        padded,
        (12, 20),
    ),
    "squeezebert": ("SqueezeBertForSequenceClassification", BERT | {"embedding_size": 48}, padded, (12, 20)),
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": V, "n_embd": 48, "n_layer": 2, "n_head": 4}, padded, (12, 20)),
    "opt": (
        "OPTForCausalLM",
        BERT | {"ffn_dim": 96, "word_embed_proj_dim": 48, "pad_token_id": 1},
        padded,
        (12, 20),
    ),
    "gpt_neox": ("GPTNeoXForCausalLM", BERT, plain_tokens, (12, 20)),
    "llama_gqa": ("LlamaForCausalLM", LLAMA, plain_tokens, (12, 20)),
    "llama_classifier": ("LlamaForSequenceClassification", LLAMA | {"use_cache": False}, padded, (12, 20)),
    "mistral": ("MistralForCausalLM", LLAMA, padded, (12, 20)),
    "qwen2": ("Qwen2ForCausalLM", LLAMA | {"use_cache": False}, padded, (12, 20)),
    "qwen3": ("Qwen3ForCausalLM", LLAMA | {"use_cache": False}, padded, (12, 20)),
    "gemma2": ("Gemma2ForCausalLM", LLAMA | {"use_cache": False, "sliding_window": 8}, plain_tokens, (12, 20)),
    "phi3": ("Phi3ForCausalLM", LLAMA | {"use_cache": False}, plain_tokens, (12, 20)),
    "mixtral": (
        "MixtralForCausalLM",
        LLAMA | {"use_cache": False, "num_local_experts": 4, "num_experts_per_tok": 2},
        plain_tokens,
        (12, 20),
    ),
    "mamba": (
        "MambaForCausalLM",
        {"vocab_size": V, "hidden_size": 48, "num_hidden_layers": 2, "state_size": 8, "use_cache": False},
        plain_tokens,
        (12, 20),
    ),
    "t5": (
        "T5ForConditionalGeneration",
        {"vocab_size": V, "d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2, "num_heads": 4},
        two_texts,
        (12, 20),
    ),
    "bart": (
        "BartForConditionalGeneration",
        {
            "vocab_size": V, "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "max_position_embeddings": 64,
        },
        two_texts,
        (12, 20),
    ),
    "vit": ("ViTForImageClassification", VIT, pixels, (32,)),
    "dinov2": ("Dinov2ForImageClassification", VIT, pixels, (32, 48)),
    "beit": ("BeitForImageClassification", VIT | {"use_relative_position_bias": True}, pixels, (32,)),
    "swin": (
        "SwinForImageClassification",
        {"image_size": 64, "patch_size": 4, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        pixels,
        (64, 96),
    ),
    "segformer": (
        "SegformerForSemanticSegmentation",
        {
            "depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 48, 64], "num_attention_heads": [1, 2, 4, 4],
            "decoder_hidden_size": 32, "num_labels": 5,
        },
        pixels,
        (64, 96),
    ),
    "convnextv2": (
        "ConvNextV2ForImageClassification",
        {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]},
        pixels,
        (64, 96),
    ),
    "mobilevit": (
        "MobileViTForImageClassification",
        {"image_size": 64, "hidden_sizes": [24, 32, 48], "neck_hidden_sizes": [8, 16, 24, 32, 40, 48, 96]},
        pixels,
        (64, 128),
    ),
    "yolos": (
        "YolosForObjectDetection",
        VIT | {"image_size": [32, 32], "num_detection_tokens": 6, "num_labels": 5},
        pixels,
        (32, 48),
    ),
    "dpt": (
        "DPTForDepthEstimation",
        VIT
        | {
            "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [16, 24, 32, 48],
            "fusion_hidden_size": 24, "image_size": 64, "patch_size": 16,
        },
        pixels,
        (64,),
    ),
    "swin2sr": (
        "Swin2SRForImageSuperResolution",
        {
            "image_size": 16, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4,
            "upscale": 2, "num_channels": 3, "patch_size": 1, "upsampler": "pixelshuffle",
        },
        pixels,
        (16, 24),
    ),
    "videomae": ("VideoMAEForVideoClassification", VIT | {"num_frames": 4}, frames, (32,)),
    "wav2vec2": ("Wav2Vec2ForCTC", SPEECH, sound, (400, 600)),
    "hubert": ("HubertForCTC", SPEECH, sound, (400, 600)),
    "whisper": (
        "WhisperForConditionalGeneration",
        {
            "vocab_size": V, "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "num_mel_bins": 16,
            "max_source_positions": 32, "max_target_positions": 32, "pad_token_id": 0, "bos_token_id": 1,
            "eos_token_id": 2, "decoder_start_token_id": 1,
        },
        whisper,
        (8, 12),
    ),
    "ast": (
        "ASTForAudioClassification",
        {k: v for k, v in VIT.items() if k != "image_size"}
        | {"max_length": 32, "num_mel_bins": 16, "frequency_stride": 8, "time_stride": 8},
        spectra,
        (32,),
    ),
    "encodec": (
        "EncodecModel",
        {"num_filters": 4, "hidden_size": 16, "codebook_dim": 16, "num_residual_layers": 1, "upsampling_ratios": [4, 2],
         "target_bandwidths": [60.0]},
        codec,
        (320, 480),
    ),
    "clip": (
        "CLIPModel",
        {"text_config": CLIP_TEXT, "vision_config": VIT | {"projection_dim": 24}, "projection_dim": 24},
        image_and_text,
        (12, 20),
    ),
    "siglip": (
        "SiglipModel",
        {"text_config": BERT | {"projection_size": 48}, "vision_config": VIT},
        image_and_text,
        (12, 20),
    ),
    "resnet": (
        "ResNetForImageClassification",
        {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]},
        pixels,
        (64, 96),
    ),
}  # fmt: skip

NETWORKS: dict[str, Network] = {
    f"transformers/{name}": partial(built, *entry, checkpointing=name.endswith("_checkpointed"))
    for name, entry in TABLE.items()
} | {"transformers/detr": detr, "transformers/rt_detr": rt_detr}
