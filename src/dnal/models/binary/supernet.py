"""A supernet of binary MobileNets: one set of weights for every choice of groups."""

from __future__ import annotations

import random
from collections.abc import Sequence

from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.binary.convolution import BinaryConv2d, binary_conv2d
from dnal.models.genomes.binary_mobilenet import build, widths_of
from dnal.models.genomes.genome import Genome


class SlicedConv2d(BinaryConv2d):
    """A binary convolution whose number of groups is chosen at each pass.

    The weight, (C, C / fewest, K, K), is that of the fewest groups. With g groups each filter reads the C / g inputs of
    its group, and takes its first C / g slices; which inputs those are follows from g alone.

    Args:
        channels: of input and output. kernel, stride: as of :class:`BinaryConv2d`. fewest: groups that may be chosen.

    Attributes:
        groups: of the next pass; ``fewest`` at first.
    """

    def __init__(self, channels: int, kernel: int = 3, *, stride: int = 1, fewest: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride=stride, groups=fewest)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight[:, : self.in_channels // self.groups]
        return binary_conv2d(x, weight, stride=self.stride, groups=self.groups)


class Supernet(nn.Module):
    """A binary MobileNet whose blocks share weights among their groups: images (N, C, H, W) -> (N, classes).

    In training mode each pass takes a path that is drawn uniformly (single-path one-shot); in eval mode the one that
    was last selected. The running statistics of its batch norms are those of all paths together and say nothing of one:
    before a path is measured, set ``sampling`` to False, select the path, and compute them again
    (``dnal.train.norm_statistics.renew_statistics``).

    Args:
        genome: of any of its paths; the groups in it are ignored. candidates: the groups that each block may have.
        classes: of the data. input_shape: (C, H, W) of its images. seed: for the paths that are drawn.

    Attributes:
        sampling: whether each pass in training mode draws a path.

    Raises:
        UserError: the genome is no network, or candidates do not divide the channels.

    Source: Phan et al., CVPR 2020, arXiv 2005.06305, phase 1, in words; slices of one weight are our choice.
    """

    def __init__(
        self, genome: Genome, candidates: Sequence[Sequence[int]], *, classes: int, input_shape: Sizes, seed: int = 0
    ) -> None:
        super().__init__()
        self._candidates = [tuple(of) for of in candidates]
        if len(self._candidates) != len(genome) - 1 or not all(self._candidates):
            raise UserError(f"a network of {len(genome) - 1} blocks needs the candidates of as many.")
        widest = genome[:1]
        for layer, of in zip(genome[1:], self._candidates, strict=True):
            for groups in of:
                widths_of((*widest, layer._replace(values=(groups,))))
            widest = (*widest, layer._replace(values=(min(of),)))
        self.network = build(widest, classes=classes, input_shape=input_shape)
        self._convolutions: list[SlicedConv2d] = []
        for number, of in enumerate(self._candidates, 1):
            spatial = self.network.get_submodule(f"block{number}.spatial")
            known = spatial.get_submodule("conv")
            assert isinstance(known, BinaryConv2d)
            sliced = SlicedConv2d(known.in_channels, stride=known.stride, fewest=min(of))
            spatial.conv = sliced
            self._convolutions.append(sliced)
        self.sampling = True
        self._draw = random.Random(seed)

    @property
    def path(self) -> tuple[int, ...]:
        """The groups of each block that the next pass uses, unless it draws others."""
        return tuple(convolution.groups for convolution in self._convolutions)

    def select(self, groups: Sequence[int]) -> None:
        """Sets the groups of each block.

        Raises:
            UserError: groups that are no candidates.
        """
        for convolution, number, of in zip(self._convolutions, groups, self._candidates, strict=True):
            if number not in of:
                raise UserError(f"{number} groups are no candidate; there are {', '.join(map(str, of))}.")
            convolution.groups = number

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.sampling:
            self.select([self._draw.choice(of) for of in self._candidates])
        found: Tensor = self.network(x)
        return found
