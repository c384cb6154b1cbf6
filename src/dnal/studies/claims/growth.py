"""Do networks that grow by the neurons their loss misses most reach what a network of the full width reaches?"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from dnal import data
from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.data import Loaders
from dnal.methods.growing import Grown, grow
from dnal.models.vgg import SMALL, VGG, Plan
from dnal.pipeline.learn import learn
from dnal.space.copying import deep_copy
from dnal.space.space import Space, macs
from dnal.studies.check import Check
from dnal.studies.figures import curves, number
from dnal.studies.images import image_loaders
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.studies.training import BATCH, flipped_batches, plain_steps
from dnal.train.evaluate import accuracy
from dnal.train.optimizers import sgd
from dnal.train.schedule import cosine

if TYPE_CHECKING:
    from dnal.report.figure import Figure

TINY, GRADMAX, RANDOM = "tiny", "gradmax", "random-neurons"
GROWN = (TINY, GRADMAX, RANDOM)
FULL, AS_MANY = "full width", "full width, as many MACs"
LEARNT, GROWN_LEARNT = "learnt", "grown, then learnt"
MARGIN = 1.0
"""Points of accuracy; a loss below is taken for none. Chosen before any row was made."""
STEP, FORWARD = 3, 1
"""Forward passes that a step of training costs: its backward pass counts two; and a pass alone."""
RATE, WARMUP = 0.1, 0.05
"""Of the learning rate: its peak, and the share of a round in which it rises."""
USED = 0.99
"""A round has grown enough where so much of what it may cost is used."""


class Stop(NamedTuple):
    """A network at the end of a round, and what came before.

    Attributes:
        samples: images that it was trained on, an image as often as it was seen. passes: MACs of all forward and
            backward passes, of training and of making new neurons. seconds: of all of it.
    """

    network: nn.Module
    accuracy: float
    samples: int
    passes: float
    seconds: float


@dataclass(frozen=True)
class GrownNetworksReachLargeOnes(Study):
    """From a sixteenth of the width, TINY's neurons beat GradMax's and random ones, and reach the full width.

    A small VGG begins with a sixteenth of its channels and grows in rounds to the parameters or MACs of the full one,
    by the same factor in each, with training in between. TINY, GradMax and random neurons grow to the same sizes from
    the same start. Controls: the full width, trained on as many images; the full width, trained for as many MACs as
    TINY took, in one go. At the end dnal learns a smaller architecture within one budget, of TINY's grown network and
    of the full one. MACs count forward and backward passes, those that new neurons need among them; no decomposition of
    a matrix is counted, but its seconds are.
    """

    claim = (
        "Architectures can be adapted on the fly from what backpropagation tells, without a search: networks that grow "
        "from very few neurons match the accuracy of large ones on CIFAR, with competitive training time."
    )
    source = Source(
        "M. Verbockhaven, T. Rudkiewicz, S. Chevallier and G. Charpiat, Growing Tiny Networks: Spotting Expressivity "
        "Bottlenecks and Fixing Them Optimally (TMLR 2024)",
        "2405.19816",
        "The claim is a paraphrase of the abstract; the formulas were read in the authors' library and are checked "
        "in our tests; the paper's experiment (ResNet-18 on CIFAR-100 from 1/4 and 1/64, against GradMax) is recalled.",
    )
    needs = (
        "CIFAR-10, by `dnal data` or as a file (growth:data=cifar10.npz); the tiny size takes scikit-learn's digits."
    )
    differs = (
        "A VGG of six convolutions on images of 16x16 of CIFAR-10 from 1/16, not ResNet-18 on CIFAR-100 from 1/4 "
        "and 1/64; all layers may grow in every round, and a budget says how far; random neurons and equal MACs as "
        "controls; learning after growing is ours."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "images": 96, "side": 8, "channels": 8, "narrower": 4,
                                 "rounds": 1, "epochs": 1, "learning": (1, 1), "samples": 32}),
        small=Size(3, "20 minutes of one core"),
        paper=Size(5, "days", {"images": 45_000, "side": 32, "channels": 64, "narrower": 64, "rounds": 6,
                                "epochs": 20, "learning": (10, 50)}),
    )  # fmt: skip
    data: str = option("cifar10", "A name of `dnal data`, or a file.")
    images: int = option(4000, "For training.", least=20)
    side: int = option(16, "Height and width of the images.", least=8)
    channels: int = option(32, "Of the first layers at full width.", least=4)
    narrower: int = option(16, "So many times fewer channels does a network begin with.", least=2)
    rounds: int = option(4, "Of growth, with training after each.", least=1)
    epochs: int = option(3, "Before the first round and after each.", least=1)
    samples: int = option(512, "Images of which new neurons are made; half as many others say how strong.", least=2)
    budget: float = option(25.0, "Percent of the full width's MACs, for what is learnt in the end.", above=0, below=100)
    learning: tuple[int, int] = option((2, 6), "Epochs of choosing, and of retraining.", least=1)

    def settings(self) -> Sequence[Setting]:
        last = self.rounds
        during: list[Setting] = [{"kind": kind, "round": round} for kind in (*GROWN, FULL) for round in range(last + 1)]
        after: list[Setting] = [{"kind": kind, "round": last} for kind in (AS_MANY, LEARNT, GROWN_LEARNT)]
        return [*during, *after]

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed

    def row(self, seed: int, kind: str, round: int) -> dict[str, Any]:
        if kind in (*GROWN, FULL):
            stop = _course(self, kind, seed)[round]
        elif kind == AS_MANY:
            stop = _as_many(self, seed)
        else:
            stop = _learnt(self, TINY if kind == GROWN_LEARNT else FULL, seed)
        return {
            "accuracy": 100 * stop.accuracy, "params": sum(p.numel() for p in stop.network.parameters()),
            "macs": macs(stop.network, _images(self)[0][:1]), "samples": stop.samples, "train_macs": stop.passes,
            "train_seconds": float(f"{stop.seconds:.2f}"),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        last = max((int(row["round"]) for row in rows), default=0)

        def of(kind: str, round: int, column: str = "accuracy") -> dict[int, float]:
            return {
                int(row["seed"]): number(row, column) for row in rows
                if row["kind"] == kind and int(row["round"]) == round
            }  # fmt: skip

        found = [
            Check(f"tiny beats {kind}, {when}", f"accuracy after round {round}, tiny minus {kind}, points",
                  paired(of(TINY, round), of(kind, round)), above=0.0)
            for round, when in {1: "first round", last: "last round"}.items()
            for kind in (GRADMAX, RANDOM)
        ]  # fmt: skip
        ours, full = of(TINY, last, "train_macs"), of(FULL, last, "train_macs")
        return [
            *found,
            Check("grown, it is within a point of the full width", f"accuracy, tiny minus {FULL}, points",
                  paired(of(TINY, last), of(FULL, last)), above=-MARGIN),
            Check("growing takes fewer MACs of training", f"MACs of training, tiny over {FULL}",
                  mean([value / full[seed] for seed, value in ours.items() if full.get(seed)]), below=1.0),
            Check("growing beats the full width at as many MACs", f"accuracy, tiny minus {AS_MANY}, points",
                  paired(of(TINY, last), of(AS_MANY, last)), above=0.0),
            Check("grown, then learnt, is within a point of learnt", f"accuracy, {GROWN_LEARNT} minus {LEARNT}, points",
                  paired(of(GROWN_LEARNT, last), of(LEARNT, last)), above=-MARGIN),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        own = [{**row, "G": number(row, "train_macs") / 1e9} for row in rows]
        what = ("MACs of all training so far, billions", "accuracy on the test data, %")
        return curves(own, "G", "accuracy", ["kind"], what=what, log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        seed = int(row["seed"])
        better = row["kind"] in (TINY, GROWN_LEARNT) or row["kind"] in (FULL, LEARNT)
        if not holds:
            better = row["kind"] not in (TINY, GROWN_LEARNT)
        few = row["kind"] == TINY
        train_macs = (1.0 + 0.01 * seed) * (1e9 if few == holds else 2e9)
        return {**row, "accuracy": (70.0 if better else 60.0) + 0.1 * (seed % 3), "train_macs": train_macs}


class _Work:
    """What a course has cost so far.

    Attributes:
        passes: MACs of forward and backward passes. samples: images that were trained on.
    """

    def __init__(self) -> None:
        self.passes, self.samples, self._begun = 0.0, 0, time.perf_counter()

    def count(self, network: nn.Module, images: Tensor, passes: int) -> None:
        """Adds so many forward passes of single images, or what costs as much."""
        self.passes += passes * macs(network, images[:1])

    def stop(self, study: GrownNetworksReachLargeOnes, network: nn.Module) -> Stop:
        """What there is now; measuring it takes none of the seconds."""
        seconds = time.perf_counter() - self._begun
        right = accuracy(network, _loaders(study, 0).test)
        self._begun += time.perf_counter() - self._begun - seconds
        return Stop(deep_copy(network).eval(), right, self.samples, self.passes, seconds)


@lru_cache(maxsize=8)
def _course(study: GrownNetworksReachLargeOnes, kind: str, seed: int) -> list[Stop]:
    """A network at the end of each round, from 0: one that grows, or the full one, which is only trained."""
    x, y = _images(study)
    batches, work = flipped_batches(x, y, seed), _Work()
    grown = Grown.of(*_begun(study, seed, full=kind == FULL))
    optimizer, first, limits = sgd(grown.network, RATE), grown.cost(), _limits(study)
    stops = []
    for round in range(study.rounds + 1):
        if round and kind != FULL:
            share = round / study.rounds
            wider = _wider(
                study, grown, kind, {name: cost * (limits[name] / cost) ** share for name, cost in first.items()},
                1009 * seed + round, work,
            )  # fmt: skip
            following = sgd(wider.network, RATE)
            grown.carry(optimizer, wider, following)
            grown, optimizer = wider, following
        _train(grown.network, optimizer, study.epochs * _steps(x), batches, x, work)
        stops.append(work.stop(study, grown.network))
    return stops


def _wider(
    study: GrownNetworksReachLargeOnes, grown: Grown, kind: str, limits: dict[str, float], seed: int, work: _Work
) -> Grown:
    """The network of the next round."""
    x, y = _images(study)
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    at = chosen[: study.samples].split(BATCH), chosen[study.samples : study.samples * 3 // 2].split(BATCH)
    made, searched = ([(x[part], y[part]) for part in parts] for parts in at)
    while max(grown.cost()[name] / limit for name, limit in limits.items()) < USED:
        passes = 0

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            nonlocal passes
            passes += len(targets) * (STEP if outputs.requires_grad else FORWARD)
            return F.cross_entropy(outputs, targets)

        found = grow(grown, made, loss, limits, method=kind, search=searched or made, seed=seed)
        work.count(found.grown.network, x, passes + FORWARD * study.samples)  # the last for new batch norms
        if not found.added:
            break
        grown = found.grown
    return grown


@lru_cache(maxsize=2)
def _as_many(study: GrownNetworksReachLargeOnes, seed: int) -> Stop:
    """The full width, trained once for as many MACs as TINY took."""
    x, y = _images(study)
    network, _ = _begun(study, seed, full=True)
    work, most = _Work(), _course(study, TINY, seed)[-1].passes
    steps = max(1, int(most / (STEP * min(BATCH, len(x)) * macs(network, x[:1]))))
    _train(network, sgd(network, RATE), steps, flipped_batches(x, y, seed), x, work)
    return work.stop(study, network)


@lru_cache(maxsize=4)
def _learnt(study: GrownNetworksReachLargeOnes, kind: str, seed: int) -> Stop:
    """What dnal learns of the network at the end of a course, within a share of the full width's MACs."""
    x, _ = _images(study)
    base, work = _course(study, kind, seed)[-1], _Work()
    choosing, retraining = study.learning
    found = learn(
        base.network, *_loaders(study, seed), budget=f"macs<={int(_limits(study)['macs'] * study.budget / 100)}",
        method="dnal", epochs=(0, choosing, retraining), base_is_trained=True, seed=seed,
    )  # fmt: skip
    # the base teaches, and it is what is trained until channels leave
    work.count(base.network, x, (FORWARD + STEP) * choosing * len(x) + FORWARD * retraining * len(x))
    work.count(found.network, x, STEP * retraining * len(x))
    work.samples = (choosing + retraining) * len(x)
    stop = work.stop(study, found.network)
    return stop._replace(
        samples=stop.samples + base.samples, passes=stop.passes + base.passes, seconds=stop.seconds + base.seconds
    )


