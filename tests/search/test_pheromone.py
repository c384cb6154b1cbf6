"""The ant colony system: its choices and updates, by numbers worked out by hand."""

from __future__ import annotations

import collections
import random

import pytest

from dnal.models.genomes.genome import Layer
from dnal.search.samplers.aco import ACO, Colony
from dnal.search.samplers.pheromone import Pheromone, chosen
from dnal.search.samplers.sampler import Ground
from dnal.search.spaces import SPACES
from dnal.search.spaces.layered_graph import TRANSITIONS
from dnal.search.spaces.space import END, START

CONV, MAX, FC = Layer("conv", (4, 3)), Layer("max"), Layer("fc", (9,))


def colony(options: ACO | None = None, space: str = "layers") -> Colony:
    return Colony(options or ACO(), Ground(SPACES.read(space), (1, 16, 16), 0, lambda genome: True))


def test_the_table_of_transitions_is_the_published_one() -> None:
    assert TRANSITIONS["conv"] == {"conv": 0.8, "pool": 1.2, "flat": 1.0, "drop": 1.1, "bn": 1.2}
    assert TRANSITIONS["drop"] == {"conv": 1.1, "pool": 1.0, "flat": 1.0, "bn": 1.1}
    assert TRANSITIONS["bn"] == {"conv": 1.1, "pool": 1.1, "drop": 1.0, "flat": 1.0}
    assert TRANSITIONS["pool"] == {"conv": 1.1, "flat": 1.0, "bn": 1.1}
    assert TRANSITIONS["flat"] == {"dense": 1.0, END: 0.8, "fbn": 0.9}
    assert TRANSITIONS["dense"] == {"dense": 0.8, "fdrop": 1.2, "fbn": 1.2, END: 1.0}
    assert TRANSITIONS["fdrop"] == {"dense": 1.0, "fbn": 1.0, END: 0.9}
    assert TRANSITIONS["fbn"] == {"dense": 1.1, "fdrop": 1.1, END: 0.9}
    assert TRANSITIONS[START] == {"conv": 1.0}


def test_updates() -> None:
    pheromone = Pheromone(0.1, 0.1, 0.2)
    here, there = ("edge", 1), ("edge", 2)
    pheromone.update_best([here], 0.9)
    assert pheromone.at(here) == pytest.approx(0.8 * 0.1 + 0.2 * 0.9)  # 0.26
    assert pheromone.at(there) == 0.1
    pheromone.update_local([here, there])
    assert pheromone.at(here) == pytest.approx(0.9 * 0.26 + 0.1 * 0.1)  # towards the start, from above
    assert pheromone.at(there) == pytest.approx(0.1)
    for _ in range(200):
        pheromone.update_local([here])
    assert pheromone.at(here) == pytest.approx(0.1)


def test_the_greedy_choice_and_the_lot() -> None:
    attraction = {"a": 0.2, "b": 0.5, "c": 0.5}
    draw = random.Random(0)
    greedy = collections.Counter(chosen(attraction, 1.0, draw) for _ in range(400))
    assert set(greedy) == {"b", "c"}  # equals by lot
    assert 150 < greedy["b"] < 250
    lots = collections.Counter(chosen(attraction, 0.0, draw) for _ in range(6000))
    for option, weight in attraction.items():  # six standard deviations
        share = weight / 1.2
        assert abs(lots[option] / 6000 - share) < 6 * (share * (1 - share) / 6000) ** 0.5
    assert chosen({"only": 0.0}, 1.0, draw) == "only"


def test_a_path_has_pheromone_on_its_edges_and_on_the_values_of_its_places() -> None:
    ants = colony(ACO(depth=4))
    ants.depth = 4
    assert ants.trails((CONV, MAX, FC)) == [
        ("edge", 1, START, "conv"), ("value", 1, "conv", "channels", 4), ("value", 1, "conv", "kernel", 3),
        ("edge", 2, "conv", "max"), ("edge", 3, "max", "fc"), ("value", 3, "fc", "units", 9), ("edge", 4, "fc", END),
    ]  # fmt: skip
    ants.depth = 2  # what is behind the end of this round's paths carries none
    assert ants.trails((CONV, MAX, FC))[-1] == ("edge", 2, "conv", "max")


def test_rounds() -> None:
    """An ant by chance; then so many a round, after each the local update, after the round that of the best so far."""
    ants = colony(ACO(ants=3, depth=2, decay=0.5, evaporation=0.5))
    (first,) = ants.ask()
    assert len(first) == 1
    ants.tell([(first, 0.4)])
    edge = ("edge", 1, START, "conv")
    assert (ants.depth, ants.best, ants.pheromone.at(edge)) == (1, first, 0.1)  # it only walked
    second = ants.ask()
    assert [len(path) for path in second] == [1, 1, 1]
    assert ants.pheromone.at(edge) == pytest.approx(0.1)  # local updates of what is at the start
    ants.tell([(path, worth) for path, worth in zip(second, (0.3, 0.8, None), strict=True)])
    assert (ants.depth, ants.best, ants.worth) == (2, second[1], 0.8)
    assert ants.pheromone.at(edge) == pytest.approx(0.5 * 0.1 + 0.5 * 0.8)
    third = ants.ask()
    assert ants.pheromone.at(edge) == pytest.approx(0.1 + (0.45 - 0.1) * 0.5**3)  # three ants passed
    ants.tell([(path, 0.1) for path in third])
    assert ants.best == second[1]
    assert ants.pheromone.at(edge) == pytest.approx(0.5 * (0.1 + 0.35 / 8) + 0.5 * 0.8)
    assert ants.depth == 2  # and no longer than that


def test_the_path_of_the_best_draws_the_ants() -> None:
    ants = colony(ACO(ants=20, depth=3, greediness=1.0, decay=0.0, evaporation=0.9), "layered-graph")
    first, pool, last = Layer("conv", (16, 5, "relu")), Layer("pool", ("average", 2, 3)), Layer("conv", (8, 1, "relu"))
    best = (first, pool, last, Layer("flat"))
    ants.depth = 3
    ants.tell([(best, 1.0)])
    assert set(ants.ask()) == {best}


def test_a_path_that_breaks_the_budget_is_walked_again_and_leaves_nothing() -> None:
    space = SPACES.read("layers")
    refused = []

    def within(genome: object) -> bool:
        refused.append(genome)
        return len(refused) > 3

    ants = Colony(ACO(ants=1, decay=0.5), Ground(space, (1, 16, 16), 0, within))
    ants.depth = 1
    (path,) = ants.ask()
    assert path == refused[3]
    touched = ants.trails(path)
    assert all(ants.pheromone.at(trail) == pytest.approx(0.1) for trail in touched)
    assert set(ants.pheromone._at) == set(touched)


def test_worth_below_nothing_leaves_pheromone_a_number_above_it() -> None:
    ants = colony()
    (path,) = ants.ask()
    ants.tell([(path, -5.0)])
    ants.tell([(path, -5.0)])
    assert all(0 < ants.pheromone.at(trail) <= 0.1 for trail in ants.trails(path))
