"""The program called in this process, as a user would call it."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_program import SHORT, Answer, Program


def pytest_collection_finish() -> None:
    """What the imports made stays: no search for garbage goes through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def few_turns(request: pytest.FixtureRequest) -> Iterator[None]:
    """The milliseconds of a result are medians of 9 turns and not of 99: who asks how exact they are is in
    `tests/latency/`."""
    from dnal.latency import profiling

    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name != "latency" and request.path.name != "test_cuda.py":
            patch.setattr(profiling, "MEASURE_SECONDS", 0.0)
        yield


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser; it is in the extra dev")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with sync.sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync.Error as error:
            if found is None:
                pytest.skip("there is no Chromium; install it, or `playwright install chromium`")
            raise AssertionError(f"'{found}' does not start") from error
        yield running
        running.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures go that a browser takes: the folder that the variable DNAL_SCREENSHOTS names."""
    folder = Path(os.environ.get("DNAL_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
