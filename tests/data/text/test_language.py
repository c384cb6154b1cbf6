"""Texts of which the next byte is told, measured by how likely they are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dnal import UserError, data
from dnal.data.objective import LANGUAGE
from dnal.train.evaluate import IGNORED, log_likelihood, perplexity_of
from dnal.train.outcomes import outcomes_of


class Answers(nn.Module):
    """Logits (N, classes, L) that depend on the tokens alone."""

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(classes, classes, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        return self.table[x].mT


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [tuple(torch.randint(7, (4, 5), generator=draw) for _ in range(2)) for _ in range(count)]  # type: ignore[misc]


def test_it_is_the_mean_logarithm_of_what_each_token_was_given() -> None:
    network, pairs = Answers().train(), batches()
    pairs[0][1][0, :2] = IGNORED
    told = [
        math.log(float(network.table[x].softmax(-1)[y]))
        for inputs, targets in pairs
        for x, y in zip(inputs.flatten().tolist(), targets.flatten().tolist(), strict=True)
        if y != IGNORED
    ]
    found = log_likelihood(network, pairs)
    assert len(told) == 58
    assert found == pytest.approx(math.fsum(told) / len(told), abs=1e-6)
    assert network.training
    assert perplexity_of(found) == pytest.approx(math.prod(math.exp(-one / len(told)) for one in told), rel=1e-5)
    values = outcomes_of(log_likelihood, network, pairs)
    assert values is not None
    assert len(values.values) == 12
    assert sum(values.values) / 12 == pytest.approx(found, abs=1e-6)


def test_a_network_that_knows_nothing_is_as_undecided_as_there_are_tokens() -> None:
    network = Answers()
    nn.init.zeros_(network.table)
    assert perplexity_of(log_likelihood(network, batches())) == pytest.approx(7, rel=1e-6)
    assert perplexity_of(-1e6) == math.inf
    assert math.isnan(log_likelihood(network, []))


def test_a_text_says_by_what_it_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("".join(f"{n} men went to mow, äöü. " for n in range(200)), encoding="utf-8")
    found, plain = data.load(f"{path}:measure=perplexity", input_shape=(16, 257)), data.load(str(path))
    assert found.objective is LANGUAGE
    assert found.metric is log_likelihood
    assert (found.classes, plain.objective.name) == (257, "next-token")
    assert LANGUAGE.shown(-math.log(4)) == "-1.3863 (perplexity 4)"
    one = found.train.batch(torch.arange(3), 0)
    assert torch.equal(one["input_ids"][:, 1:], one["labels"][:, :-1])
    with pytest.raises(UserError, match="perplexity is of a text without"):
        data.load("negation:measure=perplexity")
    with pytest.raises(UserError, match="measure"):
        data.load(f"{path}:measure=beauty")
