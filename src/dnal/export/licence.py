"""Under which licence the base of a compact network stands, as far as its source says."""

from __future__ import annotations

from dnal import models

TORCHVISION, TIMM = "torchvision/", "timm/"


def licences_of(model: str, weights: str | None) -> dict[str, str]:
    """SPDX names, or a sentence where the source names none.

    Args:
        model: a name as for :func:`dnal.models.create`.
        weights: with which it started: None (trained from scratch), "pretrained", or a file.

    Returns:
        "licence" of the architecture's code, and "weights_licence" if the base started from trained weights.
    """
    found = {"licence": _of_code(models.base_of(model))}
    if weights is not None:
        found["weights_licence"] = _of_weights(model) if weights == "pretrained" else "unknown"
    return found


def _of_code(model: str) -> str:
    if model in models.own_names() or models.is_genome(model) or model.startswith(TIMM):
        return "Apache-2.0"
    return "BSD-3-Clause" if model.startswith(TORCHVISION) else "unknown"


def _of_weights(model: str) -> str:
    if model.startswith(TORCHVISION):
        return "unknown; torchvision's weights have terms of their own"
    if model.startswith(TIMM):
        from timm.models import get_pretrained_cfg

        config = get_pretrained_cfg(model.removeprefix(TIMM))
        return str(getattr(config, "license", None) or "unknown")
    return "unknown"
