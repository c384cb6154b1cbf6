"""The networks of `coverage_people.txt`, as people have them: built from configurations or small code of our own, with
random weights. Nothing is downloaded."""

from __future__ import annotations

import importlib

from people.case import Case, Network

ROOMS = {
    "torchvision": "people.torchvision_timm",
    "timm": "people.torchvision_timm",
    "transformers": "people.hugging_face",
    "diffusers": "people.diffusion",
    "smp": "people.segmentation_models",
    "restoration": "people.restoration",
    "audio": "people.audio",
    "graph": "people.graph_modules",
    "lightning": "people.lightning_modules",
    "recurrent": "people.recurrent",
    "own": "people.small_ones",
}
"""Which file builds the names that start so."""

__all__ = ["ROOMS", "Case", "Network", "case"]


def import_all() -> None:
    """Everything that any of them needs, once."""
    for room in dict.fromkeys(ROOMS.values()):
        importlib.import_module(room)


def case(name: str) -> Case:
    """The network of this name with its inputs.

    Raises:
        KeyError: for a name that no file knows.
    """
    return importlib.import_module(ROOMS[name.partition("/")[0]]).NETWORKS[name]()  # type: ignore[no-any-return]
