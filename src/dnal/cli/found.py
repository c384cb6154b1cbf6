"""`--model` where it is a folder: the network of a finished run (found, grown, with fewer channels), or one of Hugging
Face, by the name that tells what it is made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.base.errors import UserError, one_line
from dnal.base.names import possible

HUGGING_FACE = "hf/"
TOKENIZER = "tokenizer.json"

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
    "pretrained" ones are asked for. The same with the configuration of a place of Hugging Face: a run keeps what its
    network is made of.

    Raises:
        UserError: as :func:`config_of`.
    """
    from dnal.run.files import MODEL

    name = values.get("model")
    if isinstance(name, str) and name.startswith(HUGGING_FACE):
        return _with_told(values, name)
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
    if name.startswith(HUGGING_FACE):
        return _told(name), sizes, classes
    config = config_of(name)
    if config is None:
        return name, sizes, classes
    return config.model, sizes or config.input, classes or config.classes


def _told(name: str) -> str:
    from dnal import models

    return models.name_of(models.configuration_of(name).document)


def _with_told(values: dict[str, Any], name: str) -> dict[str, Any]:
    from dnal import models

    pretrained = values.get("weights") == "pretrained"
    if pretrained and models.is_written_out(name):
        raise UserError("a configuration has no weights; give --weights hf/FOLDER, or leave --weights away.")
    told = models.configuration_of(name)
    found = {**values, "model": models.name_of(told.document), **({"weights": name} if pretrained else {})}
    data = values.get("data")
    if told.kind == "text" and isinstance(data, str) and not models.is_written_out(name):
        found["data"] = _in_tokens(data, name, needed=pretrained)
    return found


def _in_tokens(data: str, name: str, *, needed: bool) -> str:
    """The data, cut into the tokens of a place unless others are asked for.

    Raises:
        UserError: it has none, and they are ``needed``: weights know texts by their own tokens.
    """
    from dnal.data.others import without_options
    from dnal.models.huggingface.place import Place

    _, told = without_options(data)
    if "tokens=" in told:
        return data
    place = Place.of(name)
    file = place.file(TOKENIZER)
    if file is None:
        if needed:
            raise UserError(
                f"'{place.name}' has no {TOKENIZER}, by whose tokens its weights know texts; write it there with "
                f"save_pretrained of its tokenizer, or say which tokens to take, such as --data {data}:tokens=words."
            )
        return data
    path = file if place.folder is None else place.folder / TOKENIZER
    return f"{data}{',' if told else ':'}tokens={path}"


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
