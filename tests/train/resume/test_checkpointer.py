"""A checkpoint that somebody forged, its checksum too, is a damaged one: a sentence, or the one before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dnal.base.errors import UserError
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.checkpointer import KINDS, Checkpointer, Position

STRANGE: list[Any] = [None, 7, "text", [], {}, [[1]], torch.zeros(3), float("nan"), True]


def kept(folder: Path) -> tuple[dict[str, Any], nn.Module, torch.optim.Optimizer]:
    """The tree of a job in its first phase, with what it is put back into."""
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    checkpointer = Checkpointer([], Checkpoints(folder))
    parts = {"network": network, "optimizer": optimizer}
    checkpointer.begin("base", job={"lr": 0.1}, history=[], parts=parts, carried={"latency": None})
    history = [{"phase": "base", "epoch": 1, "loss": 1.0, "seconds": 0.5}]
    checkpointer.keep(Position(1, 2, 0.5, 1.0), parts, history)
    assert checkpointer.tree is not None
    return checkpointer.tree, network, optimizer


def forged(folder: Path, tree: dict[str, Any]) -> None:
    """Both checkpoints are this one."""
    Checkpoints(folder).save(tree)
    Checkpoints(folder).save(tree)


def goes_on(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    checkpointer = Checkpointer([], Checkpoints(folder))
    checkpointer.check({"lr": 0.1})
    checkpointer.resume("base", {"network": network, "optimizer": optimizer}, [])
    checkpointer.carried("latency")


@pytest.mark.parametrize("name", KINDS)
def test_what_is_missing_or_of_another_kind_is_damage(name: str, tmp_path: Path) -> None:
    tree, network, optimizer = kept(tmp_path)
    goes_on(tmp_path, network, optimizer)
    for value in STRANGE:
        if isinstance(value, KINDS[name]):
            continue
        forged(tmp_path, {**tree, name: value})
        with pytest.raises(UserError, match="are damaged"):
            Checkpointer([], Checkpoints(tmp_path))
    forged(tmp_path, {key: value for key, value in tree.items() if key != name})
    with pytest.raises(UserError, match="are damaged"):
        Checkpointer([], Checkpoints(tmp_path))


def test_the_one_before_a_forged_one_is_used(tmp_path: Path) -> None:
    tree, network, optimizer = kept(tmp_path)
    Checkpoints(tmp_path).save({key: value for key, value in tree.items() if key != "phase"})
    with pytest.warns(UserWarning, match="the one before it is used"):
        goes_on(tmp_path, network, optimizer)


def changed(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    own = dict(node) if isinstance(node, dict) else list(node)
    own[path[0]] = changed(node[path[0]], path[1:], value)
    return own if isinstance(node, dict | list) else type(node)(own)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    own = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    return [path, *(place for key, value in list(own)[:4] for place in places(value, (*path, key)))]


def test_no_place_in_a_checkpoint_breaks_a_job(tmp_path: Path) -> None:
    """Whatever stands anywhere: it goes on, or says one sentence."""
    tree, network, optimizer = kept(tmp_path)
    said = []
    for place in places(tree)[1:]:
        for value in STRANGE[:7]:
            forged(tmp_path, changed(tree, place, value))
            try:
                goes_on(tmp_path, network, optimizer)
            except UserError as error:
                said.append(str(error))
    assert len(said) > 50
    assert not any("\n" in sentence for sentence in said)


def test_a_job_that_keeps_its_state_in_memory_tells_its_own_errors(tmp_path: Path) -> None:
    """There is no checkpoint to delete."""
    checkpointer = Checkpointer([], None)
    network = nn.Linear(3, 2)
    checkpointer.begin("base", job={}, history=[], parts={"network": network}, carried={})
    with pytest.raises(RuntimeError, match="size mismatch"):
        checkpointer.resume("base", {"network": nn.Linear(4, 2)}, [])
