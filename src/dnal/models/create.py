"""A network by its name, whatever its source: own, torchvision, timm, Hugging Face, or the user's function."""

from __future__ import annotations

import difflib
import inspect

from torch import nn

from dnal.base.errors import UserError
from dnal.base.place import brought
from dnal.data.kind import Sizes
from dnal.data.kinds import KINDS
from dnal.models.genomes.families import built, family_of, is_genome
from dnal.models.huggingface.configuration import configuration_of, default_sizes
from dnal.models.huggingface.names import is_huggingface
from dnal.models.huggingface.network import create_huggingface
from dnal.models.registry import OwnModel, own_models
from dnal.models.resized import base_of, is_resized, resized
from dnal.models.timm_source import create_timm, is_timm, timm_input, timm_names
from dnal.models.torchvision_source import create_torchvision, torchvision_input, torchvision_names
from dnal.models.user_function import create_from_function

TORCHVISION = "torchvision/"
TIMM = "timm/"


def create(
    name: str,
    *,
    classes: int | None = None,
    input_shape: Sizes | None = None,
    pretrained: bool = False,
    kind: str | None = None,
) -> nn.Module:
    """Create a network by name: of images (N, C, H, W) -> logits (N, classes); of other data as their kind has inputs.

    Args:
        name: an own model (``cifar/resnet56``), one that an installed package brings, ``torchvision/NAME``,
            ``timm/NAME``, ``hf/FOLDER``, ``package.module:function``, a network by its layers
            (``layers/conv_16_3-max-fc_32``), or one of these with layers of other sizes (``vgg_small@6,6,6x6,6,x6``),
            as :func:`sized_name` tells them.
        classes: number of classes; None means what the model is made for.
        input_shape: (C, H, W) of images, the sizes of an example of other data; None means what the model is made for.
        pretrained: with the source's own trained weights; a head for other classes starts fresh.
        kind: of the data, such as "tables"; None means what the model is made for, and images for a function.

    Raises:
        UserError: an unknown name (with the nearest right one), or a wish that this model cannot fulfil.

    Examples:
        >>> network = dnal.models.create("cifar/resnet20", classes=100)
        >>> network(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 100])
        >>> dnal.models.create("cifar/resnt20")
        Traceback (most recent call last):
        dnal.UserError: unknown model 'cifar/resnt20'; did you mean 'cifar/resnet20'? `dnal models` lists all.
    """
    if classes is not None and classes < 1:
        raise UserError(f"a network needs at least one class, not {classes}")
    made_for = kind_of(name)
    if None not in (made_for, kind) and made_for != kind:
        raise UserError(
            f"the model {name!r} is for {made_for}, and not for {kind}; choose another model, or other data."
        )
    kind = made_for or kind or "images"
    if input_shape is not None:
        KINDS[kind].check(input_shape)
    if is_resized(name):
        _check_untrained(name, pretrained)
        return resized(create(base_of(name), classes=classes, input_shape=input_shape, kind=kind), name)
    if is_genome(name):
        _check_untrained(name, pretrained)
        return built(name, classes=classes, input_shape=input_shape)
    if is_huggingface(name):
        return create_huggingface(name, classes=classes, input_shape=input_shape, pretrained=pretrained)
    own = own_models()
    if name in own:
        return _create_own(own[name], classes=classes, input_shape=input_shape, pretrained=pretrained)
    if name in brought("model"):
        return create_from_function(
            name, classes=classes, input_shape=input_shape, pretrained=pretrained, kind=KINDS[kind],
            place=brought("model")[name],
        )  # fmt: skip
    if names_code(name):
        return create_from_function(
            name, classes=classes, input_shape=input_shape, pretrained=pretrained, kind=KINDS[kind]
        )
    source, short = _source(name)
    build = create_torchvision if source == TORCHVISION else create_timm
    images = None if input_shape is None else (input_shape[0], input_shape[1], input_shape[2])
    return build(short, classes=classes, input_shape=images, pretrained=pretrained)


def kind_of(name: str) -> str | None:
    """The kind of data that a model is for; None of a function of a user's or of another package."""
    name = base_of(name)
    if name in own_models():
        return own_models()[name].kind
    if is_genome(name):
        return family_of(name).kind
    if name.startswith((TORCHVISION, TIMM)):
        return "images"
    if is_huggingface(name):
        return configuration_of(name).kind
    return None if ":" in name or name in brought("model") else "images"


