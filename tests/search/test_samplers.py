"""All samplers over all spaces: networks of the space within the budget, the same for the same seed."""

from __future__ import annotations

import importlib.util
import random

import pytest

from dnal.base.errors import UserError
from dnal.costs.deployment import Deployed
from dnal.data.kind import Sizes
from dnal.data.kinds import KINDS
from dnal.models.genomes.genome import Genome
from dnal.search.bounds import Bounds
from dnal.search.course import Progress
from dnal.search.samplers import SAMPLERS
from dnal.search.samplers.evolution import Evolution, Generations
from dnal.search.samplers.sampler import Ground
from dnal.search.spaces import SPACES
from dnal.search.spaces.space import Chance
from dnal.search.training import Evaluation

SIZES = (1, 8, 8)
OPTIONS = {
    "pso": "pso:particles=4", "aco": "aco:ants=3,depth=4", "evolution": "evolution:round=4,parents=3",
    "random": "random:round=4", "tpe": "tpe:start=3,round=2",
}  # fmt: skip
SMALL = {
    "layers": "layers:channels=8,depth=6,units=16", "layered-graph": "layered-graph:filters=4/8,depth=4,units=8",
    "binary-mobilenet": "binary-mobilenet:stem=4,stages=2/1",
}  # fmt: skip


def worth_of(model: str) -> float:
    """What a network is worth here: a number that follows from its name, larger for more layers of pooling."""
    return model.count("max") / 10 + random.Random(model).random()


def course(sampler: str, space: str, budget: str, seed: int = 0, evaluations: int = 10) -> Progress:
    """A search to its end, without any training."""
    if sampler == "tpe" and importlib.util.find_spec("optuna") is None:
        pytest.skip("Optuna is not installed: pip install 'dnal[search]'")
    chosen = SPACES.read(SMALL[space])
    bounds = Bounds(budget, KINDS["images"], SIZES, 10, Deployed.of(1, "torch-cpu"))
    ground = Ground(chosen, SIZES, seed, lambda genome: bounds.within(chosen.model(genome)))
    found = Progress(chosen, SAMPLERS.read(OPTIONS[sampler]).course(ground), bounds, evaluations, {})
    found.advance()
    number = 0
    while (candidate := found.candidate(number)) is not None:
        candidate.evaluation = Evaluation(worth_of(candidate.model))
        found.advance()
        number += 1
    assert found.over
    return found


@pytest.mark.parametrize("space", SPACES.names())
@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_it_asks_for_networks_of_the_space_within_the_budget_each_once(sampler: str, space: str) -> None:
    found = course(sampler, space, "params<=6k,macs<=120k")
    models = [one.model for one in found.candidates]
    assert len(models) == len(set(models)) <= 10
    assert len(models) >= 5
    for one in found.candidates:
        network = found.bounds.network(one.model)
        assert one.costs["params"] == sum(parameter.numel() for parameter in network.parameters()) <= 6000
        assert one.costs["macs"] <= 120_000
    assert sum(round.new for round in found.rounds) == len(models)
    best = found.best
    assert best is not None
    assert best.model == max(models, key=worth_of)


