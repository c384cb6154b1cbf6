"""Running a user's network on example inputs, so that nothing of it stays behind."""

from __future__ import annotations

import inspect
import io
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule

from dnal.base.errors import UserError, lacks_memory
from dnal.space.copying import deep_copy
from dnal.space.surgery.bake import remedy
from dnal.space.surgery.inputs import Inputs, at_batch, batch_size, cloned
from dnal.space.surgery.tensors import held_tensors

logger = logging.getLogger(__name__)


def call(network: Callable[..., Any], inputs: Inputs) -> Any:
    """Runs the network on example inputs: one tensor, a tuple of positional or a dict of keyword arguments."""
    if isinstance(inputs, Tensor):
        return network(inputs)
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs)


def call_with(network: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs) -> Any:
    """Runs the network with other parameters and buffers by their names, on example inputs; it stays as it is."""
    return call(lambda *given, **named: functional_call(network, dict(tensors), given, named), inputs)


def parameters_of(network: nn.Module) -> list[str]:
    """The names of what a network takes, in their order; none where its code does not tell."""
    try:
        return list(inspect.signature(network.forward).parameters)
    except (TypeError, ValueError):
        return []


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """Whatever is trained or evaluated meanwhile: each module's own mode is restored."""
    modes = {module: module.training for module in network.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def in_eval(network: nn.Module) -> Iterator[None]:
    """The network in eval mode, with gradients as they are; each module's own mode is restored."""
    with modes_kept(network):
        network.eval()
        yield


@contextmanager
def evaluating(network: nn.Module, *, fast_path: bool = False) -> Iterator[None]:
    """The network in eval mode without gradients; each module's own mode is restored afterwards. ``fast_path``: as the
    user runs it; otherwise without torch's fused attention, one operation that no rule could look into."""
    modes = {module: module.training for module in network.modules()}
    if any(modes.values()):
        network.eval()
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled and fast_path)
    try:
        with torch.no_grad(), quiet(network):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
        if any(modes.values()):
            network.train(modes[network])  # some exchange their code, such as torchvision's feature extractors
        for module, mode in modes.items():
            if module.training != mode:
                module.training = mode


@contextmanager
def quiet(network: nn.Module) -> Iterator[None]:
    """A graph of torch.fx prints what it raises, which may be meant to be tried only."""
    graphs = any(isinstance(module, GraphModule) for module in network.modules())
    with redirect_stderr(io.StringIO()) if graphs else nullcontext():
        yield


def runs_in_training(network: nn.Module, inputs: Inputs, *, gradients: bool = False) -> Exception | None:
    """What a forward pass in training mode raises, and with ``gradients`` a backward pass, of a network that may be
    changed by it; None if it runs."""
    torch.manual_seed(1)
    if batch_size(inputs) == 1:  # batch norm over one position refuses a single example
        inputs = at_batch(inputs, 2)
    try:
        with torch.set_grad_enabled(gradients), quiet(network):
            outputs = call(network.train(), cloned(inputs))
            sums = [out.float().sum() for out in held_tensors(outputs) if out.requires_grad] if gradients else []
            if sums:
                torch.stack(sums).sum().backward()
    except Exception as error:  # whatever the user's own network raises
        if lacks_memory(error):
            raise
        logger.debug("a network fails in training mode: %s", error)
        return error
    return None


@contextmanager
def undisturbed(inputs: Inputs) -> Iterator[None]:
    """Restores the global random state (Python's, NumPy's, torch's) afterwards, and leaves a surrounding autocast or
    inference mode: they would hide weights behind their casts and views behind nothing at all."""
    devices = sorted({t.device.index for t in held_tensors(inputs) if t.is_cuda})
    kinds = {"cpu", *(t.device.type for t in held_tensors(inputs))}
    with torch.random.fork_rng(devices), torch.inference_mode(False), ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        for kind in sorted(kinds):
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def comparable(inputs: Inputs) -> Iterator[None]:
    """:func:`undisturbed`, with convolutions and matrix products of single precision in all its digits: those of CUDA
    have ten bits by default (TF32), and their rounding would pass for a wrong removal."""
    with undisturbed(inputs), _single_precision():
        yield


@contextmanager
def _single_precision() -> Iterator[None]:
    backends: Any = torch.backends
    switches: list[tuple[Any, str, Any]]
    if hasattr(backends.cudnn, "conv"):  # PyTorch 2.9; its older switches refuse to be read where both are mixed
        places = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
        switches = [(own, "fp32_precision", "ieee") for own in places]
    else:
        switches = [(own, "allow_tf32", False) for own in (backends.cudnn, backends.cuda.matmul)]
    before = [getattr(own, name) for own, name, _ in switches]
    for own, name, value in switches:
        setattr(own, name, value)
    try:
        yield
    finally:
        for (own, name, _), value in zip(switches, before, strict=True):
            setattr(own, name, value)


def check_changeable(network: nn.Module) -> None:
    """Refuses networks of which no smaller copy can be made, or not yet.

    Raises:
        UserError: on wrappers, compiled, scripted and exported modules and lazy parameters, saying what to pass.
    """
    for module in network.modules():
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            raise UserError(f"unwrap the network first: pass the .module of the {type(module).__name__}.")
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError("TorchScript networks cannot be changed; pass the network from before torch.jit.")
        if isinstance(module, GraphModule) and "eval" in vars(module):
            raise UserError(
                "what torch.export returns has neither training nor eval mode; pass the network from before it, and "
                "export the one that comes out."
            )
        if isinstance(getattr(module, "_orig_mod", None), nn.Module):  # asking for its class would import the compiler
            raise UserError(
                "what torch.compile returns runs code made for the sizes it has; pass the network from before it, and "
                "compile the one that comes out."
            )
    for name, parameter in network.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise UserError(f"'{name}' has no shape yet; run the network once on example inputs first.")


def copied(network: nn.Module) -> nn.Module:
    """A deep copy to run and change in the network's stead.

    Raises:
        UserError: as :func:`check_changeable`, and where the copy fails.
    """
    check_changeable(network)
    try:
        return deep_copy(network)
    except Exception as error:  # whatever the user's own objects raise
        if lacks_memory(error):
            raise
        for path, module in network.named_modules():
            held = [name for name, x in vars(module).items() if isinstance(x, Tensor) and not x.is_leaf]
            call = remedy(module) if held else None  # in the place of a parameter, with a gradient
            if call is not None:
                raise UserError(
                    f"the network cannot be copied as long as '{path}' computes its {held[0]}; call {call} first, for "
                    "every layer that does."
                ) from error
        raise UserError(f"the network cannot be copied (copy.deepcopy: {error}).") from error
