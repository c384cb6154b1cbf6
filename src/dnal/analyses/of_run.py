"""The analysis of finished runs, which may be anybody's: their networks on the same test data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnal import data as dnal_data
from dnal.analyses import corruptions
from dnal.analyses.analysis import BASE as BASE_WORD
from dnal.analyses.analysis import Analysis, Corrupted, Looked, Pair
from dnal.analyses.asked import Asked
from dnal.analyses.attribution import Side, attributed
from dnal.analyses.features import Seen, seen_of
from dnal.analyses.flips import flips_of, in_the_lowest
from dnal.analyses.geometry import geometry_of
from dnal.analyses.likeness import agreement, cka_matrix, rank_correlations, spread
from dnal.analyses.measures.bank import Measured
from dnal.analyses.measures.of_runs import Ranking, measured_on, point_of, ranking_of, usual_examples
from dnal.analyses.people import disagreement, people_of, read_people
from dnal.analyses.routing import routing_of
from dnal.analyses.smoothness import smoothness_of
from dnal.analyses.under_corruption import Running, under_corruptions
from dnal.base.errors import UserError
from dnal.base.reading import opened, ordinary
from dnal.base.statistics import Interval, paired_examples
from dnal.data.dataset import Dataset
from dnal.run.change import read_change
from dnal.run.config import Config, read_config
from dnal.run.data import batch_of, data_of
from dnal.run.files import BASE, MODEL, RESULT, runs_in
from dnal.run.loading import SPARE_BASE, TIMES, load, load_base, load_initial, read_result
from dnal.train.evaluate import IGNORED

MOST_NODES = 2**12
"""That are compared with each other."""
CLOSE = 1e-3
"""How far an accuracy may be from the recorded one, or one and a half examples where these are fewer."""

LEAST_ALIKE = 0.5
"""Share of the examples for which most people say the class of the data; below, the order may be another one."""


def analyse(
    runs: str | Path | Sequence[str | Path],
    *,
    data: str | None = None,
    root: str | Path | None = None,
    trust: Sequence[str] = (),
    asked: Asked | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Analysis:
    """What is inside the networks of finished runs, and what removal did to them, on the runs' test data.

    Args:
        runs: folders of runs, or of several; all must have the same test data. A base that several share counts once.
        data: where the data are now, if they moved. root: the same for the folder of downloaded sets.
        trust: packages whose functions may be called, as for :func:`dnal.load`.
        asked: corruptions, and what people say of the examples.
        tell: is called with a line for each thing that takes its time.

    Returns:
        what was found, with a sentence in ``remarks`` for what could not be looked at.

    Raises:
        UserError: no finished run, one that classifies nothing, or runs of different test data.

    Examples:
        analysis = dnal.analyses.analyse("runs/small", asked=Asked(corruptions=("noise",)))
    """
    asked = asked or Asked()
    names = _chosen(asked)
    remarks, taken = list[str](), list[tuple[Looked, Running]]()
    # Networks take their time, so everything is read, and may be refused, before the first one runs.
    read = _read(_folders(runs), data, root, trust, remarks)
    people = _disagreement(asked, read[0].dataset, remarks)
    between: list[tuple[int, int]] = []
    bases: dict[str, int] = {}
    for one in read:
        if one.base is not None and one.digest not in bases:
            tell(f"{one.called(BASE_WORD)} on {one.dataset.name}")
            bases[one.digest] = len(taken)
            taken.append(one.looked(one.base, BASE_WORD, remarks, asked.measures))
        tell(f"{one.called(one.word)} on {one.dataset.name}")
        taken.append(one.looked(one.changed, one.word, remarks, asked.measures))
        if one.base is not None:
            between.append((bases[one.digest], len(taken) - 1))
    networks, running = [looked for looked, _ in taken], [own for _, own in taken]
    _check_alike(networks, [own.data for own in running])
    if people is not None:
        people = people[: len(networks[0].seen.targets)]  # of very many, only the first are looked at
    pairs = [_pair(networks, base, compact, people) for base, compact in between]
    found = _corrupted(networks, running, pairs, names, asked, remarks, tell)
    return Analysis(
        networks, pairs, running[0].data, _likeness(networks), found, people, list(dict.fromkeys(remarks)),
        _rankings(networks),
    )  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """A run whose networks are looked at.

    Attributes:
        name: in front of those of its networks, "" where it is the only run.
        word: what its changed network is called beside its base, such as "compact".
        base: the network before the change, and digest: of its file; None and "" where it cannot be had.
        trust: whose code it may have run.
    """

    folder: Path
    config: Config
    result: dict[str, Any]
    dataset: Dataset
    name: str
    word: str
    changed: nn.Module
    base: nn.Module | None
    digest: str
    trust: Sequence[str]

    def called(self, word: str) -> str:
        return word if not self.name or word == BASE_WORD else f"{self.name} {word}"

    def looked(self, network: nn.Module, word: str, remarks: list[str], examples: int | None) -> tuple[Looked, Running]:
        from dnal.train.rows import to_device
        from dnal.train.setup.numerics import fabric_of

        device = fabric_of("32-true").device  # where `learn` measured
        network.to(device)
        batch = batch_of(self.config)
        loader = dnal_data.loaders(self.dataset, batch).test
        example = to_device(self.config.of_kind.example(self.config.input), device)
        seen = seen_of(network, loader, example)
        name = self.called(word)
        if seen.why:
            remarks.append(f"Of {name} angles, lengths and margins are not shown: {seen.why}")
        if seen.cut:
            remarks.append(f"Of {name} the first {len(seen.targets):,} targets are looked at; more are not kept.")
        figures = self.result["base" if word == BASE_WORD else "compact"]
        said = figures.get("macs")
        macs = float(said) if isinstance(said, int | float) else None
        number = usual_examples(macs) if examples is None else examples
        start = self._start(name, remarks) if number and word == BASE_WORD else None
        measured = self._measured(network, start, name, batch, number, remarks) if number else None
        looked = Looked.of(
            name, str(self.folder), seen, _geometry(seen), word=word, macs=macs, routing=routing_of(network, loader),
            smoothness=_smoothness(seen) if self.dataset.kind == "graphs" else None, measured=measured,
            point=point_of(self.config),
        )  # fmt: skip
        said = figures.get("accuracy")
        tolerance = max(CLOSE, 1.5 / len(seen.targets))
        if not seen.cut and isinstance(said, int | float) and not abs(looked.accuracy - said) <= tolerance:
            remarks.append(
                f"The accuracy of {name} is {looked.accuracy:.4f} here, and {RESULT} of '{self.folder}' says "
                f"{said:.4f}: the data or the files are others than those of the job."
            )
        return looked, Running(network, self.dataset, batch, seen.head)

    def _start(self, name: str, remarks: list[str]) -> nn.Module | None:
        """The base before its first step. A changed network has none: it begins where the base ends, in other
        shapes."""
        try:
            return load_initial(self.folder, trust=self.trust)
        except UserError as error:
            remarks.append(f"Of {name} no measures of the distance from its initial weights are shown: {error}")
            return None

    def _measured(
        self, network: nn.Module, start: nn.Module | None, name: str, batch: int, examples: int, remarks: list[str]
    ) -> Measured | None:
        try:
            found = measured_on(network, self.dataset, batch, examples, initial=start)
        except UserError as error:
            remarks.append(f"Of {name} no generalisation measures are shown: {error}")
            return None
        remarks.extend(f"Of {name}: {remark}" for remark in found.remarks)
        return found


def _geometry(seen: Seen) -> Any:
    if seen.features is None or seen.head is None:
        return None
    return geometry_of(seen.features, seen.head.weight, seen.head.bias, seen.targets, seen.logits)


def _smoothness(seen: Seen) -> float | None:
    """Of the last features, or of the logits where there are none, on as many nodes as are compared with each other."""
    found = seen.logits if seen.features is None else seen.features
    found = found[spread(len(found), MOST_NODES)]
    return float(smoothness_of(found).mean()) if len(found) > 1 else None


def _folders(runs: str | Path | Sequence[str | Path]) -> list[Path]:
    given = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    found = list(dict.fromkeys(folder for run in given for folder in (runs_in(run) or [run])))
    if not found:
        raise UserError("an analysis needs at least one run.")
    return found


def _read(
    folders: Sequence[Path], data: str | None, root: str | Path | None, trust: Sequence[str], remarks: list[str]
) -> list[_Run]:
    """The runs with their data and networks; data and bases that several share are read once."""
    datasets: dict[tuple[object, ...], Dataset] = {}
    bases: dict[str, nn.Module] = {}
    found = []
    for folder in folders:
        config, result = read_config(folder), read_result(folder)
        _check_classified(folder, config)
        dataset = _data(datasets, config, data, root, trust)
        word, changed = read_change(folder).word, load(folder, trust=trust)
        digest = _base(folder, trust, bases, remarks)
        name = "" if len(folders) == 1 else _name(folder, folders)
        found.append(_Run(folder, config, result, dataset, name, word, changed, bases.get(digest), digest, trust))
    return found


def _name(folder: Path, folders: Sequence[Path]) -> str:
    name = folder.name or folder.absolute().name
    return name if sum(other.name == folder.name for other in folders) == 1 else str(folder)


def _check_classified(folder: Path, config: Config) -> None:
    if not config.aim.is_share:
        raise UserError(
            f"an analysis is of networks that say classes, and the run '{folder}' is one of {config.objective}; "
            "`dnal report` shows what there is of it."
        )


def _data(
    known: dict[tuple[object, ...], Dataset],
    config: Config,
    data: str | None,
    root: str | Path | None,
    trust: Sequence[str],
) -> Dataset:
    """The data of a run, loaded once for runs that have the same."""
    seed = config.seed if config.limit_train is not None else None  # it says which training images normalise
    key = (data or config.data, config.root, config.input, config.classes, config.limit_train, seed, config.kind)
    if key not in known:
        known[key] = data_of(config, data=data, root=root, augment=False, trust=trust)
    return known[key]


def _check_alike(networks: Sequence[Looked], datasets: Sequence[Dataset]) -> None:
    first = networks[0]
    for one, dataset in zip(networks[1:], datasets[1:], strict=True):
        same = one.seen.targets.equal(first.seen.targets) and one.seen.logits.shape == first.seen.logits.shape
        if not same or dataset.input_shape != datasets[0].input_shape:
            raise UserError(
                f"'{one.run}' has other test examples than '{first.run}'; analyse runs of the same data together."
            )


def _base(folder: Path, trust: Sequence[str], bases: dict[str, nn.Module], remarks: list[str]) -> str:
    """What tells the run's base from another one, which is put among the ``bases`` by it; "" where there is none, or
    none that can be read."""
    if not os.path.lexists(folder / BASE):
        remarks.append(
            f"'{folder}' has no {BASE}, which older versions did not write: its base, and what flips, are not shown."
        )
        return ""
    try:
        ordinary(folder / BASE, SPARE_BASE + TIMES * ordinary(folder / MODEL))  # all of it is read, before it is loaded
        with opened(folder / BASE) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest not in bases:
            bases[digest] = load_base(folder, trust=trust)
    except UserError as error:  # what is wrong with the rest of the run was said when its other network was read
        remarks.append(f"The base of '{folder}', and what flips, are not shown: {error}")
        return ""
    return digest


def _chosen(asked: Asked) -> tuple[str, ...]:
    """The corruptions that are asked for; refused where they need a library that is not there, except for those that
    nobody asked for."""
    names = corruptions.chosen([name.strip() for text in asked.corruptions for name in text.split(",")])
    if names and asked.corruptions != Asked.corruptions:
        corruptions.library()  # says what to do
    return names


def _disagreement(asked: Asked, dataset: Dataset, remarks: list[str]) -> Tensor | None:
    """People's disagreement on each test example, (N,), where their labels are given."""
    if asked.labels_of_people is None:
        return None
    targets = dataset.test.y
    if targets.dim() != 1 or bool((targets == IGNORED).any()):
        raise UserError("people's labels are of examples that have one class each, and these have several.")
    labels = read_people(asked.labels_of_people, len(targets), dataset.classes)
    alike = float((labels.argmax(1) == targets).double().mean())
    if alike < LEAST_ALIKE:
        remarks.append(
            f"What most people say is the class of the data for {100 * alike:.0f} % of the test examples only: are "
            "their labels in the order of these examples?"
        )
    return disagreement(labels)


