"""Reading a finished run: its network and its figures. The folder may be anybody's.

Loading imports and runs nothing that the folder names, opens no file outside it, and takes no more memory than the
file of tensors has bytes for: the network is built without memory, cut, and held against the tensors' shapes first.
A list of shapes has no tensors: the network of one takes what its lines tell of, and only when all of them fit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnal import models
from dnal.base.errors import UserError, one_line
from dnal.base.names import possible
from dnal.base.reading import REMEDY, ordinary, plain_json, text_of
from dnal.base.version import VERSION
from dnal.changes import Change
from dnal.run.change import change_file, check_grown, read_change
from dnal.run.config import Config, read_config, read_yaml
from dnal.run.files import ARCHITECTURE, BASE, CONFIG, MANIFEST, MODEL, RESULT
from dnal.run.limits import LARGEST, SPARE_TEXT, TIMES_TEXT
from dnal.run.manifest import verify
from dnal.run.older import result_of
from dnal.run.shape import Model, Shape, built, cut, numbers_of, read_shape
from dnal.run.trust import check_trust, going_on
from dnal.space.surgery.bake import plain
from dnal.space.surgery.remove import Kept, removed
from dnal.techniques import TECHNIQUES
from dnal.train.technique import PHASES, Technique

SPARE = 2**26
"""Bytes that loading may take in any case for values that no file holds (position tables), and ..."""
TIMES = 4
"""... for each byte of model.safetensors, or of the tensors that a list of shapes tells of."""
SPARE_BASE = 2**30
"""The same for the network before removal, which is counted without memory."""
LEAST_DIMENSION = 1024
"""So many classes or channels are believed of any run."""
LONGEST = 600


def load(run: str | Path, *, network: nn.Module | None = None, trust: Sequence[str] = ()) -> nn.Module:
    """The compact network of a finished run, in eval mode, on the CPU. Needs no trace and no data.

    The network is created by its name, loses the channels that architecture.json closes, and gets the tensors of
    model.safetensors. The folder needs config.yaml, architecture.json, model.safetensors and manifest.json, and may be
    anybody's: nothing that it names is imported or run, and nothing outside it is read.

    Args:
        run: the folder; or a list of shapes (``dnal.run.shape``), such as the folder's shape.txt: then the network is
            built from that alone, with new weights, as it would be created, in train mode.
        network: the original network, before removal; it is left as it is. By default it is created by its name.
        trust: packages or modules whose functions may be called where the run's model is ``package.module:function``.

    Raises:
        UserError: no folder, no run, an unfinished one, damaged files or such that do not fit each other (naming the
            first tensor), or a model whose code is not trusted.
    """
    path = possible(run, "path of the run")
    try:
        return _of_shapes(path, network, trust) if path.is_file() else _loaded(path, network, trust)
    except UserError as error:
        raise UserError(one_line(str(error), LONGEST)) from error


def load_base(run: str | Path, *, trust: Sequence[str] = ()) -> nn.Module:
    """The network of a run before removal, as the first phase left it, in eval mode, on the CPU.

    The folder needs config.yaml, model.safetensors and base.safetensors, and may be anybody's, as for :func:`load`. No
    manifest seals the base: whoever uses it measures it, and holds what comes out against result.json.

    Args:
        run: the folder. trust: as for :func:`load`.

    Raises:
        UserError: as :func:`load`; or the run has no base.safetensors, since an older version wrote it, or one that is
            larger than that of a network from which model.safetensors was made.
    """
    path = possible(run, "path of the run")
    try:
        config = read_config(path)
        if not os.path.lexists(path / BASE):
            raise UserError(
                f"the run '{path}' has no {BASE}, which older versions did not write; run `dnal learn --like {path}` "
                "for one that has."
            )
        # Its size tells below what may be loaded: so it is held against a file that is sealed, as where it is counted.
        ordinary(path / BASE, SPARE_BASE + TIMES * ordinary(path / MODEL))
        check_trust(config.model, trust, otherwise="")
        network = _base(config, path, BASE)
        models.load_weights(network, path / BASE, remedy=REMEDY)
        return network.cpu().eval()
    except UserError as error:
        raise UserError(one_line(str(error), LONGEST)) from error


def load_initial(run: str | Path, *, trust: Sequence[str] = ()) -> nn.Module:
    """The network of a run before its first step, in eval mode, on the CPU: made again from the run's seed, since no
    file holds it.

    Args:
        run: the folder. trust: as for :func:`load`.

    Raises:
        UserError: as :func:`load_base`; or it began with other weights than those that the seed draws, or may have: it
            was trained before, torch or dnal have other versions now, or a technique drew or scaled its weights.
    """
    path = possible(run, "path of the run")
    try:
        config = read_config(path)
        more = config.model_extra or {}
        if config.weights is not None or more.get("base_is_trained"):
            raise UserError("it began with trained weights, which its folder does not hold.")
        if (config.torch, config.dnal) != (torch.__version__, VERSION):
            raise UserError(
                f"it was made by torch {config.torch} and dnal {config.dnal}, by which a seed may draw other weights "
                f"than by torch {torch.__version__} and dnal {VERSION}."
            )
        changing = [one for one in _techniques(more) if _changes_the_start(one)]
        if changing:
            raise UserError(f"the technique '{changing[0]}' may have changed the weights with which it began.")
        check_trust(config.model, trust, otherwise="")
        ordinary(path / BASE, SPARE_BASE + TIMES * ordinary(path / MODEL))
        _base(config, path, BASE)  # refuses a network larger than its file
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return models.create(
                config.model, classes=config.classes, input_shape=config.input, kind=config.kind
            ).eval()
    except UserError as error:
        raise UserError(one_line(str(error), LONGEST)) from error


def _techniques(recorded: Mapping[str, Any]) -> list[str]:
    """Their names, as config.yaml tells them."""
    found = recorded.get("techniques")
    return [str(one.get("name")) for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _changes_the_start(name: str) -> bool:
    """Whether a technique may change the weights with which a base begins; of others' code nothing is imported."""
    if not TECHNIQUES.is_ours(name):
        return True
    kind = TECHNIQUES.of(name)
    return PHASES[0] in kind.phases and (kind.turn < Technique.turn or kind.reparametrises or kind.exchanges_layers)


