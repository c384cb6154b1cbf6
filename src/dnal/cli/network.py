"""A network by name, tried on one example before anything is built on it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import nn

from dnal import models
from dnal.base.errors import UserError
from dnal.models.downloaded import kept_only

Shape = tuple[int, int, int]


def input_of(model: str, asked: Shape | None) -> Shape | None:
    """The (C, H, W) to use: what was asked, else what the model is made for.

    None for dnal's own models and for functions of users and other packages, which take the images as they are.

    Raises:
        UserError: there is no such model.
    """
    if asked is not None:
        return asked
    if ":" in model or model in models.brought_names():
        return None
    made_for = models.default_input(model)
    return None if model in models.own_names() else made_for


def created(
    model: str,
    classes: int | None,
    shape: Shape,
    *,
    weights: str | None = None,
    seed: int = 0,
    download: bool = True,
) -> tuple[nn.Module, bool]:
    """The network, its fresh weights drawn from ``seed``, and whether it comes trained for these classes.

    Args:
        model: its name.
        classes: number of classes, None for the model's own.
        shape: (C, H, W).
        weights: None, "pretrained", or a safetensors file.
        seed: of the fresh weights.
        download: whether pretrained weights that are not on this machine may be fetched; a user's function does as it
            likes.

    Raises:
        UserError: as :func:`dnal.models.create`, or where the network cannot take such images.
    """
    torch.manual_seed(seed)
    pretrained = weights == "pretrained"
    with kept_only() if pretrained and not download and not models.names_code(model) else nullcontext():
        network = models.create(model, classes=classes, input_shape=shape, pretrained=pretrained)
    if weights is not None and not pretrained:
        models.load_weights(network, weights)
    _try(network, model, classes, shape)
    return network, weights is not None and not (pretrained and _head_is_fresh(network, model, shape))


def _head_is_fresh(network: nn.Module, model: str, shape: Shape) -> bool:
    """Whether the source's weights were for other classes, so that the last layer is not trained."""
    if ":" in model or model in models.brought_names():
        return False  # the user's function answers for what it returns
    with torch.device("meta"):
        own = models.create(model, input_shape=shape)
    return any(
        a.shape != b.shape for a, b in zip(network.state_dict().values(), own.state_dict().values(), strict=False)
    )


def _try(network: nn.Module, model: str, classes: int | None, shape: Shape) -> None:
    size = ",".join(map(str, shape))
    was_training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the network '{model}' cannot take images of {size} ({reason}); choose another --input."
        ) from error
    finally:
        network.train(was_training)
    if classes is not None and not (isinstance(output, torch.Tensor) and output.shape == (1, classes)):
        got = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise UserError(f"the network '{model}' returns {got} for one image, not (1, {classes}): a score per class.")
