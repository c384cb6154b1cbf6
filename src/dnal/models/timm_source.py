"""Models by name from timm, as ``timm/NAME`` or ``timm/NAME.TAG``."""

from __future__ import annotations

from typing import Any

from torch import nn

from dnal.base.errors import UserError, reason_of
from dnal.models.downloaded import check_kept, weights_only

Shape = tuple[int, int, int]


def timm_names() -> list[str]:
    """Names of timm's models, without the prefix."""
    import timm

    names: list[str] = timm.list_models()
    return names


def is_timm(name: str) -> bool:
    """Whether timm has a model of this name (a tag of pretrained weights may follow after a dot)."""
    import timm

    return bool(timm.is_model(name))


def timm_input(name: str) -> Shape:
    """The (C, H, W) of the model's default configuration."""
    config = _config(name)
    channels, height, width = config.input_size
    return (int(channels), int(height), int(width))


def create_timm(name: str, *, classes: int | None, input_shape: Shape | None, pretrained: bool) -> nn.Module:
    """Build ``timm.create_model(NAME)`` for these classes and this input (C, H, W).

    timm itself adapts pretrained weights to other channels and classes.

    Raises:
        UserError: timm refuses the combination, or pretrained weights cannot be had.
    """
    import timm

    options: dict[str, Any] = {}
    if classes is not None:
        options["num_classes"] = classes
    if input_shape is not None:
        options["in_chans"] = input_shape[0]
        config = _config(name)
        # Only models with a size-dependent part (position tables, windows) know img_size; the others take any size.
        if config.fixed_input_size and tuple(config.input_size[1:]) != input_shape[1:]:
            options["img_size"] = input_shape[1:]
    if pretrained:
        timm.models.set_pretrained_check_hash(True)  # of what it downloads
        source = _config(name)
        if isinstance(source.url, str) and not source.hf_hub_id:
            check_kept(source.url)
    try:
        with weights_only():
            network: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # timm and its downloader raise whatever fits them; the name itself is known to be right
        what = "with pretrained weights " if pretrained else ""
        remedy = (
            "check the network connection or give a safetensors file of weights"
            if pretrained
            else f"try its own input, {','.join(map(str, timm_input(name)))}"
        )
        raise UserError(f"timm could not build 'timm/{name}' {what}({reason_of(error)}); {remedy}") from error
    return network


def _config(name: str) -> Any:
    from timm.models import get_pretrained_cfg

    try:
        config = get_pretrained_cfg(name)
    except RuntimeError as error:
        raise UserError(
            f"timm has no weights of that tag: {reason_of(error)} Leave the tag away for the default"
        ) from error
    if config is None:
        raise UserError(f"timm has no default configuration for 'timm/{name}'; take another model of timm")
    return config
