"""What an analysis says of mixtures of experts and of graphs."""

from __future__ import annotations

import torch

import dnal as library
from dnal import data
from dnal.analyses.analysis import Analysis, Looked
from dnal.analyses.document import document_of
from dnal.analyses.features import seen_of
from dnal.analyses.page import page
from dnal.analyses.routing import entropy, routing, routing_of
from dnal.models.widenet.images import WideNet


def test_shares_and_changes_are_counted() -> None:
    p = torch.tensor([
        [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]],
        [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]],
        [[0.1, 0.2, 0.7], [0.6, 0.1, 0.3]],
    ])  # fmt: skip
    found = routing(p, 2)
    assert found.loads.tolist() == [[0.25, 0.5, 0.25], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]
    assert found.changed.tolist() == [0.5, 1.0]
    assert float(found.entropy[1]) == float(entropy(torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)))
    assert torch.allclose(entropy(torch.full((2, 5), 0.2)), torch.ones(2))


def test_the_page_and_the_document_say_where_tokens_go_and_how_alike_nodes_are() -> None:
    torch.manual_seed(0)
    network = WideNet(classes=10, in_channels=1, side=8, patch=4, width=16, layers=3, heads=2, hidden=8).eval()
    found = data.load("digits", limit_train=50)
    loader = data.loaders(found, 256).test
    seen = seen_of(network, loader, torch.zeros(2, 1, 8, 8))
    routed = routing_of(network, loader)
    assert routed is not None
    looked = Looked.of("small", "run", seen, None, word="compact", macs=None, routing=routed, smoothness=0.25)
    plain = Looked.of("base", "run", seen, None, word="base", macs=None)
    analysis = Analysis([plain, looked], [], found, {}, None)
    first, second = document_of(analysis)["networks"]
    assert (first["routing"], first["smoothness"], second["smoothness"]) == (None, None, 0.25)
    assert second["routing"]["loads"] == routed.loads.tolist()
    html = page(analysis)
    assert "Which experts are used" in html
    assert "How alike the nodes are" in html
    without = page(Analysis([plain], [], found, {}, None))
    assert "Which experts are used" not in without
    assert "How alike the nodes are" not in without


def test_a_run_of_a_graph_states_its_smoothness() -> None:
    from dnal.analyses.of_run import _smoothness
    from dnal.analyses.smoothness import smoothness_of

    dataset = data.load("blocks")
    network = library.models.create("dagnn", classes=4, input_shape=dataset.input_shape).eval()
    loaders = data.loaders(dataset, 1)
    example = library.data.KINDS["graphs"].example(dataset.input_shape)
    seen = seen_of(network, loaders.test, example)
    assert seen.features is None  # its logits are no linear layer's
    assert _smoothness(seen) == float(smoothness_of(seen.logits).mean())
