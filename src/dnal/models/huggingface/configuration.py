"""What config.json says: which class of transformers, for which kind of data, of which sizes. It may be anybody's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnal.base.errors import UserError, one_line, reason_of
from dnal.base.reading import plain_json, text_of
from dnal.data.kind import Sizes
from dnal.models.huggingface.names import PREFIX, is_huggingface, is_written_out
from dnal.models.huggingface.place import Place, library

LARGEST = 2**23
"""Bytes of a config.json: it may name the classes of ImageNet-21k."""
MOST = 2**24
"""A whole number in it."""
DEEPEST = 6
MOST_VALUES = 2**12
"""Beside the names of classes."""
MOST_CLASSES = 2**16
SIDE, LENGTH = 224, 64
"""Of an example, where nothing is said."""
IMAGES, TEXT = "images", "text"
BODIES = ("Model", "ForMaskedLM", "ForPreTraining", "ForMaskedImageModeling")
"""Ends of the names of classes without a head of their own task: a classifier is put on them."""
OF_LABELS = ("id2label", "label2id", "num_labels")
LEFT_OUT = frozenset(
    {
        *OF_LABELS, "architectures", "dtype", "torch_dtype", "transformers_version", "name_or_path", "problem_type",
        "task_specific_params", "finetuning_task", "output_attentions", "output_hidden_states", "return_dict",
        "use_return_dict", "use_cache", "attn_implementation", "experts_implementation", "transformers_weights",
        "fusion_config", "distributed_config", "kernel_config", "torchscript",
    }
)  # fmt: skip
"""Keys that say nothing of the network, or what a job decides: numbers, outputs, how attention is computed, labels."""
OF_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")
OF_OTHERS = ("backbone", "use_timm_backbone", "use_pretrained_backbone", "backbone_config")
WRAPPERS = ("timm_wrapper", "timm_backbone")


@dataclass(frozen=True)
class Configuration:
    """A configuration that has been checked.

    Attributes:
        document: it, as plain values, with ``architectures``, ``model_type`` and ``num_labels``.
        architecture: the class of transformers. kind: of its data, "images" or "text".
    """

    document: Mapping[str, Any]
    architecture: str
    kind: str


def configuration_of(name: str) -> Configuration:
    """The configuration that a name tells, or that is in the place which it names.

    Raises:
        UserError: none, or one that dnal does not build.
    """
    library()
    if is_written_out(name):
        try:
            document = plain_json(name.removeprefix(PREFIX))
        except ValueError:
            raise UserError(
                f"'{one_line(name, 60)}' is no configuration: it is no JSON; write it as config.json has it."
            ) from None
        return _checked(document, f"'{one_line(name, 60)}'")
    path = Place.of(name).file("config.json", needed=True)
    assert path is not None
    return _checked(_read(path), f"'{path}'")


def reads_values(name: str) -> bool:
    """Whether a network runs only where its inputs have values: of text it looks whether a mask leaves anything out."""
    return is_huggingface(name) and configuration_of(name).kind == TEXT


def default_sizes(configuration: Configuration) -> Sizes:
    """Sizes of an example: (channels, height, width), or (length, number of tokens).

    Raises:
        UserError: as :func:`configured`; or it says none.
    """
    config = configured(configuration, None, None)
    if configuration.kind == TEXT:
        places = getattr(config, "max_position_embeddings", None)
        # Some families begin to count places behind the number of the padding.
        most = places - (config.pad_token_id or 0) - 1 if isinstance(places, int) else LENGTH
        return max(1, min(LENGTH, most)), _tokens(configuration, config)
    of_images = getattr(config, "vision_config", None) or config
    side = getattr(of_images, "image_size", None)
    side = SIDE if side is None else side
    sizes = (getattr(of_images, "num_channels", 3), *(side if isinstance(side, list | tuple) else (side, side)))
    if len(sizes) != 3 or not all(isinstance(each, int) and each > 0 for each in sizes):
        raise UserError(
            f"num_channels and image_size of this {configuration.architecture} are no channels, height and width "
            f"({one_line(', '.join(map(str, sizes)), 60)}); mend config.json, or ask for an --input."
        )
    channels, height, width = sizes
    return channels, height, width


def _tokens(configuration: Configuration, config: Any) -> int:
    """How many tokens there are.

    Raises:
        UserError: it says none.
    """
    tokens = getattr(config, "vocab_size", None)
    if not isinstance(tokens, int) or tokens < 1:
        raise UserError(
            f"{configuration.architecture} has no number of tokens (vocab_size) in its configuration, and dnal gives "
            "it a text as tokens; give another folder."
        )
    return tokens


def configured(configuration: Configuration, classes: int | None, sizes: Sizes | None) -> Any:
    """The configuration as an object of transformers, for so many classes and examples of these sizes; None: its own.

    Raises:
        UserError: it is none of its family, or such sizes do not fit it.
    """
    document = {key: value for key, value in configuration.document.items() if key not in ("model_type", "num_labels")}
    labels = classes or configuration.document["num_labels"]
    try:
        config = library().CONFIG_MAPPING[configuration.document["model_type"]].from_dict(document)
        config.num_labels, config.problem_type = labels, "single_label_classification"
        if sizes is not None and configuration.kind == IMAGES:
            _for_images(config, sizes)
    except Exception as error:  # families check their values, each in its way
        raise UserError(
            f"transformers makes no {configuration.architecture} of this configuration ({reason_of(error, 160)}); "
            "mend config.json, or ask for another --input."
        ) from None
    layers = getattr(config, "num_hidden_layers", 1)
    if isinstance(layers, int) and layers < 1:  # transformers builds a network of none
        raise UserError(
            f"{configuration.architecture} has {layers} layers by its configuration (num_hidden_layers); give it one "
            "or more."
        )
    if sizes is not None and configuration.kind == TEXT and sizes[1] > (tokens := _tokens(configuration, config)):
        raise UserError(
            f"{configuration.architecture} has {tokens:,} tokens, fewer than {sizes[1]:,}; "
            f"ask for --input {sizes[0]},{tokens}."
        )
    return config


def _for_images(config: Any, sizes: Sizes) -> None:
    channels, height, width = sizes
    if hasattr(config, "num_channels"):
        config.num_channels = channels
    own = getattr(config, "image_size", None)
    if own is not None and (list(own) if isinstance(own, list | tuple) else [own, own]) != [height, width]:
        config.image_size = height if height == width else [height, width]


def _read(path: Path) -> Any:
    remedy = "restore it, or give another folder"
    try:
        return plain_json(text_of(path, LARGEST, remedy=remedy))
    except UserError:
        raise
    except ValueError:
        raise UserError(f"'{path}' cannot be read as JSON; {remedy}.") from None


def _checked(document: Any, what: str) -> Configuration:
    from transformers.models.auto import modeling_auto as auto

    if not isinstance(document, dict) or not isinstance(document.get("model_type"), str):
        raise UserError(f"{what} is no configuration of transformers: it has no model_type; give another folder.")
    left = {key: value for key, value in document.items() if key not in LEFT_OUT and not key.startswith("_")}
    _check_values(left, what)
    family = document["model_type"]
    if family in WRAPPERS:
        raise UserError(f"{what} is of a network of timm; give it as timm/NAME.")
    asked = document.get("architectures")
    first = asked[0] if isinstance(asked, list) and asked and isinstance(asked[0], str) else None
    known = {
        kind: (names,) if isinstance(names, str) else tuple(names)
        for kind, names in (
            (IMAGES, auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.get(family, ())),
            (TEXT, auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(family, ())),
        )
        if names
    }
    kind = next((kind for kind, names in known.items() if first in names), None)
    if kind is None and len(known) == 1 and (first is None or first.endswith(BODIES)):
        (kind,) = known
        first = known[kind][0]
    if kind is None or first is None:
        raise UserError(
            f"{what} is of a network that dnal does not learn ({one_line(str(first or family), 60)}): there are "
            "classifiers of images and of texts, and what they are built on."
        )
    return Configuration({**left, "architectures": [first], "num_labels": _labels(document, what)}, first, kind)


def _labels(document: Mapping[str, Any], what: str) -> int:
    named = document.get("id2label")
    count = len(named) if isinstance(named, dict) and named else document.get("num_labels", 2)
    if type(count) is not int or not 1 <= count <= MOST_CLASSES:
        raise UserError(f"{what} tells of no number of classes from 1 to {MOST_CLASSES:,}; mend its num_labels.")
    return count


def _check_values(document: Mapping[str, Any], what: str) -> None:
    """Refuses what would run code, fetch another network or take any memory."""
    open_: list[tuple[Any, int]] = [(document, 1)]
    count = 0
    while open_:
        value, depth = open_.pop()
        count += 1
        if depth > DEEPEST or count > MOST_VALUES:
            raise UserError(f"{what} holds more than the configuration of a network does; give another folder.")
        if isinstance(value, dict):
            _check_keys(value, what)
            open_ += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            open_ += [(each, depth + 1) for each in value]
        elif isinstance(value, int) and abs(value) > MOST:
            raise UserError(f"{what} has the number {str(value)[:20]}, and no network is of such a size; mend it.")


def _check_keys(document: Mapping[str, Any], what: str) -> None:
    for key in OF_CODE:
        if document.get(key):
            raise UserError(
                f"{what} is of a network that is built by code of its own ({key}), and dnal runs none of a folder; "
                "build it yourself and give it as package.module:function."
            )
    if document.get("quantization_config"):
        raise UserError(f"{what} is of a network whose weights are quantized; give the one that it was made of.")
    for key in OF_OTHERS:
        if document.get(key):
            raise UserError(f"{what} is built on another network ({key}), which is not read; give that one.")
