"""Whose code may run for a folder that may be anybody's: that of the packages which the user trusts, and no other.

Names of installed things (own, torchvision's, timm's, entry points) are safe; ``package.module:NAME`` is code.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dnal import data as dnal_data
from dnal import models
from dnal.base.errors import UserError, one_line
from dnal.base.registry import Registry
from dnal.methods import METHODS
from dnal.models.huggingface.names import PREFIX
from dnal.run.config import read_yaml
from dnal.run.files import runs_in
from dnal.techniques import TECHNIQUES


def check_trust(model: str, trust: Sequence[str], *, otherwise: str = ", or give the network as network=") -> None:
    """Refuses a model that names code which is not trusted.

    Args:
        model: its name, as a folder has it.
        trust: packages and modules whose functions may be called.
        otherwise: what else can be done, for the sentence.

    Raises:
        UserError: with what to say where it is trusted.
    """
    _check_packages(trust)
    if models.names_code(model):
        _check("model", model, trust, otherwise)
    if models.is_huggingface(model) and not models.is_written_out(model):
        raise UserError(
            f"the run's model '{one_line(model, 80)}' is a place outside of the run, and not the configuration that a "
            f"run keeps ({PREFIX}{{...}}){otherwise or '; give another one with --model'}."
        )


def check_data(data: str, trust: Sequence[str], *, otherwise: str = "") -> None:
    """The same for the name of data, where it is that of a function.

    Raises:
        UserError: as :func:`check_trust`.
    """
    _check_packages(trust)
    if dnal_data.names_code(data):
        _check("data", data, trust, otherwise)


def check_thing(registry: Registry[Any], given: Mapping[str, Any], trust: Sequence[str]) -> None:
    """The same for a method or technique, whose options and ``name`` a folder has.

    Raises:
        UserError: as :func:`check_trust`.
    """
    _check_packages(trust)
    if registry.names_code(given.get("name")):
        _check(registry.kind, str(given["name"]), trust, "")


def trusting(names: Iterable[str]) -> list[str]:
    """What a command on a run has to say so that it runs the code of these names (those of :func:`code_in`)."""
    modules = dict.fromkeys(name.partition(":")[0].partition(".")[0] for name in names if _importable(name))
    return [word for module in modules for word in ("--trust", module)]


def code_in(settings: Mapping[str, Any]) -> list[str]:
    """The names of code among model, data, methods and techniques of a config.yaml, which may be anybody's."""
    techniques, against = settings.get("techniques"), settings.get("against")
    listed = techniques if isinstance(techniques, list | tuple) else []
    others = against if isinstance(against, list | tuple) else []
    things: list[tuple[Registry[Any], Any]] = [(METHODS, settings.get("method"))]
    things += [(METHODS, METHODS.name_in(each)) for each in others if isinstance(each, str)]
    things += [(TECHNIQUES, each) for each in listed]
    names = [(registry, each.get("name") if isinstance(each, Mapping) else each) for registry, each in things]
    found = [str(name) for registry, name in names if registry.names_code(name)]
    model, data = settings.get("model"), settings.get("data")
    if isinstance(data, str) and dnal_data.names_code(data):
        found.insert(0, data)
    if isinstance(model, str) and models.names_code(model):
        found.insert(0, model)
    return found


def going_on(run: Path) -> str:
    """The command that goes on with a run, or with the runs of a trade-off in their folder."""
    names: list[str] = []
    for folder in runs_in(run):
        with suppress(UserError):  # the command itself says what is wrong
            document = read_yaml(folder)
            names += code_in(document) if isinstance(document, Mapping) else []
    return shlex.join(["dnal", "resume", str(run), *trusting(names)])


def _check(kind: str, name: str, trust: Sequence[str], otherwise: str) -> None:
    if not _importable(name):
        remedy = "build it yourself and give it as network=" if kind == "model" else "give another one yourself"
        raise UserError(f"the run's {kind} '{name}' is no registry's; {remedy}.")
    module = name.partition(":")[0]
    if not any(module == package or module.startswith(f"{package}.") for package in trust):
        package = module.partition(".")[0]
        raise UserError(
            f"the run's {kind} '{name}' is code that would be run; add --trust {package} (trust=('{package}',)) if you "
            f"know who wrote it{otherwise}."
        )


def _check_packages(trust: Sequence[str]) -> None:
    if isinstance(trust, str):
        raise UserError(f"trust is a tuple of packages, such as trust=('{trust}',).")


def _importable(name: str) -> bool:
    return all(part.isidentifier() for part in name.partition(":")[0].split("."))
