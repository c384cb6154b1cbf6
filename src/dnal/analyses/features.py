"""What a network says of every example of a data set, and the last features by which it says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnal.analyses.geometry import cosines_of, rebuilt
from dnal.base.errors import UserError
from dnal.space.surgery.inputs import Inputs
from dnal.techniques.rich.head import last_linear, reading
from dnal.train.evaluate import IGNORED, check_classified, over_batches
from dnal.train.loader import Loader
from dnal.train.outputs import logits_of

MOST = 2**26
"""Logits that are kept: of more only the first targets are looked at."""
CLOSE = 1e-4
"""How near the logits must come, over their largest size, to those of the last layer."""


@dataclass(frozen=True)
class Head:
    """The last linear layer: its path, weights (C, F) and biases (C,), or None."""

    path: str
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Seen:
    """What a network made of examples, on the CPU.

    Attributes:
        logits: (N, C). targets: (N,). Where an example has several targets, each has a row; those that do not count
            have none.
        features: what the last linear layer read, (N, F), and head: that layer; None where there are none, and why:
            then a sentence.
        single: whether every example has one row, in its order.
        cut: whether there were more than are kept.
    """

    logits: Tensor
    targets: Tensor
    features: Tensor | None
    head: Head | None
    why: str
    single: bool
    cut: bool

    @property
    def predictions(self) -> Tensor:
        """The classes that it says, (N,)."""
        return self.logits.argmax(1)

    @property
    def correct(self) -> Tensor:
        """bool (N,)."""
        return self.predictions == self.targets


def head_of(network: nn.Module, inputs: Inputs) -> Head:
    """The last linear layer of a network, found by the trace of its Space.

    Raises:
        UserError: as :func:`dnal.techniques.rich.last_linear`.
    """
    path = last_linear(network, inputs)
    layer: Any = network.get_submodule(path)
    weight, bias = layer.weight.detach().float().cpu(), layer.bias
    return Head(path, weight, None if bias is None else bias.detach().float().cpu())


def seen_of(network: nn.Module, loader: Loader, inputs: Inputs, data: str = "test") -> Seen:
    """Runs a network over a data set, in eval mode; its mode stays.

    Args:
        loader: batches of inputs and class numbers, in the order of the examples. inputs: to trace it with.
        data: what the loader loads, for a message.

    Raises:
        UserError: outputs that are no logits, or inputs that are not finite.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.analyses import seen_of
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> seen = seen_of(network, [(torch.randn(5, 4), torch.arange(5) % 3)], torch.randn(2, 4))
        >>> seen.logits.shape, seen.features.shape, seen.head.path
        (torch.Size([5, 3]), torch.Size([5, 8]), '2')
    """
    try:
        head = head_of(network, inputs)
        found = run(network, loader, data, head)
    except UserError as error:
        return run(network, loader, data, None, str(error))
    reason = _other(found)
    return found if not reason else Seen(found.logits, found.targets, None, None, reason, found.single, found.cut)


def run(network: nn.Module, loader: Loader, data: str, head: Head | None, why: str = "") -> Seen:
    """:func:`seen_of` with the last layer known, or none, and ``why``."""
    logits, targets, features = list[Tensor](), list[Tensor](), list[Tensor]()
    single, kept, cut = True, 0, False

    def add(read: list[Tensor], outputs: object, wanted: Tensor) -> None:
        nonlocal single, kept, cut
        said = logits_of(outputs)
        check_classified(said, wanted)
        if kept >= MOST:
            cut = True
            return
        rows = said.float().movedim(1, -1).flatten(0, -2).cpu()
        own = wanted.long().flatten().cpu()
        counts = own != IGNORED
        single = single and wanted.dim() == 1 and bool(counts.all())
        kept += int(counts.sum()) * rows.shape[1]
        logits.append(rows[counts])
        targets.append(own[counts])
        if head is not None:
            if len(read[0]) != len(rows):
                raise UserError(f"'{head.path}' reads {len(read[0])} rows of features for {len(rows)} targets.")
            features.append(read[0].detach().float().cpu()[counts])

    if head is None:
        over_batches(network, loader, lambda outputs, wanted: add([], outputs, wanted), data)
    else:
        with reading(network, head.path) as read:
            over_batches(network, loader, lambda outputs, wanted: add(read, outputs, wanted), data)
    if not logits or not sum(map(len, targets)):
        raise UserError(f"the {data} data have no target that counts; there is nothing to analyse.")
    seen = torch.cat(features) if head is not None else None
    return Seen(torch.cat(logits), torch.cat(targets), seen, head, why, single, cut)


def _other(found: Seen) -> str:
    """Why the logits are not those of the last linear layer; "" where they are, up to a number that all classes of an
    example share."""
    assert found.features is not None
    assert found.head is not None
    head, few = found.head, slice(0, 256)
    features = found.features[few].double()
    if head.weight.shape[0] != found.logits.shape[1]:
        numbers = f"{head.weight.shape[0]} numbers for {found.logits.shape[1]} classes"
        return f"the last linear layer '{head.path}' says {numbers}."
    own = rebuilt(cosines_of(features, head.weight.double()), features.norm(dim=1), head.weight.double(), head.bias)
    apart = own - found.logits[few].double()
    apart = apart - apart.mean(1, keepdim=True)
    if float(apart.abs().max()) <= CLOSE * max(1.0, float(own.abs().max())):
        return ""
    return f"what the network says is not what its last linear layer '{head.path}' says, but something made of it."