def default_input(name: str) -> Sizes:
    """The input that a model expects by default: (C, H, W) of images.

    Raises:
        UserError: an unknown name, or a function of a user's or of another package, which does not tell its input.
    """
    name = base_of(name)
    if is_genome(name):
        return family_of(name).input
    if is_huggingface(name):
        return default_sizes(configuration_of(name))
    own = own_models()
    if name in own:
        return own[name].input_shape
    if ":" in name or name in brought("model"):
        raise UserError(f"a model of your own ({name!r}) does not tell its input; say it, such as --input 3,32,32")
    source, short = _source(name)
    return torchvision_input(short) if source == TORCHVISION else timm_input(short)


def names_code(name: str) -> bool:
    """Whether this is no name of a model but says where code is, to be imported and run."""
    return ":" in name and not is_huggingface(name) and name not in own_models() and name not in brought("model")


def own_names() -> list[str]:
    """The names of dnal's own models."""
    return sorted(own_models())


def brought_names() -> list[str]:
    """The names of models that other installed packages bring."""
    return [name for name in brought("model") if name not in own_models()]


def names(kind: str | None = None) -> list[str]:
    """All names: own models first, then those of other packages, then torchvision's, then timm's.

    Args:
        kind: only those that are known to be for this kind of data, such as "tables".
    """
    if kind is not None:
        own = [name for name in own_names() if own_models()[name].kind == kind]
        return own if kind != "images" else [*own, *(name for name in names() if name.startswith((TORCHVISION, TIMM)))]
    return [
        *own_names(),
        *brought_names(),
        *(TORCHVISION + n for n in torchvision_names()),
        *(TIMM + n for n in timm_names()),
    ]


def _create_own(model: OwnModel, *, classes: int | None, input_shape: Sizes | None, pretrained: bool) -> nn.Module:
    _check_untrained(model.name, pretrained)
    sizes = input_shape or model.input_shape
    if model.kind == "images" and min(sizes[1:]) < model.least_side:
        least, (_, height, width) = model.least_side, sizes
        raise UserError(
            f"{model.name!r} takes images of at least {least}x{least}, not {height}x{width}; ask for a larger input"
        )
    named = inspect.signature(model.build).parameters
    arguments = {name: size for name, size in KINDS[model.kind].arguments(sizes).items() if name in named}
    return model.build(classes=classes or model.classes, **arguments)


def _check_untrained(name: str, pretrained: bool) -> None:
    if pretrained:
        raise UserError(f"{name!r} has no pretrained weights; give a safetensors file, or train it first")


def _source(name: str) -> tuple[str, str]:
    """The source and the name within it of a torchvision or timm model that exists."""
    if name.startswith(TORCHVISION):
        short = name.removeprefix(TORCHVISION)
        if short in torchvision_names():
            return TORCHVISION, short
        raise _unknown(name, _closest(name, [TORCHVISION + other for other in torchvision_names()]))
    if name.startswith(TIMM):
        short = name.removeprefix(TIMM)
        if is_timm(short):
            return TIMM, short
        raise _unknown(name, _closest(name, [TIMM + other for other in timm_names()]))
    everything = names()
    # A bare name may be right in one or more sources: they are suggested, never chosen for the user.
    bare = [full for full in everything if full.rpartition("/")[2] == name]
    raise _unknown(name, bare or _closest(name, everything))


def _closest(name: str, candidates: list[str]) -> list[str]:
    """The nearest name; of a name without a source, the nearest in every source that has it."""
    found = difflib.get_close_matches(name, candidates, n=1) if "/" in name else []
    if not found:
        # "resnt50" is too far from "torchvision/resnet50" as a whole: compare the parts behind the prefix too.
        short = {candidate: candidate.rpartition("/")[2] for candidate in candidates}
        nearest = difflib.get_close_matches(name.rpartition("/")[2], dict.fromkeys(short.values()), n=1)
        found = [candidate for candidate in candidates if short[candidate] in nearest]
    return found


def _unknown(name: str, suggestions: list[str]) -> UserError:
    hint = f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else "."
    return UserError(f"unknown model {name!r}{hint} `dnal models` lists all.")
