"""timm's vision transformer, of which all weights can be drawn again."""

from __future__ import annotations

from timm.models.vision_transformer import VisionTransformer


class ViT(VisionTransformer):
    """timm's, whose class token and positions can be drawn again."""

    def reset_parameters(self) -> None:
        self.init_weights()
