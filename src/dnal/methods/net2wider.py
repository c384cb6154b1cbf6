"""Net2Wider: layers become wider, and the network computes what it computed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.changes.growth import Growth
from dnal.methods.method import Method
from dnal.methods.task import Task
from dnal.space.space import Group, Space

NAMED = 3
"""So many groups are named where there are many."""


@dataclass(frozen=True)
class Net2Wider(Method):
    """Makes layers wider, so that the network still computes the same, and trains it on.

    Channels are copied, batch norm and all, and the weights that read a channel share its weight out among the copies:
    w -> w * s with shares s that add up to 1. --include and --exclude say which layers grow. A group whose growth would
    change what the network computes, because its code counts channels in a way of its own, stays as it is, with a
    warning. Takes no budget: a network that grows keeps none. Trains nothing itself.

    Source: Net2WiderNet, Chen et al., arXiv 1511.05641, section 2.3.1. There all copies have equal shares and noise is
    added to the weights, since copies with equal shares learn the same for ever. Here the shares differ, which does the
    same without a change of the function (``spread``); with spread=0 they are those of the paper, without noise.
    """

    needs_budget: ClassVar[bool] = False
    takes_budget: ClassVar[bool] = False
    prunes_blocks: ClassVar[bool] = False
    techniques: ClassVar[tuple[str, ...]] = ()

    factor: float = option(2.0, "How many times as wide each group becomes.", above=1, most=64)
    spread: float = option(0.5, "By how much the shares of copies differ; 0: not at all.", least=0, below=1)

    def check(self, network: nn.Module, space: Space) -> None:
        self.growth(network, space, 0)

    def choose(self, task: Task) -> Growth:
        return self.growth(task.network, task.space, task.seed)

    def growth(self, network: nn.Module, space: Space, seed: int) -> Growth:
        """The growth of all groups that can grow; ``seed``: of which channels are copied once more, and of the shares.

        Raises:
            UserError: none can, or the factor adds no channel to any.
        """
        if int(self.copies(space, space.groups, seed).max()) == 1:
            raise UserError(f"a factor of {self.factor:g} adds no channel to any group of this network; raise it.")
        draw = torch.Generator().manual_seed(seed)
        portions = 1 + self.spread * (2 * torch.rand(space.num_variables, int(self.factor) + 1, generator=draw) - 1)

        def grown(groups: Sequence[Group]) -> Growth:
            return Growth.of(space, self.copies(space, groups, seed), portions)

        whole = grown(space.groups)
        if whole.preserves(network):
            return whole
        able = [group for group in space.groups if grown([group]).preserves(network)]
        names = [group.name for group in space.groups if all(group is not one for one in able)]
        if not able or not (some := grown(able)).preserves(network):
            raise UserError(
                "no layer of this network can grow without a change of what it computes: its code counts channels in a "
                "way of its own; --include layers that it does not count."
            )
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        warnings.warn(
            f"net2wider leaves {len(names)} of {len(space.groups)} groups as they are, since growing them would change "
            f"what the network computes: {', '.join(names[:NAMED])}{more}.",
            stacklevel=2,
        )
        return some

    def copies(self, space: Space, groups: Sequence[Group], seed: int) -> Tensor:
        """How often each variable is there where these groups grow, int64 (num_variables,): as evenly as it goes, and
        which is there once more is drawn."""
        draw = torch.Generator().manual_seed(seed)
        found = torch.ones(space.num_variables, dtype=torch.long)
        for group in groups:
            each, more = divmod(round(self.factor * group.width), group.width)
            found[group.variables] = each
            found[group.variables[torch.randperm(group.width, generator=draw)[:more]]] += 1
        return found
