"""Todyformer: its patches, that it knows nothing of now and later, and that it becomes smaller."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

import dnal
from dnal.base.errors import UserError
from dnal.data.events.events import Events, events_of, read_events
from dnal.data.events.negatives import NEGATIVES, Negatives
from dnal.data.events.windows import Windows, causal_features
from dnal.models.temporal.edgebank import edgebank
from dnal.models.temporal.patches import Patches
from dnal.models.temporal.todyformer import Local, TimeEncoding, Todyformer
from dnal.studies.links import trained_on_links
from independent import coin_flips, difference, randomise, run, zero_twin
from killer import Killed, Killer
from learned import check_same

NODES = 9


def window(windows: int = 2, width: int = 22) -> Tensor:
    return torch.randint(NODES, (windows, width, 2), generator=torch.Generator().manual_seed(0))


def drawn(count: int = 400, nodes: int = 12, seed: int = 0) -> Events:
    draw = torch.Generator().manual_seed(seed)
    pairs = torch.randint(nodes, (count, 2), generator=draw)
    return events_of(pairs[:, 0], pairs[:, 1], torch.arange(count) // 3)  # three events at a time


def small(**changes: Any) -> Todyformer:
    torch.manual_seed(0)
    return Todyformer(**{"nodes": NODES, "width": 8, "heads": 2, "patches": 4, **changes})


def test_patches_have_equal_numbers_of_events_in_their_order_and_a_token_for_each_node() -> None:
    events = window()
    patches = Patches.of(events, 4, NODES)
    expected = []
    for number, own in enumerate(events.tolist()):
        bounds = [math.ceil(m * len(own) / 4) for m in range(5)]
        assert max(b - a for a, b in pairwise(bounds)) <= math.ceil(len(own) / 4)
        for m in range(4):
            nodes = {node for pair in own[bounds[m] : bounds[m + 1]] for node in pair}
            expected += [(number, m, node) for node in nodes]
    rows = patches.rows[patches.place // 4]
    found = zip((rows // NODES).tolist(), (patches.place % 4).tolist(), patches.node.tolist(), strict=True)
    assert sorted(found) == sorted(expected)
    assert (rows % NODES).equal(patches.node)
    # Every event is a message each way, between tokens of its own patch.
    sent = patches.node[patches.source], patches.node[patches.target]
    flat = events.flatten(0, 1)
    assert torch.cat([flat, flat.flip(1)]).equal(torch.stack(sent, 1))
    assert (patches.place[patches.source] % 4).equal(patches.place[patches.target] % 4)
    assert (rows[patches.source] // NODES).equal(rows[patches.target] // NODES)


def test_pack_and_unpack_are_inverse() -> None:
    patches = Patches.of(window(), 4, NODES)
    tokens = torch.randn(len(patches.node), 3)
    packed = patches.pack(tokens)
    assert packed.shape == (len(patches.rows), 4, 3)
    assert patches.unpack(packed).equal(tokens)
    assert patches.pack(patches.unpack(packed)).equal(packed)
    assert int(patches.there.sum()) == len(tokens)
    assert not packed[~patches.there].any()
    assert bool(patches.there.any(1).all())


def test_nodes_are_found_in_their_own_window() -> None:
    events = window(width=3)
    patches = Patches.of(events, 2, NODES)
    row, known = patches.find(torch.arange(NODES).repeat(2, 1))
    for number in range(2):
        assert known[number].nonzero().flatten().tolist() == sorted(set(events[number].flatten().tolist()))
        found = patches.rows[row[number]][known[number]]
        assert found.equal(number * NODES + known[number].nonzero().flatten())


def test_local_attention_is_a_softmax_over_a_tokens_messages() -> None:
    torch.manual_seed(0)
    patches = Patches.of(window(1, 10), 2, NODES)
    layer = Local(8, 2, 3, 0.0).eval()
    x, said = torch.randn(len(patches.node), 8), torch.randn(20, 3)
    normed = layer.norm(x)
    rows = []
    for token in range(len(x)):
        own = (patches.target == token).nonzero().flatten()
        sent = torch.cat([normed[patches.source[own]], said[own]], 1)
        q, k, v = (
            layer.query(normed[token]).view(2, 4),
            layer.key(sent).view(-1, 2, 4),
            layer.value(sent).view(-1, 2, 4),
        )
        weight = ((k * q).sum(2) / 2).softmax(0)
        rows.append((weight[:, :, None] * v).sum(0).flatten())
    expected = x + layer.out(torch.stack(rows))
    expected = expected + layer.feed(expected)
    assert torch.allclose(layer(x, said, patches), expected, atol=1e-5)


def test_windows_do_not_see_each_other_and_their_order_is_that_of_the_patches() -> None:
    network = small().eval()
    events, ages = window(), torch.linspace(1, 0, 22).repeat(2, 1)
    features, pairs = torch.rand(2, 22, 3), torch.randint(NODES, (2, 5, 2))
    both = network(events, ages, features, pairs)
    assert both.shape == (2, 2, 5)
    for one in range(2):
        own = slice(one, one + 1)
        assert torch.allclose(network(events[own], ages[own], features[own], pairs[own]), both[own], atol=1e-5)
    # Within a patch the order does not matter, across patches it does.
    order = torch.arange(22)
    order[:2] = order[:2].flip(0)
    same = network(events[:, order], ages[:, order], features[:, order], pairs)
    assert torch.allclose(same, both, atol=1e-5)
    other = network(events.flip(1), ages, features, pairs)
    assert not torch.allclose(other, both, atol=1e-3)


def test_a_window_is_strictly_before_its_batch() -> None:
    events = drawn()
    windows = Windows(events, width=50, batch=20)
    batches = list(windows.batches(100, 300, "random", 0))
    assert len(batches) == 10
    for number, (inputs, told) in enumerate(batches):
        first = 100 + 20 * number
        now = events.time[first]
        past = events.pairs[events.time < now][-50:]
        assert inputs["events"][0].equal(past)
        assert float(inputs["ages"].min()) > 0
        assert float(inputs["ages"].max()) == 1
        assert told[0, :20].tolist() == [1] * 20
        assert told[0, 20:].tolist() == [0] * 20
        assert inputs["pairs"][0, :20].equal(events.pairs[first : first + 20])


def test_the_future_changes_nothing_that_is_known() -> None:
    events = drawn()
    at = 201  # the first of its time
    assert events.time[at - 1] < events.time[at]
    draw = torch.Generator().manual_seed(5)
    pairs = events.pairs.clone()
    pairs[at:] = torch.randint(12, (len(events) - at, 2), generator=draw)
    other = Events(pairs[:, 0], pairs[:, 1], events.time, events.nodes)
    known, same = (Windows(each, width=64).window(at) for each in (events, other))
    assert all(known[name].equal(same[name]) for name in known)
    first, past = 345, 342  # of the last part; the event itself is the same, and what comes after it another
    assert events.time[past - 1] < events.time[past]
    pairs = events.pairs.clone()
    pairs[first + 1 :] = torch.randint(12, (len(events) - first - 1, 2), generator=draw)
    other = Events(pairs[:, 0], pairs[:, 1], events.time, events.nodes)
    for kind in NEGATIVES:
        chosen, same_ones = (
            Negatives(each)(kind, first, first + 1, past, torch.Generator().manual_seed(0)) for each in (events, other)
        )
        assert chosen.shape == (1, 2)
        assert chosen.equal(same_ones), kind


def test_what_is_planted_in_the_future_is_not_found() -> None:
    """Every pair has an event again in the very same moment and right after it, so whoever sees it knows all."""
    draw = torch.Generator().manual_seed(1)
    pairs = torch.randint(40, (300, 2), generator=draw).repeat_interleave(3, 0)
    time = torch.arange(300).repeat_interleave(3) * 10.0 + torch.tensor([0.0, 0.0, 1.0]).repeat(300)
    events = events_of(pairs[:, 0], pairs[:, 1], time)
    only_first = torch.arange(900) % 3 == 0
    windows = Windows(events, width=60, batch=3)
    torch.manual_seed(0)
    network = Todyformer(nodes=40, width=8, heads=2, blocks=1, patches=4, dropout=0.0)
    train, val = events.ends
    trained_on_links(network, windows, 0, train, epochs=2, lr=0.01, seed=0)
    said, told = [], []
    for inputs, wanted in windows.batches(val, len(events), "random", 9):
        first = [0, 3]  # the first event of the moment, and its negative
        said.append(network(**inputs).detach()[0, 1][first] - network(**inputs).detach()[0, 0][first])
        told.append(wanted[0][first])
    assert only_first[val]
    assert average_precision_score(torch.cat(told), torch.cat(said)) < 0.65
    # The same events are found by one that looks at those of the moment.
    cheat = [
        edgebank(events.pairs[val + 3 * n + 1 : val + 3 * n + 2], i["pairs"][0, [0, 3]], 40)
        for n, (i, _) in enumerate(windows.batches(val, len(events), "random", 9))
    ]
    assert average_precision_score(torch.cat(told), torch.cat(cheat)) > 0.95


def test_features_of_events_are_of_those_before() -> None:
    pairs = window(1, 30)[0]
    whole = causal_features(pairs)
    for end in (1, 7, 20):
        assert causal_features(pairs[:end]).equal(whole[:end])
    for i in (3, 12, 29):
        before = pairs[:i].tolist()
        one, other = pairs[i].tolist()
        met = [{b for a, b in before if a == node} | {a for a, b in before if b == node} for node in (one, other)]
        had = [sum((a == node) + (b == node) for a, b in before) for node in (one, other)]
        assert torch.allclose(
            whole[i].expm1(), torch.tensor([*had, len(met[0] & met[1])], dtype=torch.float32), atol=1e-4
        )


def test_negatives_are_what_they_are_called() -> None:
    events = drawn(600, nodes=30)
    draw, negatives = torch.Generator().manual_seed(0), Negatives(events)
    train, val = events.ends
    first, last = val + 20, val + 30
    past = int((events.time < events.time[first]).sum())
    trained = {tuple(pair) for pair in events.pairs[:train].tolist()}
    since = {tuple(pair) for pair in events.pairs[train:past].tolist()} - trained
    now = {tuple(pair) for pair in events.pairs[first:last].tolist()}
    for kind, allowed in (("historical", trained), ("inductive", since)):
        found = {tuple(pair) for pair in negatives(kind, first, last, past, draw).tolist()}  # type: ignore[arg-type]
        assert len(found) == 10
        assert found <= allowed - now
    assert negatives("random", first, last, past, draw)[:, 0].equal(events.source[first:last])


def test_edgebank_remembers_pairs_in_their_direction() -> None:
    past = torch.tensor([[0, 1], [2, 3], [0, 1]])
    assert edgebank(past, torch.tensor([[0, 1], [1, 0], [2, 3], [3, 3]]), 5).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"src": np.array([0.5, 1, 2, 3])}, "whole numbers"),
        ({"dst": np.array([0.5, 1, 2, 3], ">f4")}, "whole numbers"),
        ({"src": np.int64(1), "dst": np.int64(1), "t": np.int64(1)}, "equal lengths"),
        ({"src": np.array([-1, 1, 2, 3])}, "from 0"),
        ({"dst": np.array([0, 1, 2, 2**40])}, "from 0 to below"),
        ({"t": np.array([0, 1, 2, np.nan])}, "NaN"),
        ({"t": np.arange(3)}, "equal lengths"),
        ({"t": np.array(["a", "b", "c", "d"])}, "must be numbers"),
    ],
)
def test_wrong_events_are_a_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    content = {"src": np.arange(4), "dst": np.arange(4), "t": np.arange(4), **changes}
    np.savez(tmp_path / "events.npz", **content)
    with pytest.raises(UserError, match=sentence):
        read_events(tmp_path / "events.npz")


def test_time_encodings_begin_slow_and_fast_and_are_drawn_again() -> None:
    encoding = TimeEncoding(4)
    assert torch.allclose(encoding(torch.zeros(3)), torch.ones(3, 4))
    assert torch.allclose(encoding(torch.tensor([0.01]))[0], torch.tensor([0.01, 0.1, 1.0, 10.0]).cos(), atol=1e-5)
    with torch.no_grad():
        encoding.speed.zero_()
    encoding.reset_parameters()
    assert encoding.speed[0] == 1


def inputs_of(network: Todyformer) -> dict[str, Tensor]:
    return {
        "events": window(), "ages": torch.linspace(1, 0, 22).repeat(2, 1), "features": torch.rand(2, 22, 3),
        "pairs": torch.randint(NODES, (2, 5, 2)),
    }  # fmt: skip


def test_heads_and_widths_leave_exactly() -> None:
    network = randomise(small()).eval()
    inputs = inputs_of(network)
    space = dnal.Space.of(network, inputs)
    widths = {group.name: group.width for group in space.groups}
    assert widths["whole.0.query.weight"] == 2  # heads
    assert widths["local.0.value.weight"] == 4  # channels, the same ones of each head
    assert widths["local.0.feed.1.weight"] == widths["whole.1.feed.1.weight"] == 16
    for seed in range(2):
        architecture = coin_flips(space, seed)
        expected = run(zero_twin(network, space, architecture.open), inputs)
        assert difference(expected, run(dnal.compact(network, architecture), inputs)) < 1e-4
        assert difference(expected, run(dnal.gated(network, architecture), inputs)) < 1e-4


def test_a_file_with_room_for_all_tokens_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = randomise(small()).eval()
    inputs = inputs_of(network)
    inputs["events"][0] = 3  # one node alone
    inputs["pairs"][1, 0] = torch.tensor([NODES - 1, 0])
    for readout in ("mean", "last"):
        network.readout = readout
        expected = network(**inputs).detach()
        with monkeypatch.context() as patched:
            patched.setattr("dnal.models.temporal.patches._static_shapes", lambda keys: True)
            assert Patches.of(inputs["events"], 4, NODES).node.shape == (2 * 2 * 22,)
            assert torch.allclose(network(**inputs), expected, atol=1e-5)
    network.readout = "mean"
    expected = network(**inputs).detach()
    runtime = pytest.importorskip("onnxruntime")
    written = dnal.export.to_onnx(network, inputs, tmp_path / "model.onnx")
    session = runtime.InferenceSession(written.path, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    assert torch.allclose(torch.from_numpy(got), expected, atol=1e-5)


def learned(**options: Any) -> dnal.Learned:
    events = drawn(nodes=NODES)
    windows = Windows(events, width=40, batch=40)
    train, val = events.ends
    return dnal.learn(
        small(), list(windows.batches(40, train, "random", 0)), list(windows.batches(train, val, "random", 1)),
        list(windows.batches(val, len(events), "random", 2)), budget="params<=70%", epochs=(1, 1, 1), optimizer="adamw",
        lr=0.003, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_a_job_that_is_killed_gives_the_same_small_network(tmp_path: Path) -> None:
    whole = learned()
    assert whole.figures.compact.params <= 0.7 * whole.figures.base.params
    with pytest.raises(Killed):
        learned(checkpoints=tmp_path, listener=Killer(9))
    check_same(learned(checkpoints=tmp_path), whole)