@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_the_same_seed_asks_for_the_same(sampler: str) -> None:
    runs = [[one.model for one in course(sampler, "layers", "params<=6k", seed, 6).candidates] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_the_best_of_a_swarm_never_gets_worse() -> None:
    chosen = SPACES.read("layers")
    swarm = SAMPLERS.read("pso:particles=5").course(Ground(chosen, SIZES, 0, lambda genome: True))
    best = 0.0
    for _ in range(8):
        swarm.tell([(genome, worth_of(chosen.model(genome))) for genome in swarm.ask()])
        assert swarm.worth >= best  # type: ignore[attr-defined]
        best = swarm.worth  # type: ignore[attr-defined]


def test_evolution_has_its_children_of_the_best_so_far() -> None:
    chosen = SPACES.read("layers")
    generations = Generations(Evolution(round=6, parents=2), Ground(chosen, SIZES, 0, lambda genome: True))
    known: dict[Genome, float] = {}
    for _ in range(4):
        round = generations.ask()
        assert len(set(round)) == 6
        assert not known.keys() & set(round)
        known |= {genome: worth_of(chosen.model(genome)) for genome in round}
        generations.tell([(genome, known[genome]) for genome in round])
        assert generations.parents == sorted(known, key=lambda genome: -known[genome])[:2]


def test_children_of_networks_of_one_shape_have_the_layers_of_their_parents_place_by_place() -> None:
    chosen = SPACES.read("binary-mobilenet:stages=6/6")
    ground = Ground(chosen, SIZES, 0, lambda genome: True)
    draw, known = random.Random(0), list[Genome]()
    for mutation in (1e-9, 1.0):
        generations = Generations(Evolution(round=40, parents=2, mutation=mutation), ground)
        known = [chosen.drawn(Chance(draw), SIZES) for _ in range(2)]
        generations.tell([(genome, 1.0) for genome in known])
        children = generations.ask()[:20]  # of two parents
        assert all(layer in places for child in children for layer, *places in zip(child, *known, strict=True))
        assert {child[number] for child in children for number in (1, 12)} >= {known[0][1], known[1][12]}
    assert any(child[12] not in (known[0][12], known[1][12]) for child in generations.ask()[20:])  # the mutated ones


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS.names() if name != "aco"])
def test_a_budget_that_nothing_keeps_is_a_sentence(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnal.search.samplers.sampler.TRIES", 20)
    monkeypatch.setattr("dnal.search.samplers.tpe.TRIES", 20)
    with pytest.raises(UserError, match="keeps the budget"):
        course(sampler, "layers", "params<=10")


@pytest.mark.parametrize("space", SPACES.names())
@pytest.mark.parametrize("sizes", [SIZES, (3, 20, 20)])
def test_no_network_of_a_space_costs_less_than_what_it_calls_its_smallest(space: str, sizes: Sizes) -> None:
    for text in (space, SMALL[space]):
        chosen, draw = SPACES.read(text), random.Random(0)
        draws = 8 if chosen.fixed_kinds else 30  # whose networks are nearly alike
        bounds = Bounds("params<=1G,memory<=1GB", KINDS["images"], sizes, 10, Deployed.of(1, "torch-cpu"))
        smallest = [bounds.costs(chosen.model(genome)) or {} for genome in chosen.smallest(sizes)]
        drawn = [bounds.costs(chosen.model(chosen.drawn(Chance(draw), sizes))) or {} for _ in range(draws)]
        for cost in ("macs", "params", "memory"):
            assert 0 < min(costs[cost] for costs in smallest) <= min(costs[cost] for costs in drawn)


@pytest.mark.parametrize("space", SPACES.names())
@pytest.mark.parametrize("cost", ["macs", "params", "memory"])
def test_a_budget_below_the_smallest_network_is_refused_before_any_is_drawn(cost: str, space: str) -> None:
    def bounds(number: float) -> Bounds:
        return Bounds(f"{cost}<={number}", KINDS["images"], SIZES, 10, Deployed.of(1, "torch-cpu"))

    chosen = SPACES.read(space)
    least = min((bounds(1e9).costs(chosen.model(genome)) or {})[cost] for genome in chosen.smallest(SIZES))
    bounds(least).check(chosen)
    with pytest.raises(UserError, match=rf"the budget {cost}<=.* is below the least that a network of this space has"):
        bounds(least - 1).check(chosen)


def test_a_share_of_nothing_is_no_budget() -> None:
    with pytest.raises(UserError, match="a search has none; say how much, such as 'macs<=2M'"):
        Bounds("macs<=30%", KINDS["images"], SIZES, 10, Deployed.of(1, "torch-cpu"))


def test_a_network_that_takes_too_much_memory_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = Bounds("params<=1k", KINDS["images"], SIZES, 10, Deployed.of(1, "torch-cpu"))
    monkeypatch.setattr(bounds, "network", lambda model: pytest.fail("it was built"))
    assert not bounds.within("layers/" + "-".join(["conv_4096_9"] * 9))
    assert bounds.costs("layers/conv_64_3") is None


def test_networks_are_told_in_the_order_in_which_they_were_asked_for_whichever_ends_first() -> None:
    """Two searches of which one learns the worths of a round backwards."""
    chosen = SPACES.read(SMALL["layers"])

    def asked(backwards: bool) -> list[str]:
        bounds = Bounds("params<=6k", KINDS["images"], SIZES, 10, Deployed.of(1, "torch-cpu"))
        ground = Ground(chosen, SIZES, 0, lambda genome: bounds.within(chosen.model(genome)))
        found = Progress(chosen, SAMPLERS.read("pso:particles=4").course(ground), bounds, 12, {})
        found.advance()
        while not found.over:
            waiting = [one for one in found.candidates if one.evaluation is None]
            for one in waiting[:: -1 if backwards else 1]:
                one.evaluation = Evaluation(worth_of(one.model))
            found.advance()
        return [one.model for one in found.candidates]

    assert asked(True) == asked(False)
