"""`--model RUN`: the network of a finished run, by a name that tells it: found, grown, or with fewer channels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.base.errors import UserError, one_line
from dnal.base.names import possible

if TYPE_CHECKING:
    from dnal.data.kind import Sizes
    from dnal.run.config import Config


def config_of(name: str) -> Config | None:
    """What the finished run is of whose folder has this name, with a model that is its network; None where it is no
    such folder, or the name of a model, which a folder beside it may have too.

    The folder may be anybody's: its network is no larger than its tensors tell of, and no code of its own is run.

    Raises:
        UserError: a run that is not finished, a search that names no list of layers, or a network that no name tells.
    """
    from dnal.run.config import read_config
    from dnal.run.files import CONFIG, RESULT
    from dnal.run.searched import is_search

    folder = _folder(name)
    if folder is None or _is_model(name):
        return None
    if is_search(folder):
        if not os.path.lexists(folder / RESULT):
            raise UserError(f"the search in '{name}' is not finished; the same `dnal search` goes on with it.")
        from dnal import models
        from dnal.run.believed import check_believed

        config = read_config(folder)
        if not models.is_genome(config.model):  # it might be code, or a download
            raise UserError(
                f"the search in '{name}' says that it found '{one_line(config.model, 80)}', which is no list of "
                "layers as `dnal search` writes it; give a name of `dnal models`, or the folder of another search."
            )
        check_believed(config, [folder], (), "give that name as --model if it is meant")
        return config
    return _of_run(folder) if os.path.lexists(folder / CONFIG) else None


def _of_run(folder: Path) -> Config:
    """The same of a run that changed a network which has a name: that name, with the sizes that its layers have now."""
    from dnal import models
    from dnal.run.config import read_config
    from dnal.run.loading import load

    config = read_config(folder)
    asked: dict[str, Any] = {"classes": config.classes, "input_shape": config.input, "kind": config.kind}
    return config.model_copy(update={"model": models.sized_name(load(folder), config.model, **asked)})


def with_found(values: dict[str, Any]) -> dict[str, Any]:
    """The given options of a job, with the network of a run in the place of its folder, and its weights where
    "pretrained" ones are asked for.

    Raises:
        UserError: as :func:`config_of`.
    """
    from dnal.run.files import MODEL

    name = values.get("model")
    config = config_of(name) if isinstance(name, str) else None
    if config is None:
        return values
    weights = {"weights": str(Path(str(name)) / MODEL)} if values.get("weights") == "pretrained" else {}
    return {**values, "model": config.model, **weights}


def alone(name: str, sizes: Sizes | None, classes: int | None) -> tuple[str, Sizes | None, int | None]:
    """Name, input and classes of a model for commands that take no data: what was given, or what a run's are.

    Raises:
        UserError: as :func:`config_of`.
    """
    config = config_of(name)
    if config is None:
        return name, sizes, classes
    return config.model, sizes or config.input, classes or config.classes


def _folder(name: str) -> Path | None:
    try:
        path = possible(name, "path of the model")
        return path if path.is_dir() else None
    except (UserError, OSError):
        return None


def _is_model(name: str) -> bool:
    from dnal import models

    base = models.base_of(name)
    return models.is_genome(base) or base in models.own_names() or base in models.brought_names()
