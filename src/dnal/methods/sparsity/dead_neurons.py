"""Dead neurons: how many units of the ReLUs give 0, and how many can give nothing else or are not read any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dnal.base.errors import UserError
from dnal.space.space import Space
from dnal.space.surgery.running import call, in_eval
from dnal.train.batch import split
from dnal.train.rows import device_of, to_device

RELUS = ("relu", "relu_")


@dataclass(frozen=True)
class Layer:
    """The units of one ReLU.

    Attributes:
        path: of the module that ran it, "" where the network itself did.
        units: of one example. static: those whose channel is statically dead. dynamic: how many of the others gave 0,
            the mean over examples.
    """

    path: str
    units: int
    static: int
    dynamic: float


@dataclass(frozen=True)
class DeadNeurons:
    """What :func:`dead_neurons` counted; ``layers`` are in the order of the forward pass."""

    layers: tuple[Layer, ...]

    @property
    def static(self) -> float:
        """The share of all units whose channel has no incoming or no outgoing weight left."""
        return sum(layer.static for layer in self.layers) / sum(layer.units for layer in self.layers)

    def dynamic(self, of: Literal["all", "alive"] = "all") -> float:
        """The mean share of the units that are not statically dead and give 0 for an example.

        Args:
            of: what it is a share of: all units, as published, or those that are not statically dead. With the first it
                falls as a network is pruned, for that alone that fewer units are left; with the second that is taken
                out.
        """
        units = sum(layer.units - (layer.static if of == "alive" else 0) for layer in self.layers)
        return sum(layer.dynamic for layer in self.layers) / units if units else 0.0


def dead_neurons(
    network: nn.Module,
    space: Space,
    batches: Iterable[Any],
    masks: Mapping[str, Tensor] | None = None,
    *,
    reduction: Literal["unit", "channel"] = "unit",
) -> DeadNeurons:
    """Counts dead neurons of a network's ReLUs, in eval mode; nothing of it is changed.

    A unit is statically dead where all weights that make its channel, or all that read it, are masked. One that is not
    is dynamically dead for an example for which it gives 0.

    Args:
        space: of this network. batches: pairs (inputs, targets), or mappings, as a loader gives them.
        masks: bool, True where a weight stays, by name; without them nothing is statically dead.
        reduction: "unit": every position of a channel is a unit; "channel": a channel is one, dead where all of its
            positions are 0.

    Raises:
        UserError: the network has no ReLU, no batch was given, or it runs other ReLUs than when its Space was found.

    Source: Liu et al., arXiv 2212.06145; the definition is recalled, not copied: no code of it was published.
    """
    relus = [o for o in space.operations if o.name == "relu"]
    if not relus:
        raise UserError("this network has no ReLU, so no unit of it is dead.")
    gone = statically_dead(space, masks or {})
    channels = [_channels(o.outputs[0].sides, o.outputs[0].shape, gone) for o in relus]
    zeros = [torch.zeros(()).double() for _ in relus]
    units, still, examples = [0] * len(relus), [0] * len(relus), 0
    device = device_of(network)
    with in_eval(network), torch.no_grad():
        for batch in batches:
            seen: list[Tensor] = []
            with _Watch(seen):
                call(network, to_device(split(batch)[0], device))
            if len(seen) != len(relus):
                raise UserError(
                    f"the network ran {len(seen)} ReLUs, and {len(relus)} when its Space was found; find it again."
                )
            examples += len(seen[0])
            for number, (found, dead) in enumerate(zip(seen, channels, strict=True)):
                whole = found.flatten(2).all(2) if reduction == "channel" and found.dim() > 2 else found
                alive = ~dead.view(1, -1, *[1] * (whole.dim() - 2)).to(whole.device)
                zeros[number] += (whole & alive).sum().double().cpu()
                units[number] = whole[0].numel()
                still[number] = int(dead.sum()) * (units[number] // len(dead))
    if not examples:
        raise UserError("dead neurons are counted on examples; give a batch.")
    return DeadNeurons(
        tuple(
            Layer(o.path, all_, static, float(dead) / examples)
            for o, all_, static, dead in zip(relus, units, still, zeros, strict=True)
        )
    )


def statically_dead(space: Space, masks: Mapping[str, Tensor]) -> Tensor:
    """The variables of a Space all of whose incoming, or all of whose outgoing, weights are masked, bool
    (num_variables,)."""
    return _without(space, masks, space.writers) | _without(space, masks, space.readers)


def _without(space: Space, masks: Mapping[str, Tensor], places: Sequence[tuple[str, int]]) -> Tensor:
    """The variables that have weights at these places, and none that is not masked."""
    there = torch.zeros(space.num_variables, dtype=torch.bool)
    left = torch.zeros(space.num_variables, dtype=torch.bool)
    for name, dim in places:
        ids = space.sources[name][dim]
        if ids is None or len(space.shapes[name]) < 2:
            continue
        stays = masks[name].movedim(dim, 0).flatten(1).any(1).cpu() if name in masks else torch.ones(len(ids)).bool()
        there[ids[ids >= 0]] = True
        left[ids[stays & (ids >= 0)]] = True
    return there & ~left


def _channels(sides: Sequence[Tensor | None], shape: Sequence[int], gone: Tensor) -> Tensor:
    """Which channels, the second dimension, of a ReLU's output are of variables that are gone; bool (channels,)."""
    ids = sides[1] if len(sides) > 1 else None
    if ids is None:
        return torch.zeros(shape[1] if len(shape) > 1 else 1, dtype=torch.bool)
    return (ids >= 0) & gone[ids.clamp(min=0)]


class _Watch(TorchDispatchMode):
    """Where ReLUs give 0, in their order."""

    def __init__(self, seen: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in RELUS:
            self._seen.append(out == 0)
        return out