def read_result(run: str | Path) -> dict[str, Any]:
    """result.json of a finished run.

    Raises:
        UserError: no finished run, or a file that is no result.
    """
    path = Path(run)
    read_config(path)
    check_finished(path, RESULT)
    try:  # a metric may have said NaN
        result = result_of(plain_json(text_of(path / RESULT, LARGEST[RESULT]), finite=False))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        result = None
    if not isinstance(result, dict) or not all(isinstance(result.get(key), dict) for key in ("base", "compact")):
        raise UserError(f"'{path / RESULT}' is no result; run `dnal learn` again.")
    return result


def base_network(run: str | Path, config: Config, *, trust: Sequence[str] = ()) -> nn.Module:
    """The network of a run before removal, for counting: without memory, except for a user's function, and for a
    network that reads its inputs to decide how it computes.

    Raises:
        UserError: as :func:`dnal.models.create`; a model whose code is not trusted, or one that is too large to
            come from such a file.
    """
    check_trust(config.model, trust)
    # The fresh weights are not looked at; the user's random state is not theirs to move.
    with torch.random.fork_rng(devices=[]):
        if models.names_code(config.model):
            return models.create(config.model, classes=config.classes, input_shape=config.input, kind=config.kind)
        network = models.outline(config.model, classes=config.classes, input_shape=config.input, kind=config.kind)
    needed, allowed = models.memory_of(network), SPARE_BASE + TIMES * ordinary(Path(run) / MODEL)
    if needed > allowed:  # counting it takes time
        raise UserError(
            f"the run's model '{config.model}' would take {needed:,} bytes, more than the {allowed:,} that are "
            f"believed of a network from which '{Path(run) / MODEL}' was made; {REMEDY}."
        )
    if models.reads_values(config.model) or config.of_kind.cost_varies:
        with torch.random.fork_rng(devices=[]):
            return models.create(config.model, classes=config.classes, input_shape=config.input, kind=config.kind)
    return network


def check_finished(path: Path, *names: str) -> None:
    """Refuses a run that lacks one of these files.

    Raises:
        UserError: naming the first.
    """
    for name in names:
        if os.path.lexists(path / name):
            continue
        if os.path.lexists(path / RESULT):  # which is written last
            raise UserError(f"the run '{path}' has no {name}, which a finished run has; {REMEDY}.")
        raise UserError(f"the run '{path}' is not finished: it has no {name}; `{going_on(path)}` goes on with it.")


