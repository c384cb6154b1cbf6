"""Weights from a safetensors file: everything or nothing, and a sentence when it does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dnal import models
from dnal.base.errors import UserError


def test_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = models.create("cifar/resnet20")
    trained(torch.randn(4, 3, 32, 32))  # moves the batch-norm statistics
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    fresh = models.create("cifar/resnet20")
    models.load_weights(fresh, tmp_path / "w.safetensors")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(fresh.eval()(x), trained.eval()(x))


def test_first_difference_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(models.create("vgg_small", classes=5).state_dict(), path)
    network = models.create("vgg_small")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(UserError, match=r"tensor 'classifier.0.weight' has shape \(5, 128\) .* \(10, 128\)"):
        models.load_weights(network, path)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_missing_and_additional_tensors(tmp_path: Path) -> None:
    network = models.create("vgg_small")
    state = network.state_dict()
    path = tmp_path / "w.safetensors"
    save_file({k: v for k, v in state.items() if k != "features.1.running_mean"}, path)
    with pytest.raises(UserError, match=r"has no tensor 'features\.1\.running_mean'"):
        models.load_weights(network, path)
    save_file({**state, "extra": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="has a tensor 'extra'"):
        models.load_weights(network, path)


def test_no_file_and_no_safetensors(tmp_path: Path) -> None:
    network = models.create("vgg_small")
    with pytest.raises(UserError, match="no weights file"):
        models.load_weights(network, tmp_path / "absent.safetensors")
    torch.save(network.state_dict(), tmp_path / "w.pt")
    with pytest.raises(UserError, match="not a safetensors file"):
        models.load_weights(network, tmp_path / "w.pt")


def test_tensors_without_memory_get_it_once_everything_fits(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    trained = models.create("vgg_small")
    save_file(trained.state_dict(), path)
    with torch.device("meta"):
        network, wider = models.create("vgg_small"), models.create("vgg_small", classes=11)
    with pytest.raises(UserError, match=r"classifier\.0\.weight"):
        models.load_weights(wider, path)
    assert all(tensor.is_meta for tensor in wider.state_dict().values())
    parameters = dict(network.named_parameters())
    models.load_weights(network, path)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in trained.state_dict().items())
    assert all(parameter is parameters[name] for name, parameter in network.named_parameters())


def test_a_tensor_that_is_tied_gets_memory_once(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
        network[1].weight = network[0].weight
    values = {"weight": torch.ones(3, 3), "bias": torch.ones(3)}
    save_file({f"{i}.{name}": value.clone() for i in (0, 1) for name, value in values.items()}, tmp_path / "w")
    models.load_weights(network, tmp_path / "w")
    assert network[0].weight is network[1].weight
    assert not network[0].weight.is_meta


def test_the_shapes_of_a_file(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 3), "b": torch.tensor(1)}, tmp_path / "w")
    assert models.tensor_shapes(tmp_path / "w") == {"a": (2, 3), "b": ()}
    (tmp_path / "e").touch()
    for name in ("e", "absent"):
        with pytest.raises(UserError):
            models.tensor_shapes(tmp_path / name)


def test_a_recurrent_layer_without_memory_follows_its_weights(tmp_path: Path) -> None:
    trained = torch.nn.LSTM(3, 4)
    save_file(trained.state_dict(), tmp_path / "w")
    with torch.device("meta"):
        network = torch.nn.LSTM(3, 4)
    models.load_weights(network, tmp_path / "w")
    x = torch.rand(5, 2, 3)
    assert torch.equal(network(x)[0], trained(x)[0])
