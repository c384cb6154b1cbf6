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

from dnal.base.errors import UserError, described, one_line
from dnal.space.lasting import lasting
from dnal.space.surgery.inputs import Inputs, at_batch, batch_size, cloned, repeated
from dnal.space.surgery.running import call, undisturbed
from dnal.train.batch import GIVE
from dnal.train.evaluate import Metric, accuracy, check_classified
from dnal.train.outputs import is_default, logits_of, own_loss
from dnal.train.phase import Loss
from dnal.train.rows import is_of_examples, of_each
from dnal.train.technique import Technique

logger = logging.getLogger(__name__)

EXAMPLES = 2
"""Batch norm wants more than one, and two are no work for any network."""
SAME = 1e-2
"""How near two losses are, relatively, that are one."""
ASK = "give a loss: a function of outputs and targets that returns a scalar."


def examples(batch: tuple[Inputs, Any]) -> tuple[Inputs, Any]:
    """The first two examples of a batch of inputs (N, ...) and targets; the whole batch, where it is not known which
    of it are theirs (:func:`dnal.train.rows.is_of_examples`)."""
    inputs, targets = batch
    size = batch_size(inputs)
    if not (is_of_examples(inputs, size) and is_of_examples(targets, size)):
        return batch
    if size < EXAMPLES:
        return at_batch(inputs, EXAMPLES), repeated(targets, size, EXAMPLES)
    few = slice(EXAMPLES)
    return cloned((of_each(inputs, size, few), of_each(targets, size, few)))  # type: ignore[return-value]


def outputs(network: nn.Module, inputs: Inputs, *, training: bool) -> Any:
    """What the network answers in training or in eval mode, without gradients."""
    with _aside(inputs), torch.no_grad():
        return call(copy.deepcopy(network).train(training), cloned(inputs))


def check_runs(network: nn.Module, inputs: Inputs, data: str) -> None:
    """Refuses inputs with which the network runs neither in training nor in eval mode.

    Args:
        inputs: of several tensors; on the network's device.

    Raises:
        UserError: naming the data and what the network says.
    """
    failures = []
    for training in (True, False):
        try:
            outputs(network, inputs, training=training)
            return
        except Exception as error:  # whatever the user's own network raises
            failures.append(error)
    said = one_line(f"{type(failures[-1]).__name__}: {failures[-1]}", 200)
    raise UserError(
        f"the network fails on the inputs of the {data} data, {described(inputs)} ({said}): a tuple or list is its "
        f"arguments in their order, a mapping its arguments by name; {GIVE}."
    )


def check(
    network: nn.Module, batch: tuple[Inputs, Any], loss: Loss, metric: Metric, techniques: Sequence[Technique] = ()
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
    default = is_default(loss) and bool(trained)
    if default and own_loss(trained[0]) is None and not isinstance(logits_of(trained[0]), Tensor):
        raise UserError(
            f"cross entropy, the default loss, is of one tensor of logits, not of {described(trained[0])}; {ASK}"
        )
    if metric is accuracy and answered:
        check_accuracy(answered[0], targets)
    if default:
        _check_default_loss(trained[0], examples(batch)[1])
    elif trained:
        _check_own_loss(network, trained[0], examples(batch), loss)
    for technique in techniques:
        for found in (*trained, *answered):
            technique.check(found)
        technique.check_network(network, examples(batch)[0])


def check_accuracy(outputs: Any, targets: Any) -> None:
    """Refuses what top-1 accuracy says nothing of, also sequences whose labels are not those of their own positions: a
    language model, whose loss moves them by one.

    Raises:
        UserError: asking for a metric.
    """
    logits, own = logits_of(outputs), own_loss(outputs)
    check_classified(logits, targets)
    if own is None or logits.dim() < 3:
        return
    here = F.cross_entropy(logits.float(), targets)
    if not torch.isclose(own.float(), here, rtol=SAME):
        raise UserError(
            f"the loss that the network computes itself ({float(own):.4g}) is not the cross entropy of each position's "
            f"logits and label ({float(here):.4g}), so top-1 accuracy, the default metric, may compare them wrongly; "
            "give a metric: a function of network and loader that returns a number, higher is better."
        )


def _check_default_loss(outputs: Any, targets: Any) -> None:
    """Refuses what cross entropy cannot take, or says nothing of: it is zero for a single logit, whatever the target;
    of a network that computes its own loss one that is no scalar.

    Raises:
        UserError: asking for a loss.
    """
    own = own_loss(outputs)
    if own is not None:
        if own.numel() != 1 or not own.is_floating_point():
            raise UserError(f"the network's own loss must be one number, not {described(own)}; {ASK}")
        return
    outputs = logits_of(outputs)
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


def _check_own_loss(network: nn.Module, outputs: Any, batch: tuple[Inputs, Any], loss: Loss) -> None:
    """Refuses a loss that cannot be minimised; warns of parameters that are not trained.

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


def _attempted(network: nn.Module, inputs: Inputs, *, training: bool) -> list[Any]:
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


def step(network: nn.Module, inputs: Inputs, targets: Any, loss: Loss, order: torch.memory_format) -> None:
    """Forward and backward of a training step with the network's weights in this order of memory."""
    with _aside(inputs), torch.enable_grad():
        own, loss = twins(network, loss)
        own = own.to(memory_format=order).train()
        trained = [p for p in own.parameters() if p.requires_grad]
        # and not backward(), which would add to the gradients of whatever else the loss looks at
        torch.autograd.grad(loss(call(own, cloned(inputs)), cloned(targets)), trained, allow_unused=True)


def check_gateable(network: nn.Module, inputs: Inputs) -> None:
    """Refuses a network of which something else than torch.utils.checkpoint runs parts again for the backward pass.

    Raises:
        UserError: naming it.
    """
    with _aside(inputs), torch.enable_grad(), lasting(nullcontext):
        try:
            call(copy.deepcopy(network).train(), cloned(inputs))
        except UserError:
            raise
        except Exception as error:  # whatever the user's own network raises
            logger.debug("the network fails in training mode: %s", error)


def answer(network: nn.Module, inputs: Inputs, order: torch.memory_format) -> None:
    """Forward in eval mode with the network's weights in this order of memory."""
    with _aside(inputs), torch.no_grad():
        call(copy.deepcopy(network).to(memory_format=order).eval(), cloned(inputs))


@contextmanager
def _aside(inputs: Inputs) -> Iterator[None]:
    with undisturbed(inputs), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training says it
        yield
