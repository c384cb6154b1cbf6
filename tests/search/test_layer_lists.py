"""psoCNN's rules for differences, velocities and moves, by lists worked out by hand."""

from __future__ import annotations

import random

from dnal.models.genomes.genome import Layer
from dnal.search.samplers.layer_lists import (
    KEEP,
    REMOVE,
    any_two,
    difference,
    moved,
    same_kind,
    same_layer,
    velocity,
)
from dnal.search.samplers.pso import PSO, Particle, Swarm
from dnal.search.samplers.sampler import Ground
from dnal.search.spaces import SPACES

A, B, MAX, AVG = Layer("conv", (16, 3)), Layer("conv", (8, 5)), Layer("max"), Layer("avg")
F, G, H = Layer("fc", (10,)), Layer("fc", (20,)), Layer("fc", (30,))


def ground(space: str = "layers", side: int = 32) -> Ground:
    return Ground(SPACES.read(space), (1, side, side), 0, lambda genome: True)


class Given(random.Random):
    """Gives these numbers, one after the other."""

    def __init__(self, *numbers: float) -> None:
        super().__init__()
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


def test_difference() -> None:
    """Equal kinds are kept, whatever their values; another kind is the better list's; what it lacks goes."""
    assert difference([A, MAX, B], [B, AVG]) == [KEEP, MAX, B]
    assert difference([A], [B, MAX, A]) == [KEEP, REMOVE, REMOVE]
    assert difference([A, MAX], [A, MAX]) == [KEEP, KEEP]
    assert difference([], []) == []
    assert difference([A, MAX], [B, MAX], same_layer) == [A, KEEP]
    assert difference([F, G], [H], any_two) == [KEEP, G]


def test_velocity_takes_each_place_from_one_of_two_differences() -> None:
    """At most the share: towards the best of all. Where that has no such place, the layer goes."""
    mine, best = [KEEP, MAX, B], [AVG, KEEP]
    assert velocity(mine, best, 0.5, Given(0.5, 0.51, 0.9)) == [AVG, MAX, B]
    assert velocity(mine, best, 0.5, Given(0.6, 0.2, 0.1)) == [KEEP, KEEP, REMOVE]
    assert velocity(best, mine, 0.5, Given(0.1, 0.1, 0.9)) == [KEEP, MAX, REMOVE]


def test_a_move() -> None:
    assert moved([A, MAX, B], [KEEP, REMOVE, AVG, B]) == [A, AVG, B]
    assert moved([A], [KEEP, REMOVE]) == [A]
    assert moved([], [F, REMOVE]) == [F]


def test_a_particle_moves_layers_of_images_from_the_start_and_others_from_the_end() -> None:
    swarm = Swarm(PSO(cg=1.0), ground())
    swarm.best = (A, MAX, A, F, G)
    # Images: keep, then max for the convolution, then its third layer. Behind them the last one is kept, and the first
    # of the better list joins it in front.
    assert swarm.after(Particle(at=(B, B, H), best=(B, B, H))) == (B, MAX, A, F, H)
    swarm.best = (A, F)
    assert swarm.after(Particle(at=(B, MAX, F, G), best=(B, MAX, F, G))) == (B, G)
    alone = Swarm(PSO(cg=0.0), ground())
    alone.best = (A, MAX, A, F)
    assert alone.after(Particle(at=(B, AVG), best=(A, MAX))) == (B, MAX)  # towards its own best


def test_values_move_only_where_they_are_asked_to() -> None:
    swarm = Swarm(PSO(cg=1.0, same="layer"), ground())
    swarm.best = (A, MAX, F)
    assert swarm.after(Particle(at=(B, MAX, H), best=(B, MAX, H))) == (A, MAX, F)
    published = Swarm(PSO(cg=1.0), ground())
    published.best = (A, MAX, F)
    assert published.after(Particle(at=(B, MAX, H), best=(B, MAX, H))) == (B, MAX, H)


def test_poolings_beyond_what_an_image_bears_are_left_out() -> None:
    """Images of 8x8 are halved once, of 32x32 three times; the published code leaves a moved list one less."""
    assert [ground(side=side).most_pools for side in (4, 8, 16, 28, 32)] == [0, 1, 2, 3, 3]
    best = (A, MAX, A, MAX, A, AVG)
    for pools, left in (("all", (A, MAX, A, MAX, A)), ("one-less", (A, MAX, A, A))):
        swarm = Swarm(PSO(cg=1.0, pools=pools), ground(side=16))  # type: ignore[arg-type]
        swarm.best = best
        assert swarm.after(Particle(at=(A,), best=(A,))) == left


def test_the_best_of_all_is_known_after_the_round_or_at_once() -> None:
    for best, asked in (("round", 3), ("at-once", 1)):
        swarm = Swarm(PSO(particles=3, best=best), ground())  # type: ignore[arg-type]
        first = swarm.ask()
        swarm.tell([(genome, worth) for genome, worth in zip(first, (0.2, 0.9, 0.9), strict=True)])
        assert swarm.best == first[2]  # one that is as good takes its place
        assert len(swarm.ask()) == asked


def test_a_particle_keeps_its_best_where_it_gets_worse_or_is_not_trained() -> None:
    swarm = Swarm(PSO(particles=2), ground())
    first = swarm.ask()
    swarm.tell([(first[0], 0.5), (first[1], 0.7)])
    second = swarm.ask()
    swarm.tell([(second[0], 0.4), (second[1], None)])
    assert [particle.best for particle in swarm.particles] == first
    assert [particle.at for particle in swarm.particles] == second
    assert (swarm.best, swarm.worth) == (first[1], 0.7)


def test_kinds_and_layers() -> None:
    assert same_kind(A, B)
    assert not same_kind(MAX, AVG)
    assert not same_layer(A, B)


def test_in_the_layered_graph_what_may_not_follow_is_left_out() -> None:
    conv, drop, norm = Layer("conv", (8, 3, "relu")), Layer("drop", (10,)), Layer("bn")
    flat, dense = Layer("flat"), Layer("dense", (32, "relu"))
    swarm = Swarm(PSO(cg=1.0), ground("layered-graph"))
    swarm.best = (conv, drop, norm, flat, dense)
    assert swarm.after(Particle(at=(conv, norm, flat), best=(conv, norm, flat))) == (conv, drop, norm, flat, dense)
    space = swarm.ground.space
    assert space.mended([conv, drop, drop, flat, flat, dense, conv], 9) == (conv, drop, flat, dense)
    assert space.mended([norm, drop], 9) == ()
