"""What an analysis found: networks, what became of the examples between base and compact network, and corruptions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from dnal.analyses.attribution import Attribution
from dnal.analyses.calibration import Calibration, calibration_of, confidences
from dnal.analyses.features import Seen
from dnal.analyses.flips import Flips
from dnal.analyses.geometry import Geometry
from dnal.analyses.people import People
from dnal.analyses.routing import Routing
from dnal.base.statistics import Interval
from dnal.data.dataset import Dataset

if TYPE_CHECKING:
    from dnal.analyses.measures.bank import Measured
    from dnal.analyses.measures.of_runs import Ranking

BASE, CLEAN = "base", "clean"


@dataclass(frozen=True)
class Looked:
    """A network and what it made of the test data.

    Attributes:
        name: of the network; run: of its folder; word: "base", or what became of it, such as "compact".
        macs: of one example, as result.json has them; None where it has none.
        confidence: of what it says, (N,).
        routing: of its mixtures of experts; None where it has none. smoothness: the mean of
            :func:`dnal.analyses.smoothness.smoothness_of` over nodes of a graph; None of other data.
        measured: its generalisation measures, where they were asked for and can be taken.
        point: the settings of its run, by which measures are held against each other.
    """

    name: str
    run: str
    word: str
    macs: float | None
    seen: Seen
    geometry: Geometry | None
    confidence: Tensor
    calibration: Calibration
    routing: Routing | None = None
    smoothness: float | None = None
    measured: Measured | None = None
    point: Mapping[str, Hashable] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        run: str,
        seen: Seen,
        geometry: Geometry | None,
        *,
        word: str,
        macs: float | None,
        routing: Routing | None = None,
        smoothness: float | None = None,
        measured: Measured | None = None,
        point: Mapping[str, Hashable] | None = None,
    ) -> Looked:
        confidence = confidences(seen.logits)
        calibration = calibration_of(confidence, seen.correct)
        return cls(
            name, run, word, macs, seen, geometry, confidence, calibration, routing, smoothness, measured, point or {}
        )

    @property
    def gap(self) -> float | None:
        """Its accuracy on the training examples on which it was measured minus that on the test data."""
        return None if self.measured is None else self.measured.accuracy - self.accuracy

    @property
    def base(self) -> bool:
        """Whether it is the network before the change."""
        return self.word == BASE

    @property
    def accuracy(self) -> float:
        return float(self.seen.correct.double().mean())

    @property
    def margins(self) -> Tensor:
        """(N,), in units of its median length, in which networks compare; where it has no geometry, how far the true
        logit is ahead."""
        if self.geometry is not None:
            return self.geometry.margins / self.geometry.scale
        return ahead(self.seen)


@dataclass(frozen=True)
class Pair:
    """A base and what became of it, on the same examples.

    Attributes:
        base, compact: their numbers among the networks.
        accuracy: of the compact network minus that of the base. margin, length, angle: the same of the means of these
            (margins and lengths in units of each network's median length, angles in degrees); None without geometry.
        lowest: the share of the flips in the lowest decile of the base's margins.
    """

    base: int
    compact: int
    flips: Flips
    accuracy: Interval
    margin: Interval | None
    length: Interval | None
    angle: Interval | None
    lowest: float
    attribution: Attribution | None
    people: People | None


class Row(NamedTuple):
    """A network under a corruption, on the images that are corrupted; severity 0 are the images as they are.

    ``share``: of its own accuracy on these images as they are. ``margin`` and ``length`` are medians in units of its
    median length without corruption, ``angle`` in degrees; None without geometry.
    """

    network: int
    corruption: str
    severity: int
    accuracy: float
    share: float
    ece: float
    confidence: float
    margin: float | None
    length: float | None
    angle: float | None


class Apart(NamedTuple):
    """The accuracy of a pair's compact network minus that of its base under a corruption, over the severities."""

    pair: int
    corruption: str
    accuracy: Interval


@dataclass(frozen=True)
class Corrupted:
    """What corruptions do.

    Attributes:
        names: of the corruptions, after "clean". images: how many.
        redundancy: (names, names), as :func:`dnal.analyses.redundancy_of`.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...]
    images: int
    rows: list[Row]
    apart: list[Apart]
    redundancy: Tensor


@dataclass(frozen=True)
class Analysis:
    """What was found.

    Attributes:
        networks: each base once, each compact network. pairs: of them, by run.
        data: whose test part was looked at. kinds: CKA of the last features, rank correlation of the margins, and share
            of equal answers, by name: (networks, networks); those that there are.
        disagreement: of people on each example, (N,), where it was given.
        rankings: of what is "base" and of what became of it, how well each measure ranks them by their gap; of four
            networks or more.
        remarks: a sentence for everything that could not be looked at.
    """

    networks: list[Looked]
    pairs: list[Pair]
    data: Dataset
    likeness: dict[str, Tensor]
    corrupted: Corrupted | None
    disagreement: Tensor | None = None
    remarks: Sequence[str] = field(default_factory=list)
    rankings: Mapping[str, Ranking] = field(default_factory=dict)

    @property
    def targets(self) -> Tensor:
        return self.networks[0].seen.targets

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class."""
        names, number = self.data.class_names, self.networks[0].seen.logits.shape[1]
        return names if len(names) == number else tuple(map(str, range(number)))

    @property
    def single(self) -> bool:
        """Whether each row is an example of the test data, in their order."""
        return self.networks[0].seen.single


def ahead(seen: Seen) -> Tensor:
    """How far the true class's logit is ahead of the best other one, (N,)."""
    own = seen.logits.gather(1, seen.targets[:, None])
    others = seen.logits.scatter(1, seen.targets[:, None], float("-inf"))
    return (own[:, 0] - others.amax(1)).double()
