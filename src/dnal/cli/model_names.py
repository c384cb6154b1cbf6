"""The names of all models, read where they are registered: a list waits for no package of models, nor for torch."""

from __future__ import annotations

import re
from collections.abc import Callable

from dnal.base.decorated import decorated
from dnal.base.place import brought, folder_of

_OWN = re.compile(r'"([^"]+)"')
_KIND = re.compile(r'\bkind="(\w+)"')


def model_names() -> dict[str, str | None]:
    """The names of :func:`dnal.models.names`, in its order, each with the kind of its data; None where it is not known.

    Where the files of a package are none that can be read so, it is asked itself, which takes seconds.
    """
    own, torchvision, timm = _own(), _torchvision(), _timm()
    if own is None or torchvision is None or timm is None:
        from dnal import models

        return {name: models.kind_of(name) for name in models.names()}
    others: dict[str, str | None] = {name: None for name in brought("model") if name not in own}
    images = [*(f"torchvision/{name}" for name in torchvision), *(f"timm/{name}" for name in timm)]
    return {**dict(sorted(own.items())), **others, **dict.fromkeys(images, "images")}


def _own() -> dict[str, str | None] | None:
    """Name and kind of dnal's own models."""
    package = folder_of("dnal")
    found = None if package is None else decorated(sorted((package / "models").rglob("*.py")), "register")
    if found is None:
        return None
    names = {}
    for _, inside in found:
        name, kind = _OWN.match(inside), _KIND.search(inside)
        if name is None:
            return None
        names[name[1]] = kind[1] if kind else "images"
    return names


def _torchvision() -> list[str] | None:
    """Names of torchvision's classification models, which stand in the folder itself."""
    return _registered("torchvision", sorted)


def _timm() -> list[str] | None:
    """Names of timm's models, in its order: by the numbers in them."""
    return _registered("timm", lambda names: sorted(names, key=_natural))


def _registered(package: str, ordered: Callable[[list[str]], list[str]]) -> list[str] | None:
    """Names of functions that a package registers as its models, without arguments."""
    folder = folder_of(package)
    if folder is None or not (folder / "models").is_dir():
        return None
    found = decorated(sorted((folder / "models").glob("*.py")), "register_model")
    if not found or any(inside.strip() for _, inside in found):  # another name than the function's
        return None
    return ordered(list(dict.fromkeys(name for name, _ in found)))


def _natural(name: str) -> list[int | str]:
    """Texts and numbers in turn, which so are compared with their like."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name.lower())]
