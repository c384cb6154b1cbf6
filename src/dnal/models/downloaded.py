"""Weights that other libraries download and keep: those whose bytes they name, and read as weights only."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from dnal.base.errors import UserError

_NAMED_HASH = re.compile(r"-([0-9a-f]{8,64})\.")
"""torch.hub's way: the beginning of the SHA-256 in the name of a file."""
_FORCED, _FORBIDDEN = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_NOT_HERE = (
    "they are not on this machine, and are fetched only on request: by `dnal learn --weights pretrained`, or "
    "dnal.models.create(..., pretrained=True)"
)


@contextmanager
def weights_only() -> Iterator[None]:
    """What is read by torch meanwhile is tensors and plain values: a file of weights is a pickle, and would
    otherwise run whatever it names."""
    before = {name: os.environ.pop(name, None) for name in (_FORCED, _FORBIDDEN)}
    os.environ[_FORCED] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def kept_only() -> Iterator[None]:
    """Pretrained weights that are asked for meanwhile are those on this machine; no other machine is asked.

    Raises:
        UserError: (from what builds the network) they are not here.
    """
    import huggingface_hub.constants as hub
    from timm.models import _hub

    timm_hub: Any = _hub

    def refuse(url: str, *_: object, **__: object) -> None:
        raise UserError(_NOT_HERE)

    # torch.hub and timm call this for what is not here; the Hugging Face Hub asks whether its own is the newest.
    before = (torch.hub.download_url_to_file, timm_hub.download_url_to_file, hub.HF_HUB_OFFLINE)
    torch.hub.download_url_to_file = timm_hub.download_url_to_file = refuse
    hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        torch.hub.download_url_to_file, timm_hub.download_url_to_file, hub.HF_HUB_OFFLINE = before


def check_kept(url: str) -> None:
    """Refuses a file that torch.hub keeps of an address and that is not the one that its name tells: torch.hub looks at
    what it downloads, and not at what is there. A name without a hash tells nothing.

    Raises:
        UserError: naming the file.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    named = _NAMED_HASH.search(file.name)
    if named is None or not file.exists():
        return
    try:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"the weights in '{file}' cannot be read ({error.strerror}); remove the file") from None
    if not found.startswith(named[1]):
        raise UserError(
            f"'{file}' is not the file that was published (its SHA-256 begins with {found[: len(named[1])]}, not with "
            f"{named[1]}); remove it, and it is downloaded again"
        )
