"""Files that are whole or not there, and that no link turns elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnal.base.atomic import append_text, target_of, temporary_files, write_bytes, write_text
from dnal.base.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\n")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "é\n"
    assert names(tmp_path) == ["a.txt"]


def test_a_link_in_the_place_of_the_file_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "a.txt").symlink_to("theirs")
    write_text(tmp_path / "a.txt", "ours")
    assert (tmp_path / "theirs").read_text() == "precious"
    assert not (tmp_path / "a.txt").is_symlink()
    assert (tmp_path / "a.txt").read_text() == "ours"


def test_a_link_under_the_name_of_the_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnal.base.atomic.secrets.token_hex", lambda count: "0" * 2 * count)  # somebody guessed it
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / f"a.txt.{'0' * 16}.tmp").symlink_to("theirs")
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "a.txt", "ours")
    assert (tmp_path / "theirs").read_text() == "precious"


def test_what_was_there_goes_where_it_is_told_to(tmp_path: Path) -> None:
    for text in (b"1", b"2", b"3"):
        write_bytes(tmp_path / "last", text, before=tmp_path / "before")
    assert ((tmp_path / "last").read_bytes(), (tmp_path / "before").read_bytes()) == (b"3", b"2")


@pytest.mark.parametrize("refusing", ["fsync", "open"])
def test_a_disk_that_refuses_is_a_sentence_and_leaves_the_old_file(
    refusing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"dnal.base.atomic.os.{refusing}", full)
    with pytest.raises(UserError, match="No space left"):
        write_text(tmp_path / "a.txt", "new")
    monkeypatch.undo()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_disk_that_refuses_even_the_cleaning_up_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UserError, match="Read-only file system"):
        write_text(tmp_path / "a.txt", "new")


def test_a_folder_that_cannot_be_synchronised_warns_for_the_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = os.fsync
    calls: list[int] = []

    def second_fails(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        synced(descriptor)

    monkeypatch.setattr("dnal.base.atomic.os.fsync", second_fails)
    with pytest.warns(UserWarning, match="Input/output error"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_the_temporary_files_of_a_folder_are_known_by_their_names(tmp_path: Path) -> None:
    left = f"a.txt.{'1' * 16}.tmp"
    for name in (left, f"b.txt.{'1' * 16}.tmp", "a.txt.tmp", "a.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in temporary_files(tmp_path, ["a.txt"])] == [left]
    assert target_of(left) == "a.txt"
    assert target_of("a.txt.tmp") is None
    assert list(temporary_files(tmp_path / "nowhere", ["a.txt"])) == []


def test_text_is_added_to_ordinary_files_only(tmp_path: Path) -> None:
    append_text(tmp_path / "log", "1\n")
    append_text(tmp_path / "log", "2\n")
    assert (tmp_path / "log").read_text() == "1\n2\n"
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "link").symlink_to("theirs")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(UserError):
            append_text(tmp_path / name, "3\n")
    assert (tmp_path / "theirs").read_text() == "precious"
