"""Two examples run through copies of a network before anything is trained: the network, its statistics, everything
random and what a loss remembers stay as they were."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError, described
from dnal.space.lasting import lasting
from dnal.space.surgery.inputs import at_batch, batch_size, cloned
from dnal.space.surgery.running import undisturbed
from dnal.train.evaluate import Metric, accuracy, check_classified
from dnal.train.phase import Loss
from dnal.train.rows import is_of_examples, of_each
from dnal.train.technique import Technique

logger = logging.getLogger(__name__)

EXAMPLES = 2
"""Batch norm wants more than one, and two are no work for any network."""
ASK = "give a loss: a function of outputs and targets that returns a scalar."


def examples(batch: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
    """The first two examples of a batch of inputs (N, ...) and targets; the whole batch, where it is not known which
    targets are theirs (:func:`dnal.train.rows.is_of_examples`)."""
    inputs, targets = batch
    size = batch_size(inputs)
    if not is_of_examples(targets, size):
        return batch
    if size < EXAMPLES:
        return at_batch(batch, EXAMPLES)  # type: ignore[return-value]
    few = slice(EXAMPLES)
    return cloned((of_each(inputs, size, few), of_each(targets, size, few)))  # type: ignore[return-value]


def outputs(network: nn.Module, inputs: Tensor, *, training: bool) -> Any:
    """What the network answers in training or in eval mode, without gradients."""
    with _aside(inputs), torch.no_grad():
        return copy.deepcopy(network).train(training)(cloned(inputs))


def check(
    network: nn.Module, batch: tuple[Tensor, Any], loss: Loss, metric: Metric, techniques: Sequence[Technique] = ()
) -> None:
    """Refuses outputs and targets that the default loss, the default metric or a technique cannot take, and a loss
    that returns no scalar. What the network or an own loss raises is no matter of theirs, and is left to the training.

    Args:
        batch: inputs (N, ...) and targets, on the network's device.

    Raises:
        UserError: with what to give instead.
    """
    inputs, targets = batch
    trained = _attempted(network, examples(batch)[0], training=True)
    answered = _attempted(network, inputs, training=False)
    default = loss is F.cross_entropy and bool(trained)
    if default and not isinstance(trained[0], Tensor):
        raise UserError(
            f"cross entropy, the default loss, is of one tensor of logits, not of {described(trained[0])}; {ASK}"
        )
    if metric is accuracy and answered:
        check_classified(answered[0], targets)
    if default:
        _check_default_loss(trained[0], examples(batch)[1])
    elif trained:
        _check_own_loss(network, trained[0], examples(batch), loss)
    for technique in techniques:
        for found in (*trained, *answered):
            technique.check(found)


def _check_default_loss(outputs: Tensor, targets: Any) -> None:
    """Refuses what cross entropy cannot take, or says nothing of: it is zero for a single logit, whatever the target.

    Raises:
        UserError: asking for a loss.
    """
    both = f"{described(outputs)} and {described(targets)}"
    if outputs.dim() < 2 or outputs.shape[1] < 2:
        raise UserError(f"cross entropy, the default loss, is of logits (N, classes, ...), not of {both}; {ASK}")
    single, given = outputs.float().cpu(), targets  # a class that there is not would end all work on a GPU
    if isinstance(targets, Tensor):
        given = targets.float().cpu() if targets.is_floating_point() else targets.cpu()
    try:
        F.cross_entropy(single, given)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"cross entropy, the default loss, cannot take {both} ({why}); give class numbers as int64; or {ASK}"
        ) from None


def _check_own_loss(network: nn.Module, outputs: Any, batch: tuple[Tensor, Any], loss: Loss) -> None:
    """Refuses a loss that cannot be minimised; warns of parameters that nobody trains.

    Raises:
        UserError: it returns no scalar tensor, or is a class.
    """
    if isinstance(loss, type):
        raise UserError(f"the loss is a class; give an instance of it, such as {loss.__name__}().")
    inputs, targets = batch
    try:
        with _aside(inputs), torch.no_grad():
            _, asked = twins(network, loss)
            value: Any = asked(cloned(outputs), cloned(targets))
    except Exception:  # whatever the user's own loss raises
        return
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise UserError(
            f"the loss must return one number as a tensor, not {described(value)}: average over the examples."
        )
    if isinstance(loss, nn.Module):
        within = {id(parameter) for parameter in network.parameters()}
        if any(p.requires_grad and id(p) not in within for p in loss.parameters()):
            warnings.warn(
                "the loss has parameters, and learn trains those of the network only: make them part of the network.",
                stacklevel=3,
            )


def _attempted(network: nn.Module, inputs: Tensor, *, training: bool) -> list[Any]:
    """The outputs, or nothing where the network raises."""
    try:
        return [outputs(network, inputs, training=training)]
    except Exception:  # whatever the user's own network raises
        return []


def twins(network: nn.Module, loss: Loss) -> tuple[nn.Module, Loss]:
    """Copies of both, made together: a loss may look at the network. A loss that cannot be copied is asked itself."""
    try:
        return copy.deepcopy((network, loss))
    except Exception:  # whatever the user's own objects raise
        return copy.deepcopy(network), loss


def step(network: nn.Module, inputs: Tensor, targets: Any, loss: Loss, order: torch.memory_format) -> None:
    """Forward and backward of a training step with the network's weights in this order of memory."""
    with _aside(inputs), torch.enable_grad():
        own, loss = twins(network, loss)
        own = own.to(memory_format=order).train()
        trained = [p for p in own.parameters() if p.requires_grad]
        # and not backward(), which would add to the gradients of whatever else the loss looks at
        torch.autograd.grad(loss(own(cloned(inputs)), cloned(targets)), trained, allow_unused=True)


def check_gateable(network: nn.Module, inputs: Tensor) -> None:
    """Refuses a network of which something else than torch.utils.checkpoint runs parts again for the backward pass.

    Raises:
        UserError: naming it.
    """
    with _aside(inputs), torch.enable_grad(), lasting(nullcontext):
        try:
            copy.deepcopy(network).train()(cloned(inputs))
        except UserError:
            raise
        except Exception as error:  # whatever the user's own network raises
            logger.debug("the network fails in training mode: %s", error)


def answer(network: nn.Module, inputs: Tensor, order: torch.memory_format) -> None:
    """Forward in eval mode with the network's weights in this order of memory."""
    with _aside(inputs), torch.no_grad():
        copy.deepcopy(network).to(memory_format=order).eval()(cloned(inputs))


@contextmanager
def _aside(inputs: Tensor) -> Iterator[None]:
    with undisturbed(inputs), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training says it
        yield
