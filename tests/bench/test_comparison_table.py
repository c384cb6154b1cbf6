"""The table's arithmetic on rows written by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dnal.base.errors import UserError
from dnal.base.rows import Row
from dnal.base.statistics import estimate
from dnal.bench.comparison import pooled
from dnal.bench.jobs import Run
from dnal.bench.plot import draw
from dnal.bench.results import gather, key_of, read_results, write_results
from dnal.bench.table import document, pooled_differences, search_cost, standing, told

FIGURES = {  # (share, entry): accuracy of seeds 0, 1, 2
    (25.0, "dnal"): (0.70, 0.72, 0.71),
    (25.0, "uniform"): (0.69, 0.70, 0.70),
    (10.0, "dnal"): (0.60, 0.61, 0.65),
    (10.0, "uniform"): (0.62, 0.615, 0.65),
}


def rows() -> dict[Run, Row]:
    made = {}
    for (share, entry), values in FIGURES.items():
        for taught in (False, True):
            for seed, value in enumerate(values):
                row = {
                    "network": "net", "share": share, "seed": seed, "taught": int(taught), "entry": entry,
                    "accuracy": value + 0.01 * taught, "base_accuracy": 0.8, "base_macs": 1000, "used": 0.99,
                    "rate": 0.05, "samples": 400, "base_seconds": 10.0, "choosing_seconds": 1.0 + (entry == "dnal"),
                    "epochs": "1+2+1", "dnal": "0", "torch": "2", "device": "cpu",
                }  # fmt: skip
                text = {name: str(figure) for name, figure in row.items()}
                made[key_of(text)] = text
    return made


def test_cells() -> None:
    text = document(rows(), "dnal bench --suite x", 0, {})
    ours, theirs = (np.array(FIGURES[25.0, entry]) * 100 for entry in ("dnal", "uniform"))
    gap = ours - theirs
    cell = text.split("## net, 25 %")[1].split("## net, 10 %")[0]
    assert f"| `dnal` | {ours.mean():.2f} ({ours.std(ddof=1):.2f}) |" in cell
    assert (
        f"| `uniform` | {theirs.mean():.2f} ({theirs.std(ddof=1):.2f}) | +{gap.mean():.2f} ({stats.sem(gap):.2f})"
        in cell
    )
    assert "Without distillation: `dnal` is first." in cell
    assert "With distillation: `dnal` is first." in cell
    assert "99.00 to 99.00" in cell
    gap = 100 * (np.array(FIGURES[10.0, "uniform"]) - np.array(FIGURES[10.0, "dnal"]))
    assert gap.mean() > stats.sem(gap)
    expected = f"`uniform` is first; `dnal` is {gap.mean():.2f} ({stats.sem(gap):.2f}) points behind, more than one"
    assert expected in text.split("## net, 10 %")[1]
    assert "missing" not in text


def test_pooled() -> None:
    gaps = [
        100 * np.mean([FIGURES[share, "dnal"][seed] - FIGURES[share, "uniform"][seed] for share in (25.0, 10.0)])
        for seed in range(3)
    ]
    found = pooled_differences(rows(), True)["uniform"]
    assert found.mean == pytest.approx(np.mean(gaps))
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    text = document(rows(), "dnal bench", 7, {})
    assert text.count(f"{np.mean(gaps):+.2f} [{low:+.2f}, {high:+.2f}]") == 2
    assert "Not finished: 7 rows are missing." in text


def test_search_cost() -> None:
    own = [row for run, row in rows().items() if run.entry == "dnal"]
    assert search_cost(own).mean == pytest.approx(1.2)
    assert "| `uniform` | 1.10 | 1.10 |" in document(rows(), "dnal bench", 0, {})


def test_within_one_standard_error_holds() -> None:
    cell = {"dnal": {0: 60.0, 1: 62.0}, "other": {0: 63.0, 1: 61.0}}  # behind by 1, standard error 2
    found = standing(cell)
    assert found is not None
    assert (found.first, found.behind.mean, found.behind.error, found.holds) == ("other", 1.0, 2.0, True)
    cell["other"] = {0: 61.0, 1: 63.0}
    found = standing(cell)
    assert found is not None
    assert not found.holds
    assert standing({"dnal": {0: 1.0}}) is None


def test_only_seeds_that_all_have_are_compared() -> None:
    found = standing({"dnal": {0: 60.0, 1: 62.0, 2: 40.0}, "other": {0: 55.0, 1: 57.0}})
    assert found is not None
    assert found.first == "dnal"
    assert standing({"dnal": {0: 60.0, 1: 62.0}, "other": {1: 63.0, 2: 70.0}}) is None  # one is no basis


def test_every_network_has_its_own_differences() -> None:
    made = rows() | {
        key_of(row): row for own in rows().values() for row in [{**own, "network": "another", "accuracy": "0.5"}]
    }
    text = document(made, "dnal bench", 0, {}).split("## All cells together")[1]
    assert text.count("| `uniform` |") == 4  # all, each of the two, and the costs
    assert "| another | without distillation | `dnal` is | with distillation | `dnal` is |" in text
    assert "| `uniform` | +0.00 [+0.00, +0.00] | cannot be told | +0.00 [+0.00, +0.00] | cannot be told |" in text


def test_an_interval_on_one_side_of_nothing_tells_who_is_ahead() -> None:
    """Cells of one base count once: ten shares in which the only pair of bases disagrees tell nothing."""
    alike = [1.0, 1.2, 0.9]
    assert told(estimate(alike)) == "ahead"
    assert stats.ttest_1samp(alike, 0).pvalue < 0.05
    assert told(estimate([-gap for gap in alike])) == "behind"
    assert told(estimate([1.0, -0.5, 0.9])) == told(estimate([1.0])) == told(estimate([])) == "cannot be told"
    ours = {((base, 0), share): float(base) for base in (-1, 2) for share in range(10)}
    assert told(pooled(ours, dict.fromkeys(ours, 0.0))) == "cannot be told"
    assert stats.ttest_1samp(list(ours.values()), 0).pvalue < 0.2  # what cells taken for independent would near


def test_the_technique_by_which_the_base_teaches_is_named() -> None:
    guided = {run: {**row, "suite": "guided"} for run, row in rows().items()}
    text = document(guided, "dnal bench", 0, {})
    assert "With guidance: `dnal` is first." in text
    assert "| without guidance | `dnal` is | with guidance | `dnal` is |" in text
    assert "distillation" not in text


def test_what_is_no_accuracy_is_named() -> None:
    made = rows()
    assert "Test accuracy in %" in document(made, "dnal bench", 0, {})
    squares = {key_of(row): row for own in made.values() for row in [{**own, "network": "table", "metric": "r2"}]}
    text = document(made | squares, "dnal bench", 0, {})
    assert "Test accuracy and R² in %" in text
    assert "points of accuracy and R²" in text
    assert re.search(r"## net, 25 %[^#]*; accuracy in %\.", text)
    assert re.search(r"## table, 25 %[^#]*; R² in %\.", text)


def test_an_unused_budget_stands_out() -> None:
    made = rows()
    next(iter(made.values()))["used"] = "0.95"
    assert "**95.00 to 99.00**" in document(made, "dnal bench", 0, {})


def test_results_come_back_in_the_order_of_the_suite(tmp_path: Path) -> None:
    made = rows()
    order = sorted(made, key=lambda run: run.name)
    write_results(tmp_path, made, order)
    assert read_results(tmp_path) == made
    assert list(read_results(tmp_path)) == order
    assert gather(tmp_path, order) == made
    assert read_results(tmp_path / "nowhere") == {}
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is no table of `dnal bench`"):
        read_results(tmp_path)


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    draw(rows(), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
