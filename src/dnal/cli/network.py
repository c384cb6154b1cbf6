"""A network by name, tried on one example before anything is built on it."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import nn

from dnal import models
from dnal.base.errors import UserError
from dnal.data.kind import Kind, Sizes
from dnal.data.kinds import KINDS
from dnal.data.objective import CLASSIFICATION, Objective
from dnal.models.downloaded import kept_only
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import call
from dnal.train.outputs import logits_of


def input_of(model: str, asked: Sizes | None) -> Sizes | None:
    """The sizes of an example to use: what was asked, else what the model is made for.

    None for dnal's own models, networks by their layers and functions of users and other packages, which take the data
    as they are.

    Raises:
        UserError: there is no such model.
    """
    if asked is not None:
        return asked
    if models.kind_of(model) is None:
        return None
    made_for = models.default_input(model)
    base = models.base_of(model)
    return None if base in models.own_names() or models.is_genome(base) else made_for


def created(
    model: str,
    classes: int | None,
    sizes: Sizes,
    *,
    kind: Kind,
    objective: Objective = CLASSIFICATION,
    weights: str | None = None,
    seed: int = 0,
    download: bool = True,
) -> tuple[nn.Module, bool]:
    """The network, its fresh weights drawn from ``seed``, and whether it comes trained for these classes.

    Args:
        model: its name.
        classes: number of classes, None for the model's own.
        sizes: of an example, such as (C, H, W).
        kind: of the data. objective: what is learnt from them.
        weights: None, "pretrained", a safetensors file, or a place of Hugging Face such as "hf/FOLDER".
        seed: of the fresh weights.
        download: whether pretrained weights that are not on this machine may be fetched; a user's function does as it
            likes.

    Raises:
        UserError: as :func:`dnal.models.create`, or where the network cannot take such data.
    """
    torch.manual_seed(seed)
    if weights is not None and models.is_huggingface(weights):
        return _of_a_place(model, weights, classes, sizes, kind, objective, download=download)
    pretrained = weights == "pretrained"
    with kept_only() if pretrained and not download and not models.names_code(model) else nullcontext():
        network = models.create(model, classes=classes, input_shape=sizes, pretrained=pretrained, kind=kind.name)
    if weights is not None and not pretrained:
        models.load_weights(network, weights)
    _try(network, model, kind, sizes, _answer(classes, kind, sizes, objective))
    return network, weights is not None and not (pretrained and _head_is_fresh(network, model, sizes))


def _of_a_place(
    model: str, place: str, classes: int | None, sizes: Sizes, kind: Kind, objective: Objective, *, download: bool
) -> tuple[nn.Module, bool]:
    if not models.is_huggingface(model):
        raise UserError(f"the weights '{place}' are for a model of Hugging Face; give --model {place} too.")
    with nullcontext() if download else kept_only():
        network, fresh = models.with_weights(model, place, classes=classes, input_shape=sizes)
    _try(network, model, kind, sizes, _answer(classes, kind, sizes, objective))
    return network, not fresh


def _answer(classes: int | None, kind: Kind, sizes: Sizes, objective: Objective) -> tuple[int, ...] | None:
    return None if classes is None else (classes, *kind.answered(sizes, objective))


def drawn(model: str, asked: Sizes | None) -> tuple[Kind, Sizes, Inputs]:
    """The kind of data that a model is for (images of a function of the user's), sizes of an example of them, asked
    for or those that it is made for, and one, drawn.

    Raises:
        UserError: there is no such model, or it takes no such sizes.
    """
    kind = KINDS[models.kind_of(model) or "images"]
    sizes = asked or models.default_input(model)
    kind.check(sizes)
    # Not zeros: the numeric probe compares outputs, and an image of one colour could hide a difference.
    return kind, sizes, kind.drawn(sizes, 1)


def _head_is_fresh(network: nn.Module, model: str, shape: Sizes) -> bool:
    """Whether the source's weights were for other classes, so that the last layer is not trained."""
    if models.kind_of(model) is None:
        return False  # the user's function answers for what it returns
    with torch.device("meta"):
        own = models.create(model, input_shape=shape)
    return any(
        a.shape != b.shape for a, b in zip(network.state_dict().values(), own.state_dict().values(), strict=False)
    )


def _try(network: nn.Module, model: str, kind: Kind, sizes: Sizes, answer: tuple[int, ...] | None) -> None:
    """Refuses a network that does not run on an example, or answers with something else than (1, *answer)."""
    size, model = ",".join(map(str, sizes)), models.called(model)
    was_training = network.training
    try:
        with torch.no_grad():
            output = call(network.eval(), kind.example(sizes))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the network '{model}' cannot take {kind.several} of {size} ({reason}); choose another --input."
        ) from error
    finally:
        network.train(was_training)
    if answer is None:
        return
    logits = logits_of(output)
    if not (isinstance(logits, torch.Tensor) and logits.shape == (1, *answer)):
        got = f"a tensor of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(output).__name__
        raise UserError(
            f"the network '{model}' returns {got} for one {kind.one}, not {(1, *answer)}: "
            f"{'a score per class' if answer[0] > 1 else 'a number'}"
            f"{' at each place' if answer[1:] else ''}."
        )
