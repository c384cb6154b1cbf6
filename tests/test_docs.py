"""What the documentation promises: its code runs as written, its commands and options exist, its names are there."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch
import typer

import blocks
import dnal
from blocks import Block
from dnal.cli import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if blocks.blocks(page))
README = ROOT / "README.md"

QUICK = ("network.md", "learn.md", "space.md", "gates.md", "supernet.md", "names.md")
"""Pages whose python blocks need no command, and little time."""
PARSED = {
    "dnal learn --data cifar10 --model cifar/resnet20 --budget macs<=50% --out cifar": "downloads, trains for hours",
    "dnal sparsify --model cifar/resnet20 --data cifar10 --keep 10% --rounds 5 --reset early": "the same",
    "dnal sparsify --model restoration/promptir-small --data BSDS500/data/images --input 3,64,64 --batch-size 8 "
    "--keep 10% --rounds 10 --reset init --optimizer adamw --lr 2e-4 --epochs 120,1080,120": "needs BSDS500, and days",
    "dnal grow --model cifar/resnet20 --data cifar10 --budget macs<=200M --rounds 5": "the same",
    "dnal search --data cifar10 --space layered-graph --sampler aco:ants=8 --budget macs<=5M,latency<=2ms "
    "--evaluations 100 --jobs 2": "the same",
    "dnal search --space mlp --train-embedding": "minutes",
    "dnal search --space mlp --data prices.csv": "needs a table and that embedding",
}
"""Commands that are only parsed, and why."""
EXTRAS = {
    "report.md": ["tensorboard"],
    "distributed.md": ["ray"],
    "runs.md": ["onnx"],
    "start.md": ["onnx"],
    "search.md": ["onnx"],
    "binary.md": ["onnx"],
    "analyse.md": ["corrupt_tta"],
    "huggingface.md": ["transformers"],
    "dagnn.md": ["onnx"],
    "todyformer.md": ["onnx"],
}
"""Packages without which a page's commands refuse to run."""


def name_of(page: Path) -> str:
    return page.name


def brief(block: Block) -> bool:
    return not any(" ".join(command) in PARSED for command in block.commands) if block.language == "sh" else True


@pytest.mark.parametrize("page", [p for p in PAGES if p.name in QUICK], ids=name_of)
def test_python_blocks_run_as_written(page: Path, here: Path) -> None:
    blocks.run(block for block in blocks.blocks(page) if block.language in ("python", "pycon"))


EXAMPLES = sorted(path for path in (ROOT / "src" / "dnal").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings_print_what_they_say(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    known = {**vars(module), "dnal": dnal, "torch": torch, "nn": torch.nn}
    found = [test for test in doctest.DocTestFinder().find(module, globs=known) if test.examples]
    assert found
    for test in found:
        assert not doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed, test.name


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in QUICK or "```sh" in p.read_text()], ids=name_of)
def test_a_page_runs_from_its_first_block_to_its_last(page: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in EXTRAS.get(page.name, []):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(here))
    blocks.run(block for block in blocks.blocks(page) if brief(block))


@pytest.mark.parametrize("page", [README, *PAGES], ids=name_of)
def test_every_command_line_is_one(page: Path) -> None:
    """It is taken apart as the program itself would, up to the point where it would start."""
    program = typer.main.get_command(app)
    for block in blocks.blocks(page):
        for name, *arguments in block.commands if block.language == "sh" else []:
            if name == "torchrun":
                assert arguments[2:4] == ["-m", "dnal"]
                name, arguments = "dnal", arguments[4:]
            if name == "dnal":
                with program.make_context("dnal", list(arguments)) as context:
                    _, command, rest = program.resolve_command(context, arguments)
                    command.make_context(arguments[0], list(rest), parent=context)


@pytest.mark.parametrize("page", [README, *sorted(DOCS.rglob("*.md"))], ids=name_of)
def test_every_option_that_is_named_exists(page: Path) -> None:
    program = typer.main.get_command(app)
    known = {o for c in [program, *program.commands.values()] for p in c.params for o in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "--strict", "--nproc-per-node", "--dist"}  # typer's, mkdocs's, torchrun's, pytest-xdist's
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", page.read_text(encoding="utf-8")))
    assert named <= known


def test_names_that_the_paper_page_maps_to_exist() -> None:
    for name in re.findall(r"\]\[(dnal[\w.]*)\]", (DOCS / "paper.md").read_text(encoding="utf-8")):
        parts = name.split(".")
        for split in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:split]))
            except ModuleNotFoundError:
                continue
            for part in parts[split:]:
                found = getattr(found, part)
            break


def test_the_citation_is_one() -> None:
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == dnal.__version__
    assert f"## {dnal.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_host(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        tags = re.findall(r"<(?:script|link|img|iframe|source|video)\b[^>]*>", page.read_text(encoding="utf-8"))
        for address in re.findall(r'(?:src|href)="([^"]+)"', " ".join(tags)):
            assert not urlparse(address).netloc, (page, address)
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet
