"""Names of such networks: ``hf/FOLDER`` and ``hf/NAME`` say where a configuration is, ``hf/{...}`` is one."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from dnal.base.errors import UserError, one_line
from dnal.base.reading import LONGEST

PREFIX = "hf/"


def is_huggingface(name: str) -> bool:
    """Whether a name is of a network of transformers, or of a place where its files are."""
    return name.startswith(PREFIX)


def is_written_out(name: str) -> bool:
    """Whether a name is the configuration itself, so that nothing has to be read to build the network."""
    return name.startswith(PREFIX + "{")


def name_of(document: Mapping[str, Any]) -> str:
    """The name that tells a configuration, without spaces.

    Raises:
        UserError: it would be longer than a name may be.

    Examples:
        >>> name_of({"model_type": "vit", "hidden_act": "gelu"})
        'hf/{"hidden_act":"gelu","model_type":"vit"}'
    """
    # Spaces are in texts only, where an escape says the same.
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).replace(" ", "\\u0020")
    if len(PREFIX + text) > LONGEST:
        raise UserError(
            f"the configuration has {len(text):,} characters beside its labels, more than the {LONGEST:,} that a run "
            "can keep; leave out of config.json what the network does not need."
        )
    return PREFIX + text


def called(name: str) -> str:
    """A name of any model as it is shown: of a configuration the class that it is for, and a checksum of it.

    Examples:
        >>> called('hf/{"architectures":["ViTForImageClassification"],"model_type":"vit"}')
        'hf/ViTForImageClassification-867d9f64'
        >>> called("cifar/resnet20")
        'cifar/resnet20'
    """
    if not is_written_out(name):
        return name
    checksum = f"{zlib.crc32(name.encode()):08x}"
    try:
        return f"{PREFIX}{one_line(str(json.loads(name.removeprefix(PREFIX))['architectures'][0]), 60)}-{checksum}"
    except (ValueError, RecursionError, LookupError, TypeError):  # of anybody's
        return f"{PREFIX}{checksum}"
