"""The networks of diffusers from small configurations."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from people.case import Case, Make, Network, generator, images

BLOCKS = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 4}


def noisy(channels: int, **more: tuple[int, ...]) -> Make:
    """A noisy image, the step, and what else the network is told, each (N, ...)."""

    def make(n: int, s: int) -> Any:
        own = generator(n, s)
        steps = torch.randint(0, 1000, (n,), generator=own)
        told = {name: torch.randn(n, *shape, generator=own) for name, shape in more.items()}
        return {"sample": torch.randn(n, channels, s, s, generator=own), "timestep": steps, **told}

    return make


def unet() -> Case:
    network = diffusers.UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), **BLOCKS,
    )  # fmt: skip
    return Case(network, noisy(3), (16, 24))


def conditional_unet() -> Case:
    network = diffusers.UNet2DConditionModel(
        sample_size=16, cross_attention_dim=24, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **BLOCKS,
    )  # fmt: skip
    return Case(network, noisy(4, encoder_hidden_states=(6, 24)), (16, 24))


def unet_1d() -> Case:
    network = diffusers.UNet1DModel(
        sample_size=64, in_channels=4, out_channels=4, extra_in_channels=0, time_embedding_type="positional",
        block_out_channels=(16, 32), layers_per_block=1, use_timestep_embedding=True, norm_num_groups=4, act_fn="silu",
        down_block_types=("DownResnetBlock1D", "DownResnetBlock1D"), up_block_types=("UpResnetBlock1D",),
        mid_block_type="MidResTemporalBlock1D", out_block_type="OutConv1DBlock",
    )  # fmt: skip

    def make(n: int, s: int) -> Any:
        own = generator(n, s)
        return {
            "sample": torch.randn(n, 4, s, generator=own),
            "timestep": torch.randint(0, 1000, (n,), generator=own),
        }

    return Case(network, make, (64, 96))


def dit() -> Case:
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=8, in_channels=4, out_channels=4, num_layers=2, norm_num_groups=4,
        sample_size=8, patch_size=2, num_embeds_ada_norm=20,
    )  # fmt: skip

    def make(n: int, s: int) -> Any:
        own = generator(n, s)
        return {
            "hidden_states": torch.randn(n, 4, s, s, generator=own),
            "timestep": torch.randint(0, 20, (n,), generator=own),
            "class_labels": torch.randint(0, 20, (n,), generator=own),
        }

    return Case(network, make, (8,))


def sd3() -> Case:
    network = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=24, caption_projection_dim=32, pooled_projection_dim=16, out_channels=4,
        pos_embed_max_size=16,
    )  # fmt: skip

    def make(n: int, s: int) -> Any:
        own = generator(n, s)
        return {
            "hidden_states": torch.randn(n, 4, s, s, generator=own),
            "encoder_hidden_states": torch.randn(n, 6, 24, generator=own),
            "pooled_projections": torch.randn(n, 16, generator=own),
            "timestep": torch.randint(0, 1000, (n,), generator=own),
        }

    return Case(network, make, (8, 12))


def autoencoder() -> Case:
    network = diffusers.AutoencoderKL(
        latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        **BLOCKS,
    )  # fmt: skip
    return Case(network, images(), (16, 24))


def vector_quantised() -> Case:
    network = diffusers.VQModel(
        latent_channels=3, num_vq_embeddings=32, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, **BLOCKS,
    )  # fmt: skip
    return Case(network, images(), (16, 24))


def tiny_autoencoder() -> Case:
    network = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(16, 16), decoder_block_out_channels=(16, 16), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )  # fmt: skip
    return Case(network, images(), (16, 24))


NETWORKS: dict[str, Network] = {
    "diffusers/UNet2DModel": unet,
    "diffusers/UNet2DConditionModel": conditional_unet,
    "diffusers/UNet1DModel": unet_1d,
    "diffusers/DiTTransformer2DModel": dit,
    "diffusers/SD3Transformer2DModel": sd3,
    "diffusers/AutoencoderKL": autoencoder,
    "diffusers/VQModel": vector_quantised,
    "diffusers/AutoencoderTiny": tiny_autoencoder,
}
