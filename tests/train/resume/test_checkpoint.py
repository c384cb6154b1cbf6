from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dnal.base.errors import UserError
from dnal.train.resume.checkpoint import BEFORE, LAST, Checkpoints


def two(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints(folder / "run")
    checkpoints.save({"step": 1, "w": torch.zeros(3)})
    checkpoints.save({"step": 2, "w": torch.ones(3)})
    return checkpoints


def test_the_last_one_is_loaded(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").load() is None
    tree = two(tmp_path).load()
    assert tree is not None
    assert tree["step"] == 2
    assert torch.equal(tree["w"], torch.ones(3))
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == sorted([LAST, BEFORE])


def test_tensors_that_share_memory_are_kept(tmp_path: Path) -> None:
    checkpoints, w = Checkpoints(tmp_path), torch.arange(4.0)
    checkpoints.save({"a": w, "b": w, "c": w[1:], "d": w.view(2, 2).T, "empty": torch.empty(0), "flag": w > 1})
    tree = checkpoints.load()
    assert tree is not None
    assert torch.equal(tree["d"], w.view(2, 2).T)
    assert torch.equal(tree["c"], w[1:])
    assert torch.equal(tree["flag"], w > 1)


@pytest.mark.parametrize("where", ["header", "tensors", "cut", "empty"])
def test_a_damaged_one_is_left_aside_with_a_sentence(where: str, tmp_path: Path) -> None:
    checkpoints = two(tmp_path)
    file = tmp_path / "run" / LAST
    content = bytearray(file.read_bytes())
    if where == "cut":
        content = content[:-5]
    elif where == "empty":
        content = bytearray()
    else:
        content[-1 if where == "tensors" else content.index(b"sha256") + 12] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged; the one before it is used"):
        tree = checkpoints.load()
    assert tree is not None
    assert tree["step"] == 1


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    checkpoints = two(tmp_path)
    file = tmp_path / "run" / LAST
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        file.write_bytes(flipped)
        with pytest.warns(UserWarning, match="damaged"):
            tree = checkpoints.load()
        assert tree is not None
        assert tree["step"] == 1


def test_two_damaged_ones_are_refused(tmp_path: Path) -> None:
    checkpoints = two(tmp_path)
    for name in (LAST, BEFORE):
        (tmp_path / "run" / name).write_bytes(b"no")
    with pytest.raises(UserError, match="delete them to begin again"):
        checkpoints.load()
    assert Checkpoints(tmp_path / "run", restart=True).load() is None
    checkpoints.clear()
    assert checkpoints.load() is None


def test_a_full_disk_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = two(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dnal.base.atomic.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        checkpoints.save({"step": 3, "w": torch.ones(3)})
    monkeypatch.undo()
    tree = checkpoints.load()
    assert tree is not None
    assert tree["step"] == 2
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    two(tmp_path)
    with safe_open(tmp_path / "run" / LAST, framework="pt") as file:
        assert set(file.metadata()) == {"state", "sha256"}