def _pair(networks: Sequence[Looked], base: int, compact: int, disagreements: Tensor | None) -> Pair:
    before, after = networks[base], networks[compact]
    found = flips_of(before.seen.predictions, after.seen.predictions, before.seen.targets)
    a, b = before.geometry, after.geometry
    whole = a is not None and b is not None
    attribution = None
    if a is not None and b is not None and before.seen.head is not None and after.seen.head is not None:
        attribution = attributed(
            Side(a, before.seen.head.weight, before.seen.head.bias),
            Side(b, after.seen.head.weight, after.seen.head.bias),
            before.seen.targets,
        )
    return Pair(
        base, compact, found, _apart(after.seen.correct, before.seen.correct),
        _apart(after.margins, before.margins) if whole else None,
        _apart(b.lengths / b.scale, a.lengths / a.scale) if a is not None and b is not None else None,
        _apart(b.angles.rad2deg(), a.angles.rad2deg()) if a is not None and b is not None else None,
        in_the_lowest(before.margins, found.any), attribution,
        None if disagreements is None else people_of(found, disagreements),
    )  # fmt: skip


def _apart(ours: Tensor, theirs: Tensor) -> Interval:
    finite = ours.isfinite() & theirs.isfinite()
    return paired_examples(ours[finite].double().tolist(), theirs[finite].double().tolist())


