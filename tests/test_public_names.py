"""Every name that the documentation uses is there, in a process that has imported nothing else."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import dnal

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"(?<![\w./-])dnal((?:\.[A-Za-z_]\w*)+)(?!\.?\w|/|:)")
ASKED = """
import json, os, sys
import pydantic, rich, safetensors.torch, scipy.optimize, torch.export, yaml  # what takes long, and nothing of dnal

answers = {}
for name in json.load(sys.stdin):
    ours, theirs = os.pipe()
    if os.fork() == 0:
        try:
            found = __import__("dnal")
            for part in name.split(".")[1:]:
                found = getattr(found, part)
        except Exception as error:
            os.write(theirs, f"{type(error).__name__}: {error}".encode()[:4000])
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as told:
        answers[name] = told.read()
    os.wait()
json.dump(answers, sys.stdout)
"""
"""A process per name, forked before anybody has imported dnal."""


PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def refused(names: list[str]) -> dict[str, str]:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED], input=json.dumps(names), capture_output=True, text=True, check=True
    )
    answers: dict[str, str] = json.loads(ended.stdout)
    assert list(answers) == names
    return {name: answer for name, answer in answers.items() if answer}


def test_what_the_pages_use_is_an_attribute_of_the_package() -> None:
    """As a user writes it after nothing but ``import dnal``."""
    fenced = re.compile(r"^```(?:python|pycon)\n(.*?)^```", re.M | re.S)
    code = [block for page in PAGES for block in fenced.findall(page.read_text(encoding="utf-8"))]
    code += [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]
    lines = [line for block in code for line in block.splitlines() if "import" not in line]
    used = {f"dnal{name}" for line in lines for name in NAME.findall(line)}
    assert len(used) > 15
    names = used | {f"dnal.{name}" for name in dnal.__all__}
    ends = sorted(name for name in names if not any(other.startswith(f"{name}.") for other in names))
    assert not refused(ends), "on the way to each, what it begins with was asked for first"


def test_what_pages_and_docstrings_refer_to_is_there() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*PAGES, *(ROOT / "src").rglob("*.py"))]
    references = {
        f"dnal{name}"
        for text in texts
        for name in [
            *re.findall(r"^::: dnal((?:\.\w+)+)", text, re.M),
            *re.findall(r":(?:class|func|mod|meth|data):`~?dnal((?:\.\w+)+)`", text),
            *re.findall(r"``dnal((?:\.\w+)+)``", text),
        ]
    }
    assert len(references) > 60
    for name in references:
        pkgutil.resolve_name(name)
