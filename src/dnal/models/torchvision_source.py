"""Models by name from torchvision: every classification model, as ``torchvision/NAME``."""

from __future__ import annotations

from typing import Any

from torch import nn

from dnal.base.errors import UserError, reason_of
from dnal.models.downloaded import check_kept, weights_only

Shape = tuple[int, int, int]
CHECKPOINT_CLASSES = 1000


def torchvision_names() -> list[str]:
    """Names of torchvision's classification models, without the prefix."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def torchvision_input(name: str) -> Shape:
    """The (C, H, W) the model is made for."""
    return (3, 299, 299) if name == "inception_v3" else (3, 224, 224)


def create_torchvision(name: str, *, classes: int | None, input_shape: Shape | None, pretrained: bool) -> nn.Module:
    """Build ``torchvision.models.NAME`` for these classes and this input (C, H, W).

    Raises:
        UserError: pretrained weights that cannot be had, or do not fit the asked input.
    """
    from torchvision import models

    shape = input_shape or torchvision_input(name)
    if pretrained:
        return _pretrained(name, classes, shape)
    options: dict[str, Any] = {"num_classes": classes or CHECKPOINT_CLASSES}
    if name in ("googlenet", "inception_v3"):
        # Auxiliary heads would make training return a tuple; saying init_weights keeps torchvision from warning.
        options |= {"aux_logits": False, "init_weights": True}
    if shape != torchvision_input(name) and _has_fixed_size(name):
        options |= _size_options(name, shape)
    network: nn.Module = models.get_model(name, weights=None, **options)
    if shape[0] != 3:
        _replace_stem(network, shape[0])
    return network


def _pretrained(name: str, classes: int | None, shape: Shape) -> nn.Module:
    from torchvision import models

    if shape[0] != 3:
        raise UserError(
            f"the pretrained weights of 'torchvision/{name}' are for 3 colour channels, not {shape[0]}; "
            "take a model from timm/, which adapts its first layer, or train without pretrained weights"
        )
    if _has_fixed_size(name) and shape != torchvision_input(name):
        raise UserError(
            f"the pretrained weights of 'torchvision/{name}' are for 3x224x224 images only; "
            "ask for --input 3,224,224, or take a model from timm/"
        )
    weights = models.get_model_weights(name)["DEFAULT"]
    check_kept(weights.url)
    try:
        with weights_only():
            network: nn.Module = models.get_model(name, weights=weights)
    except Exception as error:  # of the disk, of the network, of a damaged file
        reason = reason_of(error)
        raise UserError(
            f"the pretrained weights of 'torchvision/{name}' could not be had ({reason}); "
            "check the network connection or give a safetensors file of weights"
        ) from error
    if name in ("googlenet", "inception_v3"):
        for part in ("AuxLogits", "aux1", "aux2"):
            if hasattr(network, part):
                setattr(network, part, None)
        network.aux_logits = False  # type: ignore[assignment]
    if classes is not None and classes != CHECKPOINT_CLASSES:
        replace_head(network, classes)
    return network


def replace_head(network: nn.Module, classes: int, *, old_classes: int = CHECKPOINT_CLASSES) -> None:
    """Replace in place the last layer that has ``old_classes`` outputs by a fresh one with ``classes``.

    Raises:
        UserError: no linear layer or convolution has that many outputs.
    """
    head: tuple[str, nn.Linear | nn.Conv2d] | None = None
    for path, module in network.named_modules():
        if (isinstance(module, nn.Linear) and module.out_features == old_classes) or (
            isinstance(module, nn.Conv2d) and module.out_channels == old_classes
        ):
            head = (path, module)
    if head is None:
        raise UserError(
            f"no layer with {old_classes} outputs to replace by one with {classes}; keep {old_classes} classes"
        )
    path, old = head
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        new: nn.Module = nn.Linear(old.in_features, classes, bias=bias)
    else:
        new = nn.Conv2d(old.in_channels, classes, old.kernel_size, old.stride, old.padding, bias=bias)  # type: ignore[arg-type]
    _put(network, path, new)


def _replace_stem(network: nn.Module, channels: int) -> None:
    """Give the first convolution, the only one that sees the image, another number of input channels."""
    for path, old in network.named_modules():
        if isinstance(old, nn.Conv2d) and old.in_channels == 3:
            new = nn.Conv2d(
                channels,
                old.out_channels,
                old.kernel_size,  # type: ignore[arg-type]
                old.stride,  # type: ignore[arg-type]
                old.padding,  # type: ignore[arg-type]
                bias=old.bias is not None,
            )
            nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
            if new.bias is not None:
                nn.init.zeros_(new.bias)
            _put(network, path, new)
            return


def _put(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def _has_fixed_size(name: str) -> bool:
    return name.startswith(("vit_", "maxvit_"))


def _size_options(name: str, shape: Shape) -> dict[str, Any]:
    _, height, width = shape
    if name.startswith("maxvit_"):
        multiple = 32 * 7
        if height % multiple or width % multiple:
            raise UserError(
                f"'torchvision/{name}' takes images whose sides are multiples of {multiple}, not {height}x{width}"
            )
        return {"input_size": (height, width)}
    patch = int(name.rpartition("_")[2])
    if height != width or height % patch:
        raise UserError(
            f"'torchvision/{name}' takes square images whose side is a multiple of {patch}, not {height}x{width}"
        )
    return {"image_size": height}
