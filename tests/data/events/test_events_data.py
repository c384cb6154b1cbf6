"""Events as a kind of data: parts in the order of time, windows before what is predicted, pairs, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dnal import data
from dnal.base.errors import UserError
from dnal.data.dataset import plain
from dnal.data.events.events import events_of
from dnal.data.events.next_events import EventsPart
from dnal.data.events.windows import Windows, causal_features
from dnal.train.batch import LABELS
from dnal.train.evaluate import IGNORED

COUNT, NODES, WINDOW, PREDICTED = 500, 12, 40, 15


def drawn(seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Three events at a time, in no order."""
    draw = np.random.RandomState(seed)
    pairs = draw.randint(NODES, size=(COUNT, 2))
    order = draw.permutation(COUNT)
    return {"src": pairs[order, 0], "dst": pairs[order, 1], "t": (np.arange(COUNT) // 3)[order]}


@pytest.fixture
def loaded(tmp_path: Path) -> data.Dataset:
    np.savez(tmp_path / "own.npz", **drawn())
    return data.load(f"{tmp_path / 'own.npz'}:window={WINDOW},predicted={PREDICTED}")


def parts(dataset: data.Dataset) -> list[EventsPart]:
    found = [dataset.train, dataset.val, dataset.test]
    assert all(isinstance(part, EventsPart) for part in found)
    return found  # type: ignore[return-value]


def whole(part: EventsPart, seed: int = 0) -> dict[str, Tensor]:
    return part.batch(torch.arange(len(part)), seed)


def test_a_file_is_of_events_and_each_is_predicted_once_in_the_order_of_time(loaded: data.Dataset) -> None:
    assert (loaded.kind, loaded.classes, loaded.input_shape) == ("events", 2, (NODES, WINDOW, 2 * PREDICTED))
    given = drawn()
    order = np.argsort(given["t"], kind="stable")
    pairs, time = np.stack([given["src"], given["dst"]], 1)[order], given["t"][order]
    train, val = int(0.7 * COUNT), int(0.85 * COUNT)
    first = next(i for i in range(COUNT) if (time < time[i]).sum() >= WINDOW)
    for part, begin, end in zip(parts(loaded), (first, train, val), (train, val, COUNT), strict=True):
        batch = whole(part)
        own, labels = batch["pairs"], batch[LABELS]
        assert own[:, :PREDICTED][labels[:, :PREDICTED] == 1].tolist() == pairs[begin:end].tolist()
        assert labels.equal(part.y)
        # As many without an event, which have the same source.
        assert (labels == 1).sum() == (labels == 0).sum() == end - begin
        assert own[:, PREDICTED:, 0][labels[:, PREDICTED:] == 0].tolist() == pairs[begin:end, 0].tolist()
        assert (labels == IGNORED).sum() == 2 * PREDICTED * len(part) - 2 * (end - begin)


def test_a_window_is_whole_and_strictly_before_what_is_predicted(loaded: data.Dataset) -> None:
    for part in parts(loaded):
        events = part.windows.events
        batch = whole(part)
        for row, start in enumerate(part.starts.tolist()):
            past = events.pairs[events.time < events.time[start]]
            assert batch["events"][row].equal(past[-WINDOW:])
            assert batch["features"][row].equal(causal_features(past[-WINDOW:]))
            assert float(batch["ages"][row].min()) > 0
            assert float(batch["ages"][row].max()) == 1


def test_what_is_planted_now_and_later_is_in_no_window(loaded: data.Dataset) -> None:
    """All events from the time of the first one that is predicted become others: what is known of it stays the same."""
    for part in parts(loaded):
        events, last = part.windows.events, len(part) - 1
        start = int(part.starts[last])
        now = events.time >= events.time[start]
        assert int(now.sum()) >= PREDICTED - 3
        source, target = (torch.where(now, NODES - 1, nodes) for nodes in (events.source, events.target))
        other = EventsPart(
            Windows(events_of(source, target, events.time), width=WINDOW, batch=PREDICTED), part.starts, part.last
        )
        known, same = (each.batch(torch.tensor([last]), 0) for each in (plain(part), other))
        assert not known["pairs"].equal(same["pairs"])
        for name in ("events", "ages", "features"):
            assert known[name].equal(same[name]), name


def test_negatives_are_drawn_again_for_training_alone(loaded: data.Dataset) -> None:
    train, val, _ = parts(loaded)
    first, again, other = (whole(train, seed)["pairs"] for seed in (0, 0, 1))
    assert first.equal(again)
    assert first[:, :PREDICTED].equal(other[:, :PREDICTED])
    assert not first[:, PREDICTED:].equal(other[:, PREDICTED:])
    for part in (val, plain(train)):
        several = part.batch(torch.tensor([1, 3]), 0)
        alone = part.batch(torch.tensor([3]), 1)
        assert all(alone[name][0].equal(several[name][1]) for name in alone)


def test_fewer_windows_and_other_events_are_other_data(loaded: data.Dataset, tmp_path: Path) -> None:
    path = f"{tmp_path / 'own.npz'}:window={WINDOW},predicted={PREDICTED}"
    few = data.load(path, limit_train=5)
    assert len(few.train) == 5
    assert (few.val.y.shape, few.test.y.shape) == (loaded.val.y.shape, loaded.test.y.shape)
    given = drawn()
    given["dst"][7] = (given["dst"][7] + 1) % NODES
    np.savez(tmp_path / "own.npz", **given)
    assert len({data.fingerprint(each) for each in (loaded, few, data.load(path))}) == 3
    # The sizes of a run say what its options said.
    assert data.load(str(tmp_path / "own.npz"), input_shape=loaded.input_shape).input_shape == loaded.input_shape


@pytest.mark.parametrize(
    ("name", "wanted", "sentence"),
    [
        (":window=400", {}, "before none of them is a window of 400"),
        (":window=600", {}, "before none of them is a window of 600"),
        (":window=4", {}, "8 or more"),
        (":width=4", {}, "width"),
        ("", {"input_shape": (NODES + 1, 40, 30)}, "leave the input away"),
        ("", {"input_shape": (NODES, 40, 31)}, "so their number is even"),
        ("", {"input_shape": (2**23, 40, 30)}, "nodes"),
        ("", {"input_shape": (NODES, 2**17, 30)}, "at most"),
        (":window=40", {"classes": 3}, "2 classes, not 3"),
        (":window=40", {"limit_train": 999}, "training windows, not 999"),
    ],
)
def test_what_cannot_be_is_a_sentence(name: str, wanted: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **drawn())
    with pytest.raises(UserError, match=sentence):
        data.load(f"{tmp_path / 'own.npz'}{name}", **wanted)


def test_what_cannot_be_read_is_told_before_options_and_kinds(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", **drawn())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:100])
    for name, sentence in (("nowhere", "there is no file"), ("cut", "is not an npz file")):
        for wanted in ({}, {"kind": "events"}):
            with pytest.raises(UserError, match=sentence):
                data.load(f"{tmp_path / name}.npz:window=40", **wanted)


@pytest.mark.parametrize(
    ("time", "sentence"),
    [
        (np.where(np.arange(COUNT) < 200, -1.7e308, 1.7e308), "too far apart"),
        (np.zeros(COUNT), "that is earlier"),
        (np.full(COUNT, np.nan), "NaN or infinite"),
    ],
)
def test_times_that_tell_no_order_are_refused(time: np.ndarray[Any, Any], sentence: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **{**drawn(), "t": time})
    with pytest.raises(UserError, match=sentence):
        data.load(f"{tmp_path / 'own.npz'}:window=40")


def test_messages_are_generated_alike_and_answered() -> None:
    first, again = (data.load("replies") for _ in range(2))
    assert data.fingerprint(first) == data.fingerprint(again)
    assert isinstance(first.train, EventsPart)
    pairs = [tuple(pair) for pair in first.train.windows.events.pairs.tolist()]
    draw = np.random.RandomState(0)
    shuffled = [pairs[i] for i in draw.permutation(len(pairs))]
    answers, by_chance = (sum(own[i][::-1] in own[i - 12 : i] for i in range(50, 1050)) for own in (pairs, shuffled))
    assert answers > 500
    assert by_chance < 100
