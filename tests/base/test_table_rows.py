"""A table as CSV: what is written is read, and anything else is one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dnal.base.errors import UserError
from dnal.base.rows import read_table, write_table


def test_rows_come_back_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_table(path, [])
    assert not path.exists()
    assert read_table(path, "table", "remove it") == []
    write_table(path, [{"a": "1", "b": "x, y"}, {"b": "=1+1", "c": 'a "word"'}])
    assert path.read_text().splitlines()[0] == "a,b,c"
    assert read_table(path, "table", "remove it") == [
        {"a": "1", "b": "x, y", "c": ""}, {"a": "", "b": "'=1+1", "c": 'a "word"'},
    ]  # fmt: skip


@pytest.mark.parametrize("damage", [b"a,b\n1\n", b"a\n1,2\n", b'a\n"1\n', b"\xff", b"x" * (2**26 + 1)])
def test_damage_is_one_sentence(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=re.escape(str(path))) as raised:
        read_table(path, "table", "remove it")
    assert "\n" not in str(raised.value)
