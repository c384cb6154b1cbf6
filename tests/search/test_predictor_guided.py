"""A sampler guided by a predictor: what is trained, what the sampler is told, and what a search keeps of it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dnal.base.errors import UserError
from dnal.base.statistics import paired
from dnal.data.objective import CLASSIFICATION
from dnal.models.genomes.families import FAMILIES
from dnal.models.genomes.genome import Genome, Layer
from dnal.predictors import Boosting, Ridge
from dnal.report.search import course_figure
from dnal.run.files import CANDIDATES, GENOME, MODEL, RESULT, SEARCH
from dnal.run.searched import read_lines
from dnal.search import SAMPLERS, SPACES, search
from dnal.search.encoding import kinds_of, numbers_of
from dnal.search.predictor_guided import PredictorGuided
from dnal.search.samplers.sampler import Course, Fitness, Ground
from dnal.search.spaces.layers import Layers
from dnal.search.spaces.space import Chance

SIZES = (1, 8, 8)
SPACE = Layers(depth=7, channels=32)
EIGHT = {
    "pso": "pso:particles=8", "aco": "aco:ants=8,depth=4", "evolution": "evolution:round=8", "random": "random:round=8",
    "tpe": "tpe:start=8,round=8",
}  # fmt: skip


def ground_of(seed: int) -> Ground:
    return Ground(SPACE, SIZES, seed, lambda genome: True)


def sampler_of(name: str, seed: int) -> Course:
    if name == "tpe" and importlib.util.find_spec("optuna") is None:
        pytest.skip("Optuna is not installed: pip install 'dnal[search]'")
    return SAMPLERS.read(EIGHT[name]).course(ground_of(seed))


def encoded(genomes: Sequence[Genome]) -> NDArray[Any]:
    return numbers_of(SPACE, genomes, [{}] * len(genomes))


def guided(name: str, seed: int) -> PredictorGuided:
    return PredictorGuided(sampler_of(name, seed), Ridge(), encoded, lambda genome: True, candidates=4, warm_up=8)


def worth_of(genome: Genome) -> float:
    """A cheap fitness: many channels in few convolutions are best."""
    channels = [int(layer.values[0]) for layer in genome if layer.kind == "conv"]
    return sum(channels) / 100 - len(channels) / 10


def best_of(course: Course, evaluations: int) -> float:
    known: dict[Genome, float] = {}
    while len(known) < evaluations:
        round = course.ask()
        known |= {genome: worth_of(genome) for genome in round}
        course.tell([(genome, known[genome]) for genome in round])
    return max([*known.values()][:evaluations])


class Script(Course):
    """Proposes what is written, and keeps what it was told."""

    def __init__(self, rounds: Sequence[list[Genome]]) -> None:
        self.rounds, self.told = list(rounds), list[list[tuple[Genome, Fitness]]]()

    def ask(self) -> list[Genome]:
        return self.rounds.pop(0) if self.rounds else []

    def tell(self, round: Sequence[tuple[Genome, Fitness]]) -> None:
        self.told.append(list(round))


def convolution(channels: int) -> Genome:
    return (Layer("conv", (channels, 3)),)


def test_a_share_of_each_round_is_trained_the_best_by_prediction_first() -> None:
    first, second = (
        [convolution(width) for width in (4, 8, 12)],
        [convolution(width) for width in (8, 9, 30, 11, 31, 5)],
    )
    script = Script([first, second, second, first])
    course = PredictorGuided(
        script, Ridge(), encoded, lambda genome: genome != convolution(31), candidates=3, warm_up=3
    )  # fmt: skip
    assert course.ask() == first
    course.tell([(genome, float(genome[0].values[0])) for genome in first])
    # Six proposals are two networks: not the one that was trained before, nor the one that breaks the budget.
    chosen = course.ask()
    model = Ridge().fit(encoded(first), [4.0, 8.0, 12.0])
    new = [convolution(width) for width in (9, 30, 11, 5)]
    said = dict(zip(new, model.predict(encoded(new)).tolist(), strict=True))
    assert chosen == sorted(new, key=lambda genome: -said[genome])[:2]
    assert [course.predicted(genome) for genome in chosen] == [said[genome] for genome in chosen]
    assert course.predicted(first[0]) is None
    course.tell([(chosen[0], 1.0), (chosen[1], None)])
    # It hears of what has a worth, and of what could not be trained; what was passed over is missing.
    known = {convolution(8): 8.0, chosen[0]: 1.0, chosen[1]: None}
    assert script.told[1] == [(genome, known[genome]) for genome in second if genome in known]
    assert set(course.ask()) == {*new} - {*chosen}  # which may be proposed again
    course.tell([(genome, 2.0) for genome in new if genome not in chosen])
    assert course.ask() == []  # nothing new: the sampler is told what all of it is worth
    course.tell([])
    assert script.told[3] == [(genome, float(genome[0].values[0])) for genome in first]


def test_worths_that_are_all_the_same_teach_nothing_and_stop_nothing() -> None:
    rounds = [[convolution(3 * place + width) for width in range(3)] for place in range(1, 4)]
    course = PredictorGuided(Script(rounds), Ridge(), encoded, lambda genome: True, candidates=3, warm_up=2)
    for number, round in enumerate(rounds):
        asked = course.ask()
        assert asked == round[: 1 if number else 2]
        assert course.predicted(asked[0]) is None
        course.tell([(genome, 0.5) for genome in asked])


@pytest.mark.parametrize("name", ["random", "evolution"])
def test_it_finds_better_networks_with_as_many_evaluations(name: str) -> None:
    seeds = range(6)
    alone = {seed: best_of(sampler_of(name, seed), 24) for seed in seeds}
    helped = {}
    for seed in seeds:
        course = SAMPLERS.read(f"{name}:round=32").course(ground_of(seed))
        asks = PredictorGuided(course, Ridge(), encoded, lambda genome: True, candidates=8, warm_up=8)
        helped[seed] = best_of(asks, 24)
    assert paired(helped, alone).low > 0


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_sampler_takes_rounds_of_which_a_share_is_trained(name: str) -> None:
    sampler = SAMPLERS.read(EIGHT[name])
    assert sampler.round_size == 8
    found: list[list[Genome]] = []
    for _ in range(2):
        course, rounds = guided(name, 3), list[list[Genome]]()
        for _ in range(12 if name == "aco" else 5):  # the first round of a colony is one ant
            rounds.append(course.ask())
            course.tell([(genome, worth_of(genome)) for genome in rounds[-1]])
        found.append([genome for round in rounds for genome in round])
        assert all(len(round) <= 2 for round in rounds if course.predicted(round[0] if round else ()) is not None)
    assert found[0] == found[1]
    assert len(found[0]) == len({*found[0]}) >= 9


def test_a_swarm_hears_only_of_particles_that_were_trained() -> None:
    swarm: Any = sampler_of("pso", 0)
    first = swarm.ask()
    swarm.tell([(genome, 0.5) for genome in first[::2]])
    assert [particle.worth for particle in swarm.particles] == [0.5, -np.inf] * 4


@pytest.mark.parametrize("name", SPACES.names())
def test_networks_of_a_space_are_rows_of_one_length(name: str) -> None:
    space = SPACES.read(name)
    draw = Chance(ground_of(0).chance())
    genomes = [space.drawn(draw, SIZES) for _ in range(40)]
    rows = numbers_of(space, genomes, [{"macs": 10.0 * place, "params": 1.0} for place in range(40)])
    assert np.isfinite(rows).all()
    assert len(np.unique(rows[:, :-2], axis=0)) > 30
    assert {layer.kind for genome in genomes for layer in genome} <= set(kinds_of(space))
    np.testing.assert_allclose(rows[:, -2:], [[np.log1p(10.0 * place), np.log(2)] for place in range(40)])


ASKS: dict[str, Any] = {
    "space": "layers:channels=6,depth=5,units=12", "sampler": "random:round=4", "budget": "params<=4k,macs<=100k",
    "predictor": "boosting:trees=5", "warm_up": 3, "evaluations": 5, "epochs": 1, "final_epochs": 1,
    "limit_train": 80, "batch_size": 32,
}  # fmt: skip


def test_a_search_keeps_what_was_predicted_and_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    assert search("digits", **ASKS, out=tmp_path / "whole") is not None
    trained: list[str] = []
    for number in (2, 2, 99):  # in the warm-up, after it, and to the end
        enough = len(trained) + number
        search(
            "digits", **ASKS, out=tmp_path / "parts", stop=lambda enough=enough: len(trained) >= enough,
            on_end=lambda _, candidate: trained.append(candidate.model),
        )  # fmt: skip
    assert len(trained) == len(set(trained)) == 5
    for name in (SEARCH, CANDIDATES, GENOME, MODEL):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    lines = [json.loads(line) for line in (tmp_path / "whole" / CANDIDATES).read_text().splitlines()]
    assert [line.get("predicted") is None for line in lines] == [True] * 3 + [False] * 2
    # The same by hand: a predictor that learns from the first three says it of the fourth.
    space = SPACES.read(ASKS["space"])
    genomes = [FAMILIES["layers"].parse(line["model"].partition("/")[2]) for line in lines]
    rows = numbers_of(space, genomes, [line["costs"] for line in lines])
    model = Boosting(trees=5).fit(rows[:3], [line["fitness"] for line in lines[:3]])
    assert lines[3]["predicted"] == pytest.approx(model.predict(rows[3:4])[0])
    assert json.loads((tmp_path / "whole" / RESULT).read_text())["method"].endswith("guided by boosting:trees=5")
    table = course_figure(read_lines(tmp_path / "whole"), CLASSIFICATION).table  # of the report
    assert table is not None
    said = [row[table.headings.index("predicted")] for row in table.rows]
    assert said == ["–"] * 3 + [CLASSIFICATION.shown(line["predicted"]) for line in lines[3:]]
    again = search("digits", **ASKS, out=tmp_path / "whole")
    assert again is not None
    assert [one.predicted for one in again.candidates] == [line.get("predicted") for line in lines]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"candidates": 5}, "--candidates needs a predictor"),
        ({"warm_up": 5}, "--warm-up needs a predictor"),
        ({"predictor": "bosting"}, "did you mean 'boosting'"),
        ({"predictor": "nar-former"}, "nar-former reads graphs, .* take one of boosting, ridge"),
        ({"predictor": "statistics"}, "statistics reads weights"),
        ({"predictor": "ridge", "sampler": "tpe"}, "proposes 2 at once"),
        ({"predictor": "ridge", "sampler": "pso:best=at-once"}, "proposes 1 at once"),
        ({"predictor": "ridge", "space": "mlp"}, "has no --predictor"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence_before_anything_is_trained(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        search("digits", **given, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
