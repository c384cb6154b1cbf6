"""The example package, installed as a user installs one and used by its names, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SOURCE = Path(__file__).parent.parent / "src"
PACKAGE = Path(__file__).parent.parent / "examples" / "plugin"
SHORT = ["--epochs", "1,1,1", "--limit-train", "200", "--quiet", "--no-report"]
OURS = ["--model", "example/tiny", "--data", "stripes", "--method", "first:last=true", "--with", "centred-gradients"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and nothing else."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("plugin")
    copy, target = folder / "source", folder / "packages"
    shutil.copytree(PACKAGE, copy)  # building writes beside the source
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*command, "--target", str(target), str(copy)], check=True)
    return target


def dnal(here: Path, packages: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`dnal ARGUMENTS` in the folder ``here``, with the installed ``packages``."""
    path = [str(SOURCE), *([] if packages is None else [str(packages)])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", "-m", "dnal", *arguments], cwd=here, env=environment, capture_output=True, text=True
    )


def listed(here: Path, packages: Path | None, kind: str) -> list[str]:
    answer = dnal(here, packages, kind, "--json")
    assert answer.returncode == 0, answer.stderr
    entries = json.loads(answer.stdout)["studies" if kind == "study" else kind]
    return [entry if isinstance(entry, str) else entry["name"] for entry in entries]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("methods", "first"),
        ("techniques", "centred-gradients"),
        ("models", "example/tiny"),
        ("data", "stripes"),
        ("study", "stripes-means"),
    ],
)
def test_it_is_listed_where_it_is_installed(kind: str, name: str, installed: Path, tmp_path: Path) -> None:
    assert name in listed(tmp_path, installed, kind)


def test_its_cards_are_those_of_its_classes(installed: Path, tmp_path: Path) -> None:
    card = json.loads(dnal(tmp_path, installed, "methods", "first", "--json").stdout)
    assert card["what"].startswith("Keeps the same share of every group: the channels that stand first")
    assert [option["name"] for option in card["options"]] == ["last"]
    data = json.loads(dnal(tmp_path, installed, "data", "--json").stdout)["data"]
    assert next(entry["what"] for entry in data if entry["name"] == "stripes").startswith("600 noisy grey images")


def test_a_whole_job_with_all_four(installed: Path, tmp_path: Path) -> None:
    answer = dnal(tmp_path, installed, "learn", *OURS, *SHORT, "--out", "run")
    assert (answer.returncode, answer.stderr) == (0, "")
    document = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert document["method"] == {"name": "first", "last": True}
    assert {"name": "centred-gradients", "linear": True} in document["techniques"]
    assert (document["model"], document["data"], document["class_names"]) == (
        "example/tiny", "stripes", ["lying", "standing"],
    )  # fmt: skip
    kept = json.loads((tmp_path / "run" / "architecture.json").read_text())["tensors"]["0.weight"]["kept"][0]
    assert kept == list(range(16 - len(kept), 16))
    assert dnal(tmp_path, installed, "eval", "run").returncode == 0
    assert dnal(tmp_path, installed, "report", "run").returncode == 0
    assert "--method first:last=true" in (tmp_path / "run" / "report.html").read_text()
    again = dnal(tmp_path, installed, "learn", "--like", "run", *SHORT[4:], "--out", "again")
    assert (again.returncode, again.stderr) == (0, "")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "run" / "model.safetensors"
    ).read_bytes()
    finished = dnal(tmp_path, installed, "resume", "again", "--no-report")
    assert (finished.returncode, finished.stdout) == (0, "'again' is finished.\n")


def test_its_study_runs_side_by_side(installed: Path, tmp_path: Path) -> None:
    answer = dnal(
        tmp_path, installed, "study", "stripes-means", "--size", "tiny", "--jobs", "2", "--out", "out", "--json"
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert (found["rows"], found["left"], found["verdict"] != "does not hold") == (8, 0, True)
    assert "stripes-means" in (tmp_path / "out" / "report.html").read_text()


def test_without_the_package_its_run_says_what_is_missing(installed: Path, tmp_path: Path) -> None:
    assert dnal(tmp_path, installed, "learn", *OURS, *SHORT, "--out", "run").returncode == 0
    for command in (["eval", "run"], ["learn", "--like", "run", *SHORT[4:], "--out", "x"]):
        answer = dnal(tmp_path, None, *command)
        assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
        assert "unknown" in answer.stderr
    assert dnal(tmp_path, None, "report", "run").returncode == 0, "a report needs no code"


def test_the_same_files_without_a_package(tmp_path: Path) -> None:
    """package.module:name for each of the four, from where the user is."""
    shutil.copytree(PACKAGE / "dnal_example", tmp_path / "mine")
    here = ["--model", "mine.model:tiny", "--data", "mine.data:stripes", "--method", "mine.method:First:last=true",
            "--with", "mine.technique:CentredGradients"]  # fmt: skip
    answer = dnal(tmp_path, None, "learn", *here, *SHORT, "--out", "run")
    assert (answer.returncode, answer.stderr) == (0, "")
    refused = dnal(tmp_path, None, "eval", "run")
    assert refused.returncode == 2
    assert "--trust mine" in refused.stderr
    evaluated = dnal(tmp_path, None, "eval", "run", "--trust", "mine")
    assert evaluated.returncode == 0, evaluated.stderr


def test_data_that_a_folder_names_are_not_run_for_it(tmp_path: Path) -> None:
    """The network has an ordinary name, the data are code."""
    (tmp_path / "mine.py").write_text(
        (PACKAGE / "dnal_example" / "data.py")
        .read_text()
        .replace("def stripes", "open('executed', 'w')\n\n\ndef stripes")
    )
    learn = dnal(tmp_path, None, "learn", "--data", "mine:stripes", *SHORT, "--out", "run")
    assert (learn.returncode, learn.stderr) == (0, "")
    (tmp_path / "executed").unlink()
    refused = dnal(tmp_path, None, "eval", "run")
    assert refused.returncode == 2
    assert "the run's data 'mine:stripes' is code that would be run; add --trust mine" in refused.stderr
    assert not (tmp_path / "executed").exists()
    assert dnal(tmp_path, None, "eval", "run", "--trust", "mine").returncode == 0


def test_a_broken_package_spoils_no_list(tmp_path: Path) -> None:
    information = tmp_path / "packages" / "broken-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[dnal.methods]\nbroken = broken_package.nothing:Here\n\n"
        "[dnal.data]\nbroken-data = broken_package.nothing:here\n"
    )
    for kind, name in (("methods", "broken"), ("data", "broken-data")):
        answer = dnal(tmp_path, tmp_path / "packages", kind)
        assert answer.returncode == 0, answer.stderr
        assert name in answer.stdout
        assert "cannot be imported" in " ".join(answer.stdout.split())
    answer = dnal(tmp_path, tmp_path / "packages", "learn", "--method", "broken", *SHORT)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