def _loaded(path: Path, network: nn.Module | None, trust: Sequence[str]) -> nn.Module:
    if not os.path.lexists(path / CONFIG):
        read_yaml(path)  # says so
    check_finished(path, change_file(path), MODEL, MANIFEST)
    if change_file(path) == ARCHITECTURE:
        ordinary(path / ARCHITECTURE, SPARE_TEXT + TIMES_TEXT * ordinary(path / MODEL))
    verify(path)
    config = read_config(path)
    if network is None:
        check_trust(config.model, trust)
        network = _base(config, path)
    change = read_change(path)
    change.check(network)
    check_grown(change, network, models.tensor_shapes(path / MODEL), _allowed(path))
    compact = _changed(network, change, _allowed(path))
    models.load_weights(compact, path / MODEL)
    change.check_applied(compact)
    return compact.cpu().eval()


def _of_shapes(path: Path, network: nn.Module | None, trust: Sequence[str]) -> nn.Module:
    shape = read_shape(path)
    if network is None:
        if shape.model is None:
            raise UserError(f"'{path}' names no model; give the network before removal as network=.")
        name, classes, sizes, kind = shape.model
        check_trust(name, trust)
        if not models.names_code(name):
            _check_told(shape, shape.model, path)
        network = models.create(name, classes=classes, input_shape=sizes, kind=kind)
    return built(shape, network)


def _check_told(shape: Shape, model: Model, path: Path) -> None:
    """Refuses shapes of another network, and a network much larger than its shapes tell of, before it takes memory."""
    network = models.outline(model.name, classes=model.classes, input_shape=model.input_shape, kind=model.kind)
    needed = models.memory_of(network)
    _bake(network, shape.plain, SPARE)
    cut(shape._replace(plain=[]), network)
    allowed = SPARE + TIMES * 4 * numbers_of(shape)
    if needed > allowed:
        raise UserError(
            f"'{model.name}' takes {needed:,} bytes, more than the {allowed:,} that shapes such as those in '{path}' "
            "may ask for; build the network yourself and give it as network=."
        )


def _base(config: Config, path: Path, tensors: str = MODEL) -> nn.Module:
    """The network before removal: without memory, except for a user's function, which is trusted by now; ``tensors``:
    the file by which it is believed to be that large."""
    allowed = _allowed(path, tensors)
    largest = max(
        (size for shape in models.tensor_shapes(path / tensors, remedy=REMEDY).values() for size in shape), default=0
    )
    # Classes, and channels or columns of the input, never leave, so they are dimensions of tensors in the file.
    for what, size in {"classes": config.classes, **config.of_kind.kept(config.input)}.items():
        if size > max(largest, LEAST_DIMENSION):
            raise UserError(
                f"'{path / CONFIG}' tells of {size} {what}, but no tensor of {tensors} is as wide; {REMEDY}."
            )
    if models.names_code(config.model):
        with torch.random.fork_rng(devices=[]):
            return models.create(config.model, classes=config.classes, input_shape=config.input, kind=config.kind)
    return models.skeleton(
        config.model, classes=config.classes, input_shape=config.input, kind=config.kind, largest=allowed
    )


def _allowed(path: Path, tensors: str = MODEL) -> int:
    """Bytes that may be taken beside those of the tensors in the file."""
    return SPARE + TIMES * ordinary(path / tensors)


def _changed(network: nn.Module, change: Change, allowed: int) -> nn.Module:
    """The changed network, for the values of a file."""
    kept = None if change.architecture is None else change.architecture.kept
    try:
        if kept is not None and kept.baked and any(tensor.is_meta for tensor in network.parameters()):
            _bake(network, kept.baked, allowed)
            return removed(network, Kept(kept, kept.sizes, (), kept.bypasses))
        return change.outline(network)
    except UserError:
        raise
    except Exception as error:  # a change that no method made may ask anything of the network's modules
        raise UserError(
            f"{change.noun} of the run belongs to another network: its channels cannot be changed in this one "
            f"({type(error).__name__}: {error}); {REMEDY}."
        ) from error


def _bake(network: nn.Module, paths: Sequence[str], allowed: int) -> None:
    """Makes the layers at ``paths`` plain, in place, one after the other: each has memory for that moment only."""
    for path in paths:
        try:
            layer = network.get_submodule(path)
        except AttributeError:
            raise UserError(f"the architecture belongs to another network: no module '{path}'.") from None
        parameters = list(layer.named_parameters(recurse=False))
        needed = sum(parameter.nbytes for _, parameter in parameters)
        if needed > allowed:
            raise UserError(f"making '{path}' a plain layer needs {needed:,} bytes; give the network as network=.")
        for name, parameter in parameters:
            if parameter.is_meta:
                setattr(layer, name, nn.Parameter(torch.randn(parameter.shape)))
        made = plain(layer)
        if made is None:
            raise UserError(f"the architecture belongs to another network: '{path}' cannot be made a plain layer.")
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, made.to("meta"))
