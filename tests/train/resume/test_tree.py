import json
import math

import pytest
import torch
from torch import nn

from dnal.train.resume.tree import all_finite, packed, unpacked


def through_json(tree):
    tensors, document = packed(tree)
    return unpacked(tensors, json.loads(json.dumps(document)))


def test_trees_come_back_as_they_were() -> None:
    tree = {
        "a": [1, 2.5, None, True, "text", (1, (2, 3))],
        3: {"x": torch.arange(4), "deep": [{"y": torch.tensor(1.5)}]},
        "tensor": {"dict": 1},  # words that the document uses itself
        "nothing": [math.inf, -math.inf],
    }
    back = through_json(tree)
    assert back["a"] == tree["a"]
    assert back["tensor"] == {"dict": 1}
    assert back["nothing"] == [math.inf, -math.inf]
    assert torch.equal(back[3]["x"], torch.arange(4))
    assert float(back[3]["deep"][0]["y"]) == 1.5
    assert math.isnan(through_json([math.nan])[0])


def test_an_optimizers_state_comes_back() -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    other = torch.optim.Adam(network.parameters())
    other.load_state_dict(through_json(optimizer.state_dict()))
    for parameter in network.parameters():
        for name, value in optimizer.state[parameter].items():
            assert torch.equal(other.state[parameter][name], value)


def test_what_no_file_can_hold_is_named() -> None:
    with pytest.raises(TypeError, match=r"a\.0 is a function"):
        packed({"a": [len.__call__ and (lambda: 1)]})


def test_all_finite_looks_everywhere() -> None:
    assert all_finite({"a": [torch.ones(2), (torch.tensor(3),)], "b": "nan"})
    assert not all_finite({"a": [torch.ones(2), {"c": torch.tensor([1.0, math.nan])}]})
