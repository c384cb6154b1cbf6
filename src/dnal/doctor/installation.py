"""Which packages are here, held against what dnal's own metadata ask for."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from dnal.base.version import VERSION

PURPOSES = {
    "onnx": "dnal export --to onnx, --backend onnxruntime-cpu",
    "tensorboard": "dnal learn --log-to tensorboard",
    "mlflow": "dnal learn --log-to mlflow",
    "wandb": "dnal learn --log-to wandb",
    "ray": "dnal sweep",
    "hf": "networks in Hugging Face's Trainer",
    "corruptions": "the corruptions of dnal analyse",
    "search": "grids, random search and TPE in studies",
    "baselines": "baselines from outside in dnal bench",
}
"""What an extra is good for. Those for developers are not here."""


def packages() -> list[dict[str, Any]]:
    """Python, dnal and what it cannot do without: name, version (None if missing), needed, fits."""
    needed = [requirement for requirement in _requirements() if _applies(requirement)]
    return [
        {"name": "python", "version": platform.python_version(), "needed": "", "fits": True},
        {"name": "dnal", "version": VERSION, "needed": "", "fits": True},
        *map(_found, needed),
    ]


def extras() -> list[dict[str, Any]]:
    """What may be installed besides: name, what it is good for, present, its packages with their versions, how to
    install it, and, where only a part of it or a version too old is here, the problem (else "")."""
    rows = []
    for name, purpose in PURPOSES.items():
        own = [r for r in _requirements() if not _applies(r) and _applies(r, name)]
        if not own:  # dnal was installed before it had this extra
            continue
        found = [_found(requirement) for requirement in own]
        old = [each for each in found if each["version"] and not each["fits"]]
        rows.append(
            {
                "name": name,
                "for": purpose,
                "present": all(each["fits"] for each in found),
                "packages": {each["name"]: each["version"] for each in found},
                "install": f"pip install 'dnal[{name}]'",
                "problem": f"{old[0]['name']} {old[0]['version']} is too old, not {old[0]['needed']}" if old else "",
            }
        )
    return rows


def _requirements() -> list[Requirement]:
    """Of dnal as it was installed; none where it is used without having been."""
    try:
        return [Requirement(text) for text in metadata.requires("dnal") or []]
    except metadata.PackageNotFoundError:
        return []


def _applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _found(requirement: Requirement) -> dict[str, Any]:
    version = _version(requirement.name)
    return {
        "name": requirement.name,
        "version": version,
        "needed": f"{requirement.name}{requirement.specifier}",
        "fits": version is not None and requirement.specifier.contains(version, prereleases=True),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
