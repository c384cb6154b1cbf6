"""How machines are shared out: nothing is promised twice, and no trial asks for more than a machine has."""

from __future__ import annotations

import pytest

from dnal.sweep.share import Machines, shared


@pytest.mark.parametrize("gpus", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("machines", [1, 2, 5])
@pytest.mark.parametrize("cores", [1, 2, 6, 64])
def test_cores_and_gpus_suffice(cores: int, machines: int, gpus: int) -> None:
    for at_once in (None, 1, 2, 3, 7, 1000):
        for trials in (1, 2, 9, 500):
            share = shared(Machines(cores * machines, cores, gpus * machines), trials, at_once)
            assert 1 <= share.at_once <= trials
            assert share.at_once <= (at_once or share.at_once)
            assert 1 <= share.threads <= cores
            assert share.threads * share.at_once <= cores * machines
            assert bool(share.gpu) == bool(gpus)
            if gpus:
                assert share.at_once <= round(1 / share.gpu) * gpus * machines
                assert share.gpu <= 1


def test_by_default_a_trial_has_a_gpu_or_some_cores() -> None:
    assert shared(Machines(64, 64, 8), 100, None).at_once == 8
    assert shared(Machines(64, 64, 0), 100, None).threads == 4
