import torch

import dnal
from dnal.methods.uniform import random_scores, uniform_scores
from dnal.selection.select import select


def test_every_group_keeps_about_the_same_share_of_its_best(space: dnal.Space) -> None:
    scores = torch.randn(space.num_variables, dtype=torch.float64)
    chosen = select(space, uniform_scores(space, scores), {"macs": 0.3 * space.full_cost["macs"]})
    shares = [float(chosen[group.variables].double().mean()) for group in space.groups]
    assert max(shares) - min(shares) <= 1.5 / min(g.width for g in space.groups)
    for group in space.groups:
        kept, left = group.variables[chosen[group.variables]], group.variables[~chosen[group.variables]]
        assert scores[kept].min() > scores[left].max()


def test_random_scores_follow_their_seed_and_leave_the_global_state(space: dnal.Space) -> None:
    state = torch.get_rng_state()
    assert torch.equal(random_scores(space, 3), random_scores(space, 3))
    assert not torch.equal(random_scores(space, 3), random_scores(space, 4))
    assert torch.equal(state, torch.get_rng_state())
