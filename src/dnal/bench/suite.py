"""What a benchmark runs, as data: networks, shares of the MACs, seeds, methods, and what all of them are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dnal.base.errors import UserError, all_names

Epochs = tuple[int, int, int]
Sizes = tuple[int, ...]

OURS = "dnal"
"""The method that all others are compared with."""
FASTNAS = "fastnas"
BASELINES = (
    "tp-magnitude",
    "tp-magnitude-global",
    "tp-bn-scale-global",
    "tp-group-norm",
    "tp-group-norm-global",
    FASTNAS,
)
"""Baselines from outside (:mod:`dnal.bench.baselines`), which need the extra [baselines]."""


@dataclass(frozen=True)
class Network:
    """A network and its data.

    Attributes:
        name: how rows and files call it. model: as :func:`dnal.models.create` knows it.
        data, input_shape: as :func:`dnal.data.load` takes them, of any kind of data. images: examples for training;
            None means all.
        shares: of the MACs, in percent, the largest first.
        epochs: of the base, of choosing, of retraining: the same sum for every method. batch: examples a step.
        schedule_over: "phase", or "job" for one cosine through all three, except for networks with new weights, which
            have one of their own.
    """

    name: str
    model: str
    data: str
    input_shape: Sizes
    images: int | None
    shares: tuple[float, ...]
    epochs: Epochs
    batch: int
    schedule_over: str = "phase"


@dataclass(frozen=True)
class Entry:
    """A method as a row of the table. Whether the base teaches is not part of it.

    Attributes:
        name: of the row. method: with its options, as ``METHODS.read`` takes it, or one of BASELINES.
        reinitialize: whether what is chosen is retrained from new weights.
        without_base: starts from the network as it was before any training, and trains for the base's epochs too.
        held_out: every step of choosing also takes a batch of the validation data, so that it gets half of the epochs.
        choosing: epochs of choosing as a share of the base's, where it needs fewer than the network gives; it retrains
            the longer.
        repaired: whether the layers that read what leaves are rebuilt before the retraining, by the technique repair.
        looks: epochs that are taken from its retraining for the examples on which something is measured.
    """

    name: str
    method: str
    reinitialize: bool = False
    without_base: bool = False
    held_out: bool = False
    choosing: float | None = None
    repaired: bool = False
    looks: int = 0


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
        rates: the peak learning rates of the retraining that every entry may choose from, on validation data.
        precision: of Lightning Fabric, or auto.
        bisections: steps in which the penalty of the method ``paper`` is found.
        taught: without and with the base as a teacher, or one of both. teacher: the technique by which it teaches.
    """

    name: str
    description: str
    networks: tuple[Network, ...]
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]
    rates: tuple[float, ...] = (0.025, 0.05, 0.1)
    precision: str = "32-true"
    bisections: int = 5
    taught: tuple[bool, ...] = (False, True)
    teacher: str = "distillation"

    def network(self, name: str) -> Network:
        return next(network for network in self.networks if network.name == name)

    def entry(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)


DIGITS = Network("vgg-small", "vgg_small", "digits", (1, 8, 8), None, (5.0,), (6, 3, 6), 64)
VGG = Network("vgg16-quarter", "cifar/vgg16_bn_quarter", "cifar10", (3, 16, 16), 15_000, (25.0, 10.0), (12, 6, 12), 128)
RESNET = Network("resnet20", "cifar/resnet20", "cifar10", (3, 32, 32), 5_000, (25.0, 10.0), (8, 4, 8), 64)
FASHION = Network("vgg-fashion", "vgg_small", "fashion-mnist", (1, 14, 14), 10_000, (25.0, 10.0), (12, 6, 12), 128)