def _train(
    network: nn.Module, optimizer: Optimizer, steps: int, batches: Iterator[tuple[Tensor, Tensor]], x: Tensor,
    work: _Work,
) -> None:  # fmt: skip
    """So many steps of SGD, with one cosine."""
    images = steps * min(BATCH, len(x))
    for _ in plain_steps(network, optimizer, (cosine(step / steps, RATE, WARMUP) for step in range(steps)), batches):
        pass
    network.eval()
    work.samples += images
    work.count(network, x, STEP * images)


def _begun(study: GrownNetworksReachLargeOnes, seed: int, *, full: bool) -> tuple[nn.Module, Space]:
    """The network before any training, and its Space."""
    x, _ = _images(study)
    torch.manual_seed(seed)
    network = VGG(_plan(study, full=full), classes=10, in_channels=x.size(1), hidden=None)
    return network, Space.of(network, x[:2])


def _plan(study: GrownNetworksReachLargeOnes, *, full: bool) -> Plan:
    """That of dnal's small VGG at another width."""
    first = study.channels if full else study.channels // study.narrower or 1
    return [step if step == "M" else first * int(step) // int(SMALL[0]) for step in SMALL]


@lru_cache(maxsize=2)
def _limits(study: GrownNetworksReachLargeOnes) -> dict[str, float]:
    """What the full width costs."""
    return Grown.of(*_begun(study, 0, full=True)).cost()


@lru_cache(maxsize=2)
def _images(study: GrownNetworksReachLargeOnes) -> tuple[Tensor, Tensor]:
    """Training images (N, C, H, W), and classes (N,)."""
    channels = 1 if study.data == "digits" else 3
    size = (channels, study.side, study.side)
    train = data.load(study.data, input_shape=size, limit_train=study.images, augment=False).train
    x, y = train.batch(torch.arange(len(train)), 0)
    return x, y


def _steps(x: Tensor) -> int:
    """Of an epoch."""
    return max(1, len(x) // BATCH)


def _loaders(study: GrownNetworksReachLargeOnes, seed: int) -> Loaders:
    return image_loaders(study.data, study.images, study.side, seed)
