"""A frozen network that guides another one: how far apart their layers are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.surgery.inputs import Inputs, batch_size
from dnal.space.surgery.running import call, evaluating
from dnal.techniques.guidance.activations import Activations
from dnal.techniques.guidance.similarity import layer_map, linear_cka, rsa

Distance = Literal["cka", "unbiased-cka", "rsa"]
LEAST = 4
"""Examples in a batch that tell how alike two layers are; fewer add nothing to the loss."""
SIMILARITIES = {
    "cka": linear_cka,
    "unbiased-cka": lambda x, y: linear_cka(x, y, unbiased=True),
    "rsa": rsa,
}


class Guide:
    """How far the layers of a network are from those of a frozen guide, for a training loop of your own.

    Layers are convolutions, linear and recurrent layers, attention, layer norms and adaptive pools, in the order in
    which they run; the last one of each network, mostly the logits, is left out, and the others are compared as
    :func:`layer_map` says.

    Args:
        network: that is trained; its modules get hooks until :meth:`close`. Make this before torch.compile or
            DistributedDataParallel wrap it.
        guide: of any other form that takes the same inputs; it runs in eval mode without gradients, and stays as it is.
        distance: 1 minus "cka", "unbiased-cka" or "rsa".

    Raises:
        UserError: one of them has fewer than two such layers.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.techniques.guidance import Guide
        >>> mlp = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        >>> guide, images = Guide(mlp, cnn), torch.randn(16, 1, 8, 8)
        >>> outputs = mlp(images)
        >>> bool(0 <= guide.distance(images) <= 1)  # is added to the loss
        True
        >>> guide.close()

    Source: Subramaniam et al., arXiv 2410.20035.
    """

    def __init__(self, network: nn.Module, guide: nn.Module, distance: Distance = "cka") -> None:
        if distance not in SIMILARITIES:
            raise UserError(f"layers are compared by {', '.join(SIMILARITIES)}, not by '{distance}'.")
        self.guide, self._similarity = guide, SIMILARITIES[distance]
        self._mine = Activations(network, graph=True)
        its = Activations(guide, graph=False)
        its.close()
        for count, who in ((self._mine.count, "the network"), (its.count, "the guide")):
            if count < 2:
                self.close()
                raise UserError(
                    f"guidance compares the layers before the last one, and {who} has {count} in all that can be "
                    "compared (convolutions, linear and recurrent layers, attention, layer norms); leave it out."
                )

    def each(self, inputs: Inputs) -> dict[int, Tensor]:
        """After a forward pass of the network: the distance of each layer that has a partner, by its number.

        Args:
            inputs: what the network was called with, which the guide gets too: N examples along dimension 0. With fewer
                than four there is no distance.

        Raises:
            UserError: the network did not run since the last time, or no layer speaks of examples.
        """
        size = batch_size(inputs)
        mine = self._mine.hidden(size)
        if not mine:
            raise UserError(
                "guidance found no layer of the network that ran before this; call the network on the batch first, in "
                "training and with gradients."
            )
        if size < LEAST:
            return {}
        hooked = Activations(self.guide, graph=False)
        try:
            with evaluating(self.guide):
                call(self.guide, inputs)
            its = hooked.hidden(size)
        finally:
            hooked.close()
        if not its:
            raise UserError(
                "no layer of the guide before the last one says anything of each example; choose another guide."
            )
        pairs = layer_map(len(its), len(mine))
        return {layer: 1 - self._similarity(mine[layer], its[other]) for layer, other in pairs.items()}

    def distance(self, inputs: Inputs) -> Tensor:
        """The sum of :meth:`each`, a scalar."""
        each = self.each(inputs)
        return torch.stack(list(each.values())).sum() if each else torch.zeros(())

    def close(self) -> None:
        """Takes the hooks off the network."""
        self._mine.close()
