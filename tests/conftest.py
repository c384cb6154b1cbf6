"""The program called in this process, as a user would call it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_program import SHORT, Answer, Program


@pytest.fixture
def dnal(capsys: pytest.CaptureFixture[str]) -> Program:
    """Calls `dnal ARGUMENTS` and returns its status and what it printed."""
    from dnal.cli import app

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(a) for a in arguments], prog_name="dnal")
        printed = capsys.readouterr()
        code = ended.value.code
        return Answer(code if isinstance(code, int) else int(code is not None), printed.out, printed.err)

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time that was measured before is known, and none measured here is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits; tests read it and copy it before they change it."""
    from dnal.cli import app

    run = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.raises(SystemExit) as ended:
        app(["learn", *SHORT, "--out", str(run)], prog_name="dnal")
    assert ended.value.code == 0
    return run
