"""A zoo: trained together is trained alone, a killed one goes on byte for byte, and anybody's folder is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dnal import UserError, data
from dnal.predictors.weights.chain import said
from dnal.predictors.zoo.folder import chains, make_zoo, read_zoo
from dnal.predictors.zoo.recipe import Part, Recipe, Shape, Training
from dnal.predictors.zoo.together import accuracies, trained_together

QUICK = Recipe(networks=6, together=2, kind="both", images=200, steps=40, widths=(4, 6), batch=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "zoo"
    make_zoo(folder, "digits", QUICK)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("shape", [Shape("cnn", (3, 4), "gelu"), Shape("mlp", (5,), "tanh")], ids=["cnn", "mlp"])
def test_networks_that_are_trained_together_are_those_trained_alone_by_torch(shape: Shape) -> None:
    """Against torch's own SGD on each chain, step by step."""
    torch.manual_seed(0)
    x, y = torch.randn(40, 1, 8, 8), torch.randint(3, (40,))
    trainings = tuple(Training(0.05 * (k + 1), 0.01 * k, 1.0, 20 + k, 4 + 3 * (k % 2), 7 + k) for k in range(3))
    found = trained_together(Part(shape, trainings), x, y, 3, 6)
    for row, training in enumerate(trainings):
        before = Training(training.lr, training.decay, training.scale, training.examples, 0, training.seed)
        (start,) = chains(shape, 8, trained_together(Part(shape, (before,)), x, y, 3, 6))
        assert start is not None
        parameters = [
            torch.tensor(own, requires_grad=True) for layer in start.layers for own in (layer.weight, layer.bias)
        ]
        optimizer = torch.optim.SGD(parameters, training.lr, momentum=0.9, weight_decay=training.decay)
        draw = torch.Generator().manual_seed(training.seed + 1)
        own = torch.randperm(40, generator=draw)[: training.examples]
        for rows in own[torch.randint(len(own), (training.steps, 6), generator=draw)]:
            optimizer.zero_grad()
            F.cross_entropy(_run(shape, parameters, x[rows]), y[rows]).backward()
            optimizer.step()
        together = [own[row] for pair in zip(found.weights, found.biases, strict=True) for own in pair]
        for ours, theirs in zip(together, parameters, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def _run(shape: Shape, parameters: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    hidden, activation = len(shape.widths), {"gelu": F.gelu, "tanh": torch.tanh}[shape.activation]
    for place in range(hidden):
        weight, bias = parameters[2 * place : 2 * place + 2]
        x = activation(F.conv2d(x, weight, bias, 2, 1) if weight.dim() == 4 else F.linear(x.flatten(1), weight, bias))
    x = x.mean((2, 3)) if x.dim() == 4 else x
    return F.linear(x, *parameters[-2:])


def test_what_is_kept_are_the_networks_and_their_accuracy(made: Path) -> None:
    zoo = read_zoo(made)
    assert (len(zoo.networks), zoo.missing, zoo.failed, len(set(zoo.labels))) == (6, 0, 0, 6)
    assert {network.layers[0].convolves for network in zoo.networks} == {True, False}
    x, y = data.load("digits", input_shape=(1, 8, 8), augment=False).test.batch(torch.arange(540), 0)
    for network, accuracy in zip(zoo.networks, zoo.accuracy, strict=True):
        assert float((said(network, x)[-1].argmax(1) == y).double().mean()) == pytest.approx(accuracy, abs=1 / 500)
    assert zoo.accuracy.max() > 0.25
    table = zoo.table()
    assert (table.target("accuracy") == zoo.accuracy).all()
    assert len({training.lr for training in zoo.trainings}) == 6


def test_one_that_was_stopped_goes_on_to_the_same_bytes(made: Path, tmp_path: Path) -> None:
    parts: list[int] = []
    make_zoo(tmp_path / "zoo", "digits", QUICK, stop=lambda: len(parts) == 2, on_part=lambda at, of: parts.append(at))
    assert parts == [1, 2]
    zoo = read_zoo(tmp_path / "zoo")
    assert (len(zoo.networks), zoo.missing) == (4, 2)
    written = {name: (tmp_path / "zoo" / name).stat().st_mtime_ns for name in contents(tmp_path / "zoo")}
    killed = tmp_path / "zoo" / "part-0002.json.0123456789abcdef.tmp"
    killed.write_text("half")
    make_zoo(tmp_path / "zoo", "digits", QUICK)
    assert contents(tmp_path / "zoo") == contents(made)
    assert all((tmp_path / "zoo" / name).stat().st_mtime_ns == time for name, time in written.items())


@pytest.mark.parametrize("other", [{"seed": 1}, {"networks": 8}, {"kind": "cnn"}])
def test_another_recipe_does_not_come_into_a_zoo(made: Path, other: dict[str, Any]) -> None:
    before = contents(made)
    with pytest.raises(UserError, match="another recipe"):
        make_zoo(made, "digits", Recipe(**{**QUICK.__dict__, **other}))
    assert contents(made) == before


def test_a_folder_with_something_else_and_data_of_another_kind_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no zoo"):
        make_zoo(tmp_path, "digits", QUICK)
    with pytest.raises(UserError, match="where 'images' is needed"):
        make_zoo(tmp_path / "zoo", "wine", QUICK)
    assert not (tmp_path / "zoo").exists()
    with pytest.raises(UserError, match="no zoo"):
        read_zoo(tmp_path)


def test_a_diverged_network_is_left_out() -> None:
    shape = Shape("mlp", (4,), "relu")
    trainings = tuple(Training(lr, 0.0, 1.0, 20, 60, 3) for lr in (0.01, 1e20))
    x, y = torch.randn(30, 1, 8, 8), torch.randint(3, (30,))
    found = trained_together(Part(shape, trainings), x, y, 3, 8)
    first, second = chains(shape, 8, found)
    assert first is not None
    assert second is None
    assert accuracies(shape, found, x, y).shape == (2,)


def test_damage_is_a_sentence(made: Path, tmp_path: Path) -> None:
    for name in ("zoo.json", "part-0000.json"):
        document = json.loads((made / name).read_text())
        for spoilt in spoilt_documents(name, document):
            assert refused(made, tmp_path, name, json.dumps(spoilt).encode())
    whole = (made / "part-0001.safetensors").read_bytes()
    assert refused(made, tmp_path, "part-0001.safetensors", whole[:-1])
    assert refused(made, tmp_path, "part-0001.safetensors", b"")
    assert not refused(made, tmp_path, "part-0001.safetensors", whole)


def refused(made: Path, tmp_path: Path, name: str, content: bytes) -> bool:
    folder = tmp_path / "zoo"
    folder.mkdir(exist_ok=True)
    for other, own in contents(made).items():
        (folder / other).write_bytes(content if other == name else own)
    try:
        read_zoo(folder)
    except UserError:
        return True
    return False


def spoilt_documents(name: str, document: dict[str, Any]) -> list[Any]:
    wrong: list[Any] = [[], {}, 3, {**document, "format": 2}]
    if name == "zoo.json":
        recipe = document["recipe"]
        wrong += [{**document, key: value} for key, value in (("data", 3), ("classes", 0), ("classes", 10**9))]
        others = ({"networks": 10**9}, {"side": "a"}, {"nothing": 1}, {"widths": []}, {"together": 4}, {"side": 9})
        return wrong + [{**document, "recipe": {**recipe, **own}} for own in others]
    shape, networks = document["shape"], document["networks"]
    wrong += [{**document, "sha256": "0" * 64}, {**document, "networks": networks[:1]}, {**document, "networks": 3}]
    wrong += [{**document, "networks": [{**networks[0], **own}, *networks[1:]]}
              for own in ({"accuracy": 2.0}, {"accuracy": None}, {"lr": "a"}, {"steps": 1.5})]  # fmt: skip
    others = ({"kind": "rnn"}, {"widths": [10**9]}, {"widths": "ab"}, {"widths": [True]}, {"activation": "sin"})
    return wrong + [
        {**document, "shape": {**shape, **own}} for own in (*others, {"kind": "mlp"}, {"widths": [4, 4, 4, 4]})
    ]


def test_a_predictor_learns_from_a_zoo_and_ranks_another(made: Path) -> None:
    from dnal.predictors import PREDICTORS

    table = read_zoo(made).table()
    found = PREDICTORS.read("statistics:trees=20").fit(table.architectures, table.target("accuracy"))
    assert np.isfinite(found.predict(table.architectures)).all()