SIMPLE = (
    Entry(OURS, "dnal", choosing=0.1, looks=1),  # as by default in dnal.pipeline.plan
    Entry("uniform", "uniform"),
    Entry("random", "random"),
    Entry("magnitude", "magnitude"),
)
OWN = (
    *SIMPLE,
    Entry("taylor", "taylor"),
    Entry("slimming", "slimming"),
    Entry("scratch", "uniform", reinitialize=True, without_base=True),
    Entry("tas", "tas", reinitialize=True, without_base=True, held_out=True),
    Entry("paper", "paper"),
)
BY_CURVES = (
    Entry("obs", "obs", looks=1),
    Entry("obs-unrepaired", "obs:repair=false", looks=1),
    Entry("magnitude-repaired", "magnitude", repaired=True, looks=1),
    Entry("uniform-repaired", "uniform", repaired=True, looks=1),
)
"""Each that looks at examples pays an epoch for it."""
MORE = (
    Entry("dnal-fresh", "dnal", reinitialize=True, choosing=0.1, looks=1),
    Entry("tas-kept", "tas", held_out=True),
    Entry("magnitude-l2", "magnitude-l2"),
    *BY_CURVES,
    Entry("gates", "dnal:curves_to=none", choosing=0.1),
    Entry("random-search", "random-search", without_base=True),
)
REPAIRED = (
    Entry(OURS, "dnal", looks=1),
    Entry("gates", "dnal:curves_to=none"),
    *BY_CURVES,
    Entry("uniform", "uniform"),
    Entry("magnitude", "magnitude"),
    Entry("taylor", "taylor"),
    Entry("slimming", "slimming"),
    Entry("scratch", "uniform", reinitialize=True, without_base=True),
)
"""For trained bases, and for one schedule over all epochs."""
OF_PAPER = (OURS, "paper", "uniform", "magnitude", "scratch")
OUTSIDE = tuple(Entry(name, name) for name in BASELINES)


def _paper(name: str, shares: tuple[float, ...]) -> Network:
    """A network of arXiv 2103.02126, table of CIFAR-10, at shares of the MACs that stand there."""
    return Network(name.rpartition("/")[2], name, "cifar10", (3, 32, 32), None, shares, (80, 20, 100), 128)


SMALL_VGG = replace(VGG, images=6000, shares=(50.0, 25.0, 10.0), batch=64)
SMALL_RESNET = replace(SMALL_VGG, name="resnet20", model="cifar/resnet20")
TUNED = (SMALL_VGG, SMALL_RESNET)
"""Grounds on which a recipe may be tuned."""


def _like(
    name: str, model: str, data: str, input_shape: Sizes, images: int | None = 5000, least: float = 10
) -> Network:
    """A network of another family, given what the tuned ones are given; ``least``: of its shares."""
    return replace(
        SMALL_VGG, name=name, model=model, data=data, input_shape=input_shape, images=images, shares=(50.0, 25.0, least)
    )


HELD_OUT = (
    _like("vgg16-fashion", "cifar/vgg16_bn_quarter", "fashion-mnist", (1, 16, 16)),
    _like("mobilenet", "small/mobilenet", "cifar10", (3, 16, 16)),
    _like("vit", "small/vit", "cifar10", (3, 16, 16)),
    _like("convnext", "small/convnext", "cifar10", (3, 16, 16), 4000, least=20.0),
    _like("densenet", "small/densenet", "cifar10", (3, 16, 16)),
    _like("transformer-sst2", "transformer/small", "sst2", (48, 4096), 4000, least=15.0),
    _like("mlp-kin8nm", "mlp/small", "kin8nm", (8,), None),
)
"""Grounds on which nothing was tuned, and nothing is to be: families, images, texts and a regression that the tuned
ones do not have. Their rows are made once, with recipes that were decided before. What LayerNorm ties to its stream
stays: without their branches the ConvNeXt has at least 13.4 % of its MACs, the transformer 10.4 %, the ViT 6.9 %."""


def _trained(network: Network) -> Network:
    """A long base, and four epochs for all the rest."""
    return replace(network, epochs=(30, 1, 3))


def _from_nothing(network: Network) -> Network:
    """One cosine through all epochs; what is left after a third of them is trained on."""
    return replace(network, epochs=(10, 2, 18), schedule_over="job")


def _widened(network: Network) -> Network:
    return replace(network, shares=(50.0, *network.shares))


