"""Measuring a network on held-out data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError, described
from dnal.space.surgery.running import call, in_eval, modes_kept
from dnal.train.batch import as_given, split
from dnal.train.loader import Loader
from dnal.train.outputs import logits_of
from dnal.train.rows import device_of, has_nan, is_finite, to_device

Metric = Callable[[nn.Module, Loader], float]


Validate = Callable[[nn.Module], dict[str, float]]
"""Measures a network for the log: what it says by its name."""
TAKEN = {"phase", "epoch", "epochs", "loss", "lr", "seconds", "macs", "params", "memory", "latency_ms"}
"""Names of other figures, which no metric can have beside them."""

MOST_CLASSES = 1000
"""A matrix of more classes is neither small nor looked at."""
IGNORED = -100
"""The target that cross entropy leaves out by default, and so does the accuracy."""


def name_of(metric: Metric) -> str:
    """What a metric is called: "accuracy", the name of its function, or "metric" where it has none of its own."""
    name = getattr(metric, "__name__", type(metric).__name__)
    return name if name.isidentifier() and name not in TAKEN else "metric"


def measured(metric: Metric, network: nn.Module, loader: Loader, data: str = "given") -> float:
    """What a metric says of a network, which goes on as before: the mode of each module, its device and which
    parameters are trained are restored, whatever a user's metric does to them; ``data``: what it loads, for a message.

    Raises:
        UserError: it says no number, NaN or an infinity.
    """
    trained = {parameter: parameter.requires_grad for parameter in network.parameters()}
    device = next((p.device for p in network.parameters()), None)
    try:
        with modes_kept(network):
            value: Any = accuracy(network, loader, data) if metric is accuracy else metric(network, as_given(loader))
    finally:
        for parameter, own in trained.items():
            parameter.requires_grad_(own)
        if device is not None:
            network.to(device)
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"the metric must return one number, higher is better, not {described(value)}.") from None
    if not math.isfinite(number):
        for nth, batch in enumerate(loader, start=1):
            check_finite(split(batch)[0], nth, data)
        raise UserError(f"the metric gave {number} on the {data} data; it must return a number, higher is better.")
    return number


def accuracy(network: nn.Module, loader: Loader, data: str = "given") -> float:
    """Top-1 accuracy, 0 to 1, in eval mode; the network's mode is restored. Targets of ``IGNORED`` do not
    count.

    Outputs: logits (N, classes), or (N, classes, ...) for dense predictions, or a mapping with ``logits``
    (:func:`dnal.train.outputs.logits_of`); targets: class numbers (N, ...).

    ``data``: what the loader loads, for a message.

    Raises:
        UserError: as :func:`check_classified`, or there are inputs that are not finite and of which the network makes
            NaN.
    """
    return _classified(network, loader, data, most=0)[0]


def accuracy_and_confusion(
    network: nn.Module, loader: Loader, data: str = "given", also: Callable[[Any, Any], None] | None = None
) -> tuple[float, Tensor | None]:
    """:func:`accuracy`, and from the same pass how often each class (row) was taken for each (column), int64 (classes,
    classes) on the CPU; None for more than ``MOST_CLASSES`` classes, or without data. ``also``: gets the outputs and
    targets of every batch."""
    return _classified(network, loader, data, MOST_CLASSES, also)


def check_classified(outputs: Any, targets: Any) -> None:
    """Refuses what top-1 accuracy says nothing of: anything but logits (N, classes, ...) and class numbers (N, ...).

    Raises:
        UserError: asking for a metric.
    """
    if not (
        _logits(outputs)
        and isinstance(targets, Tensor)
        and not (targets.is_floating_point() or targets.is_complex())
        and targets.shape == outputs.shape[:1] + outputs.shape[2:]
    ):
        raise UserError(
            f"top-1 accuracy, the default metric, is of logits (N, classes, ...) and class numbers (N, ...), not of "
            f"{described(outputs)} and {described(targets)}; give a metric: a function of network and loader that "
            "returns a number, higher is better."
        )
    classes = outputs.shape[1]
    strange = strange_target(targets, classes)
    if strange is not None:
        raise UserError(
            f"a target is {strange}, where the network tells the classes 0 to {classes - 1} apart and "
            f"{IGNORED} is left out; give it as many outputs as there are classes, or a metric that knows such targets."
        )


def strange_target(targets: Tensor, classes: int, ignored: int = IGNORED) -> int | None:
    """The first of class numbers (N, ...) that is neither from 0 to ``classes`` - 1 nor ``ignored``."""
    numbers = targets.long()  # unsigned ones would take IGNORED for another number
    if not numbers.numel() or (int(numbers.min()) >= 0 and int(numbers.max()) < classes):
        return None
    strange = numbers[(numbers != ignored) & ((numbers < 0) | (numbers >= classes))]
    return int(strange[0]) if strange.numel() else None


def _logits(outputs: Any) -> bool:
    return isinstance(outputs, Tensor) and outputs.is_floating_point() and outputs.dim() > 1 and outputs.shape[1] > 1


def _classified(
    network: nn.Module, loader: Loader, data: str, most: int, also: Callable[[Any, Any], None] | None = None
) -> tuple[float, Tensor | None]:
    # Imported here: it takes seconds, and a run is read without it.
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

    meter: Any = None
    matrix: Any = None

    def update(output: Tensor, target: Tensor) -> None:
        nonlocal meter, matrix
        output = logits_of(output)
        check_classified(output, target)
        if also is not None:
            also(output, target)
        classes, target = output.shape[1], target.long()
        how: dict[str, Any] = {"ignore_index": IGNORED, "sync_on_compute": False, "validate_args": False}
        if meter is None:
            meter = MulticlassAccuracy(num_classes=classes, average="micro", **how).to(output.device)
        meter.update(output, target)
        if classes <= most:
            if matrix is None:
                matrix = MulticlassConfusionMatrix(num_classes=classes, **how).to(output.device)
            matrix.update(output, target)

    over_batches(network, loader, update, data)
    return (
        float(meter.compute()) if meter is not None else float("nan"),
        matrix.compute().cpu() if matrix is not None else None,
    )


def r2(network: nn.Module, loader: Loader) -> float:
    """The share of the targets' variance that a network explains, 1 at best, over all columns together; in eval mode,
    the network's mode is restored. 0 where the targets do not vary."""
    missed, total, squares, rows = 0.0, None, 0.0, 0

    def update(outputs: Tensor, targets: Tensor) -> None:
        nonlocal missed, total, squares, rows
        targets = targets.double()
        missed += float((logits_of(outputs).double() - targets).square().sum())
        summed = targets.sum(0)
        total = summed if total is None else total + summed
        squares += float(targets.square().sum())
        rows += len(targets)

    over_batches(network, loader, update)
    if total is None:
        return float("nan")
    variance = squares - float(total.square().sum()) / rows
    return 1 - missed / variance if variance > 0 else 0.0


