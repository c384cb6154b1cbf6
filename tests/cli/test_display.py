"""What a terminal shows of anybody's text, and does not obey."""

from __future__ import annotations

import pytest

from dnal.cli.display import json_document, line, table

OBEYED = "\x1b]0;owned\x07[red]name[/red]\u202e\x85"


def test_a_table_shows_headings_titles_and_cells_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    table([(OBEYED, False), ("other", True)], [[OBEYED, "1"]], title=OBEYED)
    line(OBEYED)
    shown = capsys.readouterr().out
    assert shown.count("[red]name[/red]") == 4
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_document_holds_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    json_document({OBEYED: [OBEYED, "\udcff"]})
    assert all(character.isprintable() or character == "\n" for character in capsys.readouterr().out)
