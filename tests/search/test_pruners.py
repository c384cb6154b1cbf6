"""Early stops: decisions are as by hand, by networks of earlier rounds alone, and nothing else changes."""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dnal.base.errors import UserError
from dnal.run.files import CANDIDATES, GENOME, MODEL, SEARCH
from dnal.run.searched import read_lines
from dnal.search import search
from dnal.search.pruners import PRUNERS
from dnal.search.pruners.pruner import EarlierNetwork
from dnal.search.training import Evaluation, data_of, evaluate, evaluation_of
from dnal.settings import Searches

pytest.importorskip("optuna")

SMALL: dict[str, Any] = {
    "space": "layers:channels=6,depth=5,units=12", "sampler": "random:round=3", "budget": "params<=4k,macs<=100k",
    "evaluations": 9, "epochs": 3, "final_epochs": 1, "limit_train": 80, "batch_size": 32,
    "pruner": "median:start=2",
}  # fmt: skip
KEPT = (SEARCH, CANDIDATES, GENOME, MODEL)
MODEL_NAME = "layers/conv_6_3-fc_12"
Decision = Callable[[Sequence[float], Sequence[EarlierNetwork]], bool]


def below_the_median(curve: Sequence[float], earlier: Sequence[EarlierNetwork]) -> bool:
    """By hand: worse at its best than the median of at least two that came to their end, from the second epoch on."""
    whole = [past.curve for past in earlier if not past.stopped]
    step = len(curve) - 1
    there = [one[step] for one in whole if step < len(one)]
    return len(whole) >= 2 and step >= 1 and bool(there) and max(curve) < statistics.median(there)


def not_among_the_best(curve: Sequence[float], earlier: Sequence[EarlierNetwork]) -> bool:
    """By hand: after 1, 3, 9 ... epochs, not among the best third of all that were trained for as long, itself too."""
    if len(curve) not in (1, 3, 9):
        return False
    rivals = sorted([curve[-1], *(past.curve[len(curve) - 1] for past in earlier if len(past.curve) >= len(curve))])
    return curve[-1] < rivals[-max(1, len(rivals) // 3)]


@pytest.mark.parametrize(
    ("text", "by_hand"),
    [("median:start=2,warm_up=1", below_the_median), ("successive-halving:reduction=3", not_among_the_best)],
)
def test_who_is_given_up_is_as_by_hand(text: str, by_hand: Decision) -> None:
    draw, said = random.Random(0), list[bool]()
    pruner = PRUNERS.read(text)
    for _ in range(40):
        earlier = list[EarlierNetwork]()
        for _ in range(draw.randrange(8)):
            length = draw.randint(1, 10)
            earlier.append(EarlierNetwork(tuple(draw.random() for _ in range(length)), stopped=length < 10))
        hopeless, curve = pruner.judge(earlier), list[float]()
        for _ in range(9):
            curve.append(draw.random())
            said.append(hopeless(curve[-1]))
            assert said[-1] == by_hand(curve, earlier), (curve, earlier)
            if said[-1]:
                break
    assert {True, False} == set(said)


def test_looking_on_changes_nothing_and_a_stop_is_the_beginning_of_the_whole() -> None:
    asked = Searches(data="digits", limit_train=80, epochs=3, batch_size=32)
    alone = evaluation_of(asked, MODEL_NAME)
    watched = Searches(**{**vars(asked), "pruner": "median:start=1"})
    whole = evaluation_of(watched, MODEL_NAME)
    assert whole.fitness == alone.fitness == whole.curve[-1]
    assert len(whole.curve) == 3
    assert alone.curve == ()
    told = Evaluation.from_text(evaluate(watched, MODEL_NAME, [EarlierNetwork((2.0, 2.0, 2.0), stopped=False)]))
    assert told == Evaluation(whole.curve[0], curve=whole.curve[:1], stopped=True)
    assert len(data_of(watched).train) == 80


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pruned") / "whole"
    assert search("digits", **SMALL, out=folder) is not None
    return folder


def test_the_best_was_trained_to_its_end_and_the_folder_says_who_was_not(whole: Path) -> None:
    lines = read_lines(whole)
    stopped = [line for line in lines if line.stopped]
    assert stopped
    assert all(line.fitness == line.curve[-1] for line in lines)
    assert all((len(line.curve) < 3) == line.stopped for line in lines)
    assert not any(line.stopped for line in lines if line.round == 1)  # of which nothing was known
    best = max((line for line in lines if not line.stopped), key=lambda line: line.fitness or 0)
    named = (whole / GENOME).read_text().strip()
    assert next(line.fitness for line in lines if line.model == named) == best.fitness
    assert sum(len(line.curve) for line in lines) < 3 * len(lines)  # epochs were saved


def test_a_search_with_early_stops_goes_on_with_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    trained: list[str] = []
    for number in (1, 4, 99):
        enough = len(trained) + number
        search(
            "digits", **SMALL, out=tmp_path / "parts", stop=lambda enough=enough: len(trained) >= enough,
            on_end=lambda _, candidate: trained.append(candidate.model),
        )  # fmt: skip
    assert len(trained) == len(set(trained)) == 9
    assert [(tmp_path / "parts" / name).read_bytes() for name in KEPT] == [(whole / name).read_bytes() for name in KEPT]


@pytest.mark.slow
def test_a_search_with_early_stops_is_the_same_side_by_side(whole: Path, tmp_path: Path) -> None:
    search("digits", **SMALL, out=tmp_path / "two", jobs=2)
    assert [(tmp_path / "two" / name).read_bytes() for name in KEPT] == [(whole / name).read_bytes() for name in KEPT]


def test_wrong_pruners_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, said in (
        ("medain", "did you mean 'median'?"),
        ("median:begin=3", "has no option 'begin'"),
        ("median:start=-1", "0 or more"),
    ):
        with pytest.raises(UserError, match=said):
            search("digits", **{**SMALL, "pruner": text})
    for text, epochs in (("median", 1), ("median:warm_up=2", 3), ("successive-halving:least=3", 3)):
        with pytest.raises(UserError, match=f"give --epochs {epochs + 1} or more, or --pruner none"):
            search("digits", **{**SMALL, "pruner": text, "epochs": epochs})
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"install 'dnal\[search\]'"):
        search("digits", **SMALL)


def test_a_pruner_that_stopped_no_network_warns(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the pruner 'median' stopped no network early"):
        search("digits", **{**SMALL, "pruner": "median", "evaluations": 1, "epochs": 2})


def test_the_page_shows_which_networks_were_stopped(whole: Path) -> None:
    from dnal.report.search import search_page

    page = search_page(whole)
    stopped = [line for line in map(json.loads, (whole / CANDIDATES).read_text().splitlines()) if line.get("stopped")]
    assert f"{len(stopped)} of them hollow" in page
    assert page.count('"circle-open"') >= len(stopped)
    assert "--pruner median:start=2" in page
