from __future__ import annotations

from pathlib import Path

import pytest

from dnal.base.decorated import decorated

UNDERSTOOD = """
from registry import register_model


@register_model
def first(pretrained=False):
    return None


@register_model()  # as torchvision writes it
@handled(
    weights=("old", lambda kwargs: True),
)
def second(*, weights=None):
    return None


@register_model("third/small", shape=(3, 8, 8), kind="tables")
def third():
    return None


def not_registered():
    return None
"""


def test_it_reads_the_functions_under_a_decorator(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(UNDERSTOOD)
    found = decorated([tmp_path / "nets.py"], "register_model")
    assert found == [("first", ""), ("second", ""), ("third", '"third/small", shape=(3, 8, 8), kind="tables"')]


@pytest.mark.parametrize(
    "text",
    [
        "@register_model\nclass Net:\n    pass\n\n\ndef other():\n    return None\n",
        "if True:\n    @register_model\n    def net():\n        return None\n",
        "@package.register_model\ndef net():\n    return None\n",
        "@register_model(name=(\n    'a'))(1)\ndef net():\n    return None\n",
    ],
)
def test_it_says_what_it_does_not_understand(tmp_path: Path, text: str) -> None:
    (tmp_path / "nets.py").write_text(UNDERSTOOD)
    (tmp_path / "odd.py").write_text(text)
    assert decorated([tmp_path / "nets.py", tmp_path / "odd.py"], "register_model") is None
    assert decorated([tmp_path / "nets.py", tmp_path / "missing.py"], "register_model") is None