def log_likelihood(network: nn.Module, loader: Loader) -> float:
    """The mean over all targets of the logarithm of the probability that a network gives them, 0 at best; in eval mode,
    the network's mode is restored. Targets of ``IGNORED`` do not count. Its perplexity is :func:`perplexity_of` it.

    Outputs: logits (N, classes, ...), or a mapping with ``logits``; targets: class numbers (N, ...), such as the token
    after each token of a text.
    """
    total, count = 0.0, 0

    def update(outputs: Any, targets: Tensor) -> None:
        nonlocal total, count
        found, counts = log_likelihoods(outputs, targets)
        total, count = total + float(found.sum()), count + int(counts.sum())

    over_batches(network, loader, update)
    return total / count if count else float("nan")


def log_likelihoods(outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each example the sum over its targets that count of the logarithm of their probability, and how many there
    are, both (N,)."""
    targets = targets.long()
    missed = F.cross_entropy(logits_of(outputs).float(), targets, reduction="none", ignore_index=IGNORED)
    return -missed.double().flatten(1).sum(1), (targets != IGNORED).flatten(1).sum(1)


def perplexity_of(log_likelihood: float) -> float:
    """Among how many tokens that are all as likely a network is as undecided: e to the power of minus the mean
    log-likelihood of a token; infinite where no number holds it.

    Examples:
        >>> import math
        >>> from dnal.train.evaluate import perplexity_of
        >>> round(perplexity_of(math.log(1 / 257)))
        257
    """
    try:
        return math.exp(-log_likelihood)
    except OverflowError:
        return math.inf


def check_finite(inputs: Any, number: int, data: str) -> None:
    """Refuses inputs of a batch that hold NaN or an infinity.

    Raises:
        UserError: naming the data and the number of the batch.
    """
    if not is_finite(inputs):
        raise UserError(
            f"the inputs of the {data} data have NaN or infinite values, first in batch {number}; remove or mend them."
        )


def over_batches(network: nn.Module, loader: Loader, update: Callable[[Any, Any], None], data: str = "given") -> None:
    """Calls ``update(output, target)`` for every batch, in eval mode and without gradients.

    Raises:
        UserError: of inputs that are not finite the network made NaN; it names the ``data``.
    """
    device = device_of(network)
    with in_eval(network), torch.inference_mode():
        for number, batch in enumerate(loader, start=1):
            inputs, targets = to_device(split(batch), device)
            output = call(network, inputs)
            if has_nan(output):
                check_finite(inputs, number, data)
            update(output, targets)
