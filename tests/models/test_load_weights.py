"""Weights from a safetensors file: everything or nothing, and a sentence when it does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dnal import models
from dnal.errors import UserError


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