def _likeness(networks: Sequence[Looked]) -> dict[str, Tensor]:
    found = {}
    if len(networks) > 1:
        features = [one.seen.features for one in networks if one.seen.features is not None]
        if len(features) == len(networks) and len(features[0]) > 1:
            found["CKA of the last features"] = cka_matrix(features)
        found["rank correlation of the margins"] = rank_correlations(torch.stack([one.margins for one in networks]))
        found["share of equal answers"] = agreement(torch.stack([one.seen.predictions for one in networks]))
    return found


def _rankings(networks: Sequence[Looked]) -> dict[str, Ranking]:
    """How well measures rank the bases, and what became of them."""
    found = {}
    for word, base in ((BASE_WORD, True), ("changed", False)):
        own = {number: one for number, one in enumerate(networks) if one.base == base and one.measured is not None}
        ranking = ranking_of(
            {number: one.measured for number, one in own.items() if one.measured is not None},
            {number: one.gap for number, one in own.items() if one.gap is not None},
            {number: one.point for number, one in own.items()},
        )
        if ranking is not None:
            found[word] = ranking
    return found


def _corrupted(
    networks: Sequence[Looked],
    running: Sequence[Running],
    pairs: Sequence[Pair],
    names: Sequence[str],
    asked: Asked,
    remarks: list[str],
    tell: Callable[[str], None],
) -> Corrupted | None:
    """What corruptions do, where they are asked for and can be made."""
    first = running[0].data
    if not names:
        return None
    if first.kind != "images" or not networks[0].seen.single:
        remarks.append("Corruptions are of images that have one class each; these examples are others.")
        return None
    if not corruptions.installed():
        remarks.append(
            "Corruptions are not shown: they are made by corrupt-tta; pip install 'dnal[corruptions]' installs it."
        )
        return None
    number = len(networks[0].seen.targets)
    height, width = first.input_shape[-2:]
    most = asked.images or corruptions.usual_number(height, width, number)
    try:
        found, left = under_corruptions(
            networks, running, pairs, spread(number, most), names, tuple(sorted(set(asked.severities))), tell
        )
    except UserError as error:
        remarks.append(f"Corruptions are not shown: {error}")
        return None
    remarks.extend(left)
    return found
