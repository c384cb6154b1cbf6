"""What README promises: its code runs as written, its commands exist, its figures stand in a result file."""

import csv
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block{i}" for i in range(len(BLOCKS))])
def test_python_blocks_run_as_written(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


def test_the_second_block_ends_with_the_budget_met(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(BLOCKS[1], "README.md", "exec"), {})
    assert 0.29 < float(capsys.readouterr().out.split()[-1]) <= 0.3


def test_commands_are_the_ones_that_ci_looks_for() -> None:
    commands = re.findall(r"```sh\n(.*?)\n```", README, flags=re.S)
    assert commands[0].endswith("&& dnal learn")
    assert commands[1].startswith("python -m venv .venv-test ")


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_table_of_the_unbalanced_network_is_what_the_result_file_says() -> None:
    rows = list(csv.DictReader((ROOT / "benchmarks" / "unbalanced_vgg.csv").open()))
    for taught, column in (("0", 1), ("1", 2)):
        for method in {row["method"] for row in rows}:
            own = [100 * float(r["accuracy"]) for r in rows if r["method"] == method and r["taught"] == taught]
            line = next(x for x in README.splitlines() if x.startswith(f"| `{method}`"))
            shown = line.split("|")[1 + column].split()[0]
            assert shown == f"{statistics.mean(own):.1f}", (method, taught)
