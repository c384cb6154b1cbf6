"""The space of binary MobileNets: the groups of each block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dnal.base.options import option
from dnal.data.kind import Sizes
from dnal.models.genomes.binary_mobilenet import FORMS
from dnal.models.genomes.genome import Genome, Layer, Value
from dnal.models.genomes.layers import WIDEST
from dnal.search.spaces.space import END, START, Choose, NetworkSpace

if TYPE_CHECKING:
    from dnal.search.training import Evaluation
    from dnal.settings import Searches


@dataclass(frozen=True)
class BinaryMobileNet(NetworkSpace):
    """Binary MobileNets, in which the 3x3 convolution of each block has its own number of groups.

    As many groups as channels are MobileNet's depthwise convolution, whose sums of 9 bits have only 10 values; fewer
    groups give more values and cost more. At first all networks share the weights of one supernet, which is trained
    with groups drawn at each step; they are compared by it, with batch norm statistics of their own. The best one is
    trained again from new weights. Bound ``bops``: MACs do not tell that products of bits are cheaper.

    Source: H. T. Phan et al., Binarizing MobileNet via evolution-based searching, CVPR 2020, arXiv 2005.06305: groups
    per layer, weights shared by random groups, evolution, training from new weights. No code is published; the
    backbone, the order within a block, the candidates and all constants are ours.
    """

    family: ClassVar[str] = "binary-mobilenet"
    spatial: ClassVar[tuple[str, ...]] = tuple(FORMS)
    pooling: ClassVar[tuple[str, ...]] = ()
    fixed_kinds: ClassVar[bool] = True
    channels_vary: ClassVar[bool] = False

    stem: int = option(16, "Channels of the full-precision convolution at the beginning.", least=1, most=WIDEST)
    stages: tuple[int, ...] = option(
        (2, 2), "Blocks of each stage; the first halves the image and doubles the channels.", least=1, most=100
    )
    groups: tuple[int, ...] = option(
        (1, 2, 4, 8, 16, 32, 64), "Numbers of groups to choose from, if they divide the channels; 1 where none does.",
        least=1, most=WIDEST,
    )  # fmt: skip
    supernet: int = option(
        8, "Epochs of the shared weights; 0: each network is trained by itself.", least=0, most=10_000
    )

    def places(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The kind of each block, and the numbers of groups that it may have."""
        width = self.stem
        for blocks in self.stages:
            for number in range(blocks):
                kind = "block" if number else "down"
                yield kind, tuple(groups for groups in sorted({*self.groups}) if width % groups == 0) or (1,)
                width *= 1 + (kind == "down")

    def values(self, kind: str) -> Mapping[str, Sequence[Value]]:
        return {"channels": (self.stem,)} if kind == "stem" else {"groups": self.groups}

    def next(self, path: Sequence[Layer], most_pools: int) -> dict[str, float]:
        kinds = ["stem", *(kind for kind, _ in self.places()), END]
        return {kinds[len(path)]: 1.0}

    def transitions(self, kind: str) -> Mapping[str, float]:
        """What may follow a kind in any network; :meth:`next` knows what follows a path."""
        return {"stem": 1.0} if kind == START else {"block": 1.0, "down": 1.0, END: 1.0}

    def drawn(self, choose: Choose, sizes: Sizes) -> Genome:
        return (
            Layer("stem", (self.stem,)),
            *(Layer(kind, (choose(f"{n} groups", of),)) for n, (kind, of) in enumerate(self.places(), 1)),
        )

    def closed(self, path: Sequence[Layer]) -> Genome:
        """The network with the groups of the path, or fewer where they do not divide the channels. Blocks behind the
        path's end have the most groups."""
        said = [int(layer.values[0]) for layer in path if layer.kind != "stem"]
        made = [Layer("stem", (self.stem,))]
        for number, (kind, of) in enumerate(self.places()):
            most = said[number] if number < len(said) else of[-1]
            made.append(Layer(kind, (max((groups for groups in of if groups <= most), default=of[0]),)))
        return tuple(made)

    def smallest(self, sizes: Sizes) -> list[Genome]:
        return [self.closed(())]

    def evaluator(self, asked: Searches) -> Callable[[str], Evaluation] | None:
        if not self.supernet:
            return None
        from dnal.search.shared_weights import SharedWeights

        return SharedWeights(asked, self.closed(()), [of for _, of in self.places()], self.supernet)
