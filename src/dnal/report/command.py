"""The commands that make a run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from dnal.report.source import Source

VALUES = {
    "model": "--model",
    "weights": "--weights",
    "data": "--data",
    "root": "--root",
    "classes": "--classes",
    "budget": "--budget",
    "method": "--method",
    "init": "--init",
    "recipe": "--recipe",
    "lambda": "--lambda",
    "least": "--least",
    "multiple": "--multiple",
    "deploy_batch": "--deploy-batch",
    "backend": "--backend",
    "lr": "--lr",
    "batch_size": "--batch-size",
    "limit_train": "--limit-train",
    "precision": "--precision",
    "seed": "--seed",
}
"""Keys of config.yaml and the options of `dnal learn` that say the same; what is null there is left out here."""
FLAGS = {"depth": "--depth", "distil": "--distil"}
PATTERNS = {"include": "--include", "exclude": "--exclude"}


def learn_command(source: Source) -> str:
    """What to type to make the run anew from nothing, with everything said that was decided."""
    settings = source.settings
    arguments = ["dnal", "learn"]
    for key, option in VALUES.items():
        if settings.get(key) is not None:
            arguments += [option, _word(settings[key])]
    arguments += ["--input", ",".join(map(str, source.config.input))]
    arguments += _epochs(settings)
    for key, option in FLAGS.items():
        if isinstance(settings.get(key), bool):
            arguments.append(option if settings[key] else f"--no-{option.removeprefix('--')}")
    for key, option in PATTERNS.items():
        for pattern in getattr(source.config, key):
            arguments += [option, pattern]
    threads = settings.get("threads")
    # Sums over several threads are not the same numbers.
    start = f"OMP_NUM_THREADS={threads} " if type(threads) is int else ""
    return start + _one_line(shlex.join(arguments))


def like_command(source: Source) -> str:
    """What to type where the run's folder is at hand: it repeats what timing decided too."""
    threads = source.settings.get("threads")
    start = f"OMP_NUM_THREADS={threads} " if type(threads) is int else ""
    return start + _one_line(shlex.join(["dnal", "learn", "--like", str(source.folder)]))


def remarks(source: Source) -> list[str]:
    """What the long command does not say."""
    settings = source.settings
    found = []
    if any(constraint.cost == "latency" for constraint in source.result.constraints):
        found.append("The long command times the layers anew; the short one takes the run's own latency model.")
    if settings.get("steps") == "alternating" or settings.get("memory_format") == "contiguous":
        found.append(
            "The steps or the order of memory of this run have no option; only the short command repeats them."
        )
    if settings.get("device") == "cuda":
        found.append("On a GPU some sums come in another order every time, so that the last digits may differ.")
    return found


def versions(source: Source) -> list[tuple[str, str]]:
    """Software and machine, as far as the run wrote them down."""
    settings = source.settings
    shown = {
        "dnal": source.config.dnal,
        "torch": source.config.torch,
        "device": settings.get("device"),
        "processes": settings.get("processes"),
        "threads": settings.get("threads"),
        "precision": settings.get("precision"),
        "order of memory": settings.get("memory_format"),
        "seed": source.config.seed,
        "SHA-256 of the data": source.config.data_sha256,
    }
    return [(name, str(value)) for name, value in shown.items() if value is not None]


def _epochs(settings: Mapping[str, Any]) -> list[str]:
    """--epochs wants three numbers of 1 or more. Those of a base that was trained already are not looked at, and those
    of a method that trains nothing belong to the third phase."""
    epochs = settings.get("epochs")
    if not isinstance(epochs, list) or len(epochs) != 3 or not all(type(n) is int for n in epochs):
        return []
    first, second, third = epochs
    if second == 0 and third > 1:
        second, third = 1, third - 1
    return ["--epochs", ",".join(str(max(1, n)) for n in (first, second, third))]


def _word(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
