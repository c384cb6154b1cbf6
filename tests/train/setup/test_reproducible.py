"""The switches of PyTorch that make a GPU count in one order; what they do is tested where there is a GPU."""

from __future__ import annotations

import os

import pytest
import torch

from dnal.train.setup.reproducible import WORKSPACE, reproducible


def switches() -> tuple[bool, bool, bool, str | None]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get(WORKSPACE),
    )


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> tuple[bool, bool, bool, str | None]:
    monkeypatch.delenv(WORKSPACE, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    return switches()


def test_on_and_off_again(usual: tuple[bool, bool, bool, str | None]) -> None:
    with reproducible(torch.device("cuda")):
        assert switches() == (True, True, False, ":4096:8")
    assert switches() == usual


def test_off_again_after_an_error(usual: tuple[bool, bool, bool, str | None]) -> None:
    with pytest.raises(KeyError), reproducible(torch.device("cuda")):
        raise KeyError
    assert switches() == usual


def test_whoever_is_stricter_stays_so() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        with reproducible(torch.device("cuda")):
            assert switches()[:2] == (True, False)
        assert switches()[:2] == (True, False)
    finally:
        torch.use_deterministic_algorithms(False)


def test_nothing_on_a_cpu(usual: tuple[bool, bool, bool, str | None]) -> None:
    with reproducible(torch.device("cpu")):
        assert switches() == usual
