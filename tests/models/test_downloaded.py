"""Files of weights that other libraries keep: of the bytes that were published, and without the code of a pickle."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from dnal import models
from dnal.base.errors import UserError
from dnal.models.downloaded import check_kept, weights_only


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.made),)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch.hub keeps what it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    return tmp_path / "hub/checkpoints"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("torchvision/resnet18", "resnet18-f37072fd.pth"),
        ("timm/gcvit_xxtiny", "gcvit_xxtiny_224_nvidia-d1d86009.pth"),
    ],
)
def test_a_kept_file_that_is_another_is_refused(kept: Path, tmp_path: Path, model: str, name: str) -> None:
    torch.save({"x": Evil(tmp_path / "ran")}, kept / name)
    with pytest.raises(UserError, match=rf"{name}' is not the file that was published .* remove it"):
        models.create(model, pretrained=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_the_right_hash_is_read_and_runs_nothing(kept: Path, tmp_path: Path, zipped: bool) -> None:
    def keep(what: Any) -> str:
        torch.save(what, kept / "x.pth", _use_new_zipfile_serialization=zipped)
        digest = hashlib.sha256((kept / "x.pth").read_bytes()).hexdigest()
        (kept / "x.pth").rename(kept / f"x-{digest[:8]}.pth")
        return f"https://example.org/some/x-{digest[:8]}.pth?download=1"

    good, evil = keep({"weight": torch.arange(3)}), keep({"x": Evil(tmp_path / "ran")})
    check_kept(good)
    check_kept(evil)
    with weights_only():
        assert torch.equal(torch.hub.load_state_dict_from_url(good)["weight"], torch.arange(3))
        with pytest.raises(pickle.UnpicklingError):
            torch.hub.load_state_dict_from_url(evil, weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_what_the_user_set_is_there_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    before = dict(os.environ)
    with pytest.raises(KeyError), weights_only():
        raise KeyError
    assert dict(os.environ) == before


def test_names_that_tell_no_hash_and_files_that_are_not_there(kept: Path) -> None:
    (kept / "plain.pth").write_bytes(b"anything")
    check_kept("https://example.org/plain.pth")
    check_kept("https://example.org/absent-01234567.pth")
