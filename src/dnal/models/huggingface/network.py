"""A network of transformers from its configuration, and with the weights of a place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from dnal.base.errors import UserError, lacks_memory, one_line, reason_of
from dnal.data.kind import Sizes
from dnal.models.huggingface.configuration import Configuration, configuration_of, configured
from dnal.models.huggingface.place import Place, library
from dnal.models.huggingface.tensors import tensors_of

MOST_MODULES = 2**13
MOST_BYTES = 2**35
"""Of a network that a configuration alone asks for."""


def create_huggingface(
    name: str, *, classes: int | None, input_shape: Sizes | None, pretrained: bool = False
) -> nn.Module:
    """The network of a name: images (N, C, H, W), or numbers of tokens and their mask by name -> a mapping with
    ``logits`` (N, classes).

    Args:
        name: ``hf/FOLDER``, ``hf/NAME`` on the Hub, or ``hf/{...}``, its configuration.
        classes, input_shape: as for :func:`dnal.models.create`. pretrained: with the weights of the place.

    Raises:
        UserError: a configuration or weights that cannot be read, or are of a network that dnal does not build.
    """
    if pretrained:
        return with_weights(name, name, classes=classes, input_shape=input_shape)[0]
    configuration = configuration_of(name)
    return _built(configuration, configured(configuration, classes, input_shape))


def with_weights(name: str, place: str, *, classes: int | None, input_shape: Sizes | None) -> tuple[nn.Module, bool]:
    """The network of a name with the weights of a place, and whether its head is fresh: those weights are for other
    classes, or for another task.

    Args:
        name: as for :func:`create_huggingface`. place: ``hf/FOLDER`` or ``hf/NAME``.

    Raises:
        UserError: as there; or tensors that are missing, damaged or of another network.
    """
    configuration = configuration_of(name)
    config = configured(configuration, classes, input_shape)
    source = Place.of(place)
    needed = _check_bounded(configuration, config)
    tensors = tensors_of(source, needed)
    found, report = _loaded(configuration, config, tensors, source)
    fresh = _check_loaded(found, report, source)
    return found.train(), fresh


def _built(configuration: Configuration, config: Any) -> nn.Module:
    if not torch.empty(0).is_meta:
        _check_bounded(configuration, config)
    return made(configuration, config)


def made(configuration: Configuration, config: Any) -> nn.Module:
    """The network of a configuration, on the device of the moment.

    Raises:
        UserError: its family builds none of it, or one of too many modules.
    """
    kind = getattr(library(), configuration.architecture)
    try:
        with _few_modules():
            network: nn.Module = kind._from_config(config)
    except UserError:
        raise
    except Exception as error:  # of each family's own
        if lacks_memory(error):
            raise
        raise _unbuilt(configuration, error) from error
    return network


def _check_bounded(configuration: Configuration, config: Any) -> int:
    """The bytes of a network, which are counted without taking any.

    Raises:
        UserError: more than a configuration may ask for.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = made(configuration, config)
    needed = sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()])
    if needed > MOST_BYTES:
        raise UserError(
            f"{configuration.architecture} of this configuration takes {needed:,} bytes, more than the "
            f"{MOST_BYTES:,} that one may ask for; make it smaller."
        )
    return needed


def _loaded(
    configuration: Configuration, config: Any, tensors: dict[str, Tensor], source: Place
) -> tuple[nn.Module, dict[str, Any]]:
    """By transformers' own loading, which knows how tensors were called before; it is given tensors, and no path."""
    kind = getattr(library(), configuration.architecture)
    try:
        with _quiet():
            network, report = kind.from_pretrained(
                None, config=config, state_dict=tensors, ignore_mismatched_sizes=True, output_loading_info=True,
                dtype=torch.float32, use_safetensors=True,
            )  # fmt: skip
    except Exception as error:
        if lacks_memory(error):
            raise
        raise UserError(
            f"the weights of '{one_line(source.name, 80)}' cannot be given to {configuration.architecture} "
            f"({reason_of(error, 160)}); give another folder."
        ) from None
    return network, report


def _check_loaded(network: Any, report: dict[str, Any], source: Place) -> bool:
    """Whether the head is fresh.

    Raises:
        UserError: what the network is built on differs, naming the first tensor.
    """
    body = f"{network.base_model_prefix}."
    other = {name: (was, now) for name, was, now in report["mismatched_keys"]}
    what = f"the weights of '{one_line(source.name, 80)}'"
    for name, (was, now) in sorted(other.items()):
        if name.startswith(body):
            raise UserError(
                f"{what} are of another network: tensor '{name}' has shape {tuple(was)}, and {tuple(now)} by "
                "config.json and --input; leave --input away, or start without --weights."
            )
    # A body that was trained without a classifier has no pooling layer for one.
    lacking = sorted(name for name in report["missing_keys"] if name.startswith(body) and "pooler" not in name)
    if lacking:
        raise UserError(f"{what} are not whole: they lack tensor '{lacking[0]}'; give another folder.")
    strange = sorted(name for name in report["unexpected_keys"] if name.startswith(body))
    if strange:
        raise UserError(
            f"{what} have a tensor '{strange[0]}', which the network of config.json has not; give another folder."
        )
    return bool(other or report["missing_keys"])


@contextmanager
def _few_modules() -> Iterator[None]:
    """No more modules are made than a network has: a number of layers takes no memory, and any time."""
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > MOST_MODULES:
            raise UserError(f"the configuration asks for more than {MOST_MODULES:,} modules; ask for fewer layers.")

    handle = register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers reports on what it loads; :func:`_check_loaded` says what matters."""
    logging = library().utils.logging
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _unbuilt(configuration: Configuration, error: Exception) -> UserError:
    return UserError(
        f"transformers builds no {configuration.architecture} of this configuration ({reason_of(error, 160)}); "
        "mend config.json, or ask for another --input."
    )