_ALL = (
    Suite(
        "smoke", "embedded digits, seconds each run", (DIGITS,), (0, 1), SIMPLE,
    ),
    Suite(
        "cpu", "VGG16's proportions at a quarter width, and ResNet-20, on parts of CIFAR-10", (VGG, RESNET), (0, 1, 2),
        OWN, precision="bf16-mixed",
    ),
    Suite(
        "guided", "the first network of the suite cpu, whose base guides instead of teaching", (VGG,), (0, 1, 2),
        SIMPLE, precision="bf16-mixed", taught=(True,), teacher="guidance",
    ),
    Suite(
        "baselines", "the networks of the suite cpu, with the baselines from outside", (VGG, RESNET), (0, 1, 2),
        (OWN[0], *OUTSIDE), precision="bf16-mixed",
    ),
    Suite(
        "cpu-full", "the suite cpu at 50 % too, on Fashion-MNIST too, with the baselines from outside",
        (_widened(VGG), _widened(RESNET), _widened(FASHION)), (0, 1, 2),
        (*OWN, *MORE, *OUTSIDE), precision="bf16-mixed",
    ),
    Suite(
        "paper", "the networks of the paper on the whole of CIFAR-10, for a GPU",
        (
            _paper("cifar/vgg16_bn", (51.7, 19.5, 9.5)),
            _paper("cifar/resnet56", (66.2, 29.4, 6.9)),
            _paper("cifar/mobilenet_v2", (60.3, 40.2, 14.6)),
        ),
        (0, 1, 2), tuple(entry for entry in OWN if entry.name in OF_PAPER), precision="auto",
    ),
    Suite(
        "trained", "trained bases of the networks of the suite cpu, and four epochs for choosing and retraining",
        tuple(map(_trained, TUNED)), (0, 1, 2), REPAIRED, rates=(0.01, 0.03), precision="bf16-mixed", taught=(False,),
    ),
    Suite(
        "one-cycle", "the networks of the suite cpu from new weights, one schedule through all epochs",
        tuple(map(_from_nothing, TUNED)), (0, 1, 2), REPAIRED, precision="bf16-mixed", taught=(False,),
    ),
    Suite(
        "held-out",
        "the suite trained on seven grounds on which nothing was tuned; of the ConvNeXt at least 20 % of the MACs, of "
        "the transformer 15 %",
        tuple(map(_trained, HELD_OUT)), (0, 1, 2), REPAIRED, rates=(0.01, 0.03), taught=(False,),
    ),
    Suite(
        "held-out-one-cycle", "the suite one-cycle on the same grounds", tuple(map(_from_nothing, HELD_OUT)), (0, 1, 2),
        REPAIRED, taught=(False,),
    ),
)  # fmt: skip
SUITES = {suite.name: suite for suite in _ALL}


def suite_of(name: str) -> Suite:
    """The suite of this name.

    Raises:
        UserError: there is none; with the nearest right name.
    """
    if name not in SUITES:
        raise UserError(f"unknown suite '{name}'{all_names(name, SUITES)}")
    return SUITES[name]


def check_data(suite: Suite, names: Sequence[str]) -> None:
    """Refuses data sets that a suite does not use.

    Raises:
        UserError: naming the first.
    """
    used = sorted({network.data for network in suite.networks})
    for name in names:
        if name not in used:
            raise UserError(f"the suite '{suite.name}' does not use the data '{name}', but {', '.join(used)}.")


def only(suite: Suite, names: tuple[str, ...]) -> Suite:
    """The part of a suite with these networks and methods; where no name is of one kind, all of that kind stay.

    Raises:
        UserError: for a name that is neither.
    """
    networks, entries = [n.name for n in suite.networks], [e.name for e in suite.entries]
    for name in names:
        if name not in (*networks, *entries):
            raise UserError(f"the suite '{suite.name}' has no '{name}'{all_names(name, [*networks, *entries])}")
    return replace(
        suite,
        networks=tuple(n for n in suite.networks if n.name in names or not set(names) & set(networks)),
        entries=tuple(e for e in suite.entries if e.name in names or not set(names) & set(entries)),
    )
