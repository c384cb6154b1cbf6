"""The list of models is read from files; what the packages themselves say is the reference."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dnal import models
from dnal.cli import model_names


def test_the_list_waits_for_no_torch() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['dnal', 'models', '--kind', 'images']\n"
        "from dnal.cli.app import main\n"
        "try:\n    main()\nfinally:\n    print(sorted({'torch', 'timm', 'torchvision'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *names, imported = done.stdout.splitlines()
    assert names == [name for name in models.names() if models.kind_of(name) == "images"]
    assert imported == "[]"


def test_names_order_and_kinds_are_those_that_the_packages_say() -> None:
    known = model_names.model_names()
    assert list(known) == models.names()
    assert known == {name: models.kind_of(name) for name in models.names()}


def test_a_package_whose_files_are_not_understood_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    known = model_names.model_names()
    monkeypatch.setattr(model_names, "decorated", lambda files, decorator: None)
    assert model_names.model_names() == known
