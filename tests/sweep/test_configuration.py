"""sweep.yaml: what it says, and that whatever is wrong with it is one sentence."""

from __future__ import annotations

import itertools
import math
import re
import tracemalloc
from pathlib import Path

import pytest
import yaml

from dnal.base.errors import UserError
from dnal.sweep.configuration import LARGEST, Sweep, read_sweep, sweep_of

PAGE = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")


def sweep(document: object) -> Sweep:
    return sweep_of(yaml.safe_dump(document), "sweep.yaml")


def test_a_grid_is_every_combination_in_the_order_of_the_file() -> None:
    budgets, seeds = ["macs<=50%", None], [0, 1, 2]
    found = sweep({"job": {"model": "vgg_small"}, "grid": {"seed": seeds, "budget": budgets}})
    # safe_dump sorts keys: budget comes first, seed varies fastest.
    assert found.varied == ("budget", "seed")
    assert [(t["budget"], t["seed"]) for t in found.trials] == list(itertools.product(budgets, seeds))
    assert found.job == {"model": "vgg_small"}


def test_options_may_be_written_as_on_the_command_line() -> None:
    found = sweep({"job": {"limit-train": 300}, "grid": {"--batch-size": [32, 64]}})
    assert found.job == {"limit_train": 300}
    assert found.varied == ("batch_size",)


RANDOM = {
    "lr": {"log_uniform": [0.001, 1.0]},
    "min_width": {"uniform": [0.1, 0.2]},
    "budget": {"choice": ["macs<=50%", "macs<=25%", "macs<=10%"]},
}


def test_draws_keep_to_what_was_asked_and_follow_from_the_file_alone() -> None:
    found = sweep({"random": {"trials": 2000, **RANDOM}})
    assert found.trials == sweep({"random": {"trials": 2000, **RANDOM}}).trials
    assert found.trials[:50] == sweep({"random": {"trials": 50, **RANDOM}}).trials
    rates = [float(str(trial["lr"])) for trial in found.trials]
    assert all(0.001 <= rate <= 1 for rate in rates)
    # A third of the draws lies in each decade: 2000 draws, standard error 1.1 %.
    for decade in (-3, -2, -1):
        assert sum(decade <= math.log10(rate) < decade + 1 for rate in rates) / 2000 == pytest.approx(1 / 3, abs=0.05)
    widths = [float(str(trial["min_width"])) for trial in found.trials]
    assert sum(widths) / 2000 == pytest.approx(0.15, abs=0.003)
    for budget in RANDOM["budget"]["choice"]:
        share = sum(trial["budget"] == budget for trial in found.trials) / 2000
        assert share == pytest.approx(1 / 3, abs=0.05)
    assert all(len(re.sub(r"e.*|[.-]|^0[.0]*", "", repr(rate))) <= 4 for rate in rates)


def test_the_sweep_of_the_documentation() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)
    found = sweep_of(block, "sweep.yaml")
    assert len(found.trials) == 2


BAD = {
    "no mapping": ("- 1", "is no sweep"),
    "empty": ("", "is no sweep"),
    "no YAML": ("grid: {seed: [0,", "is no YAML"),
    "a tab": ("grid:\n\tseed: [0]", "line 2"),
    "a tag": ("grid: !!python/object/apply:os.getcwd []", "is no YAML"),
    "no date": ("grid: {seed: [2026-13-45]}", "is no YAML"),
    "deep": ("grid: " + "[" * 5000, "is no YAML"),
    "aliases": ("a: &a [x, x]\nb: &b [*a, *a]\ngrid: {seed: *b}", "is no YAML of a sweep (anchors, aliases"),
    "a long number": (f"grid: {{seed: [{'9' * 5000}]}}", "is no YAML of a sweep"),
    "a long list": (f"grid: {{seed: {list(range(20_000))}}}", "20,000 trials"),
    "many options": (f"grid: {{{', '.join(f'o{i}: [0]' for i in range(1000))}}}", "names 1,000 options"),
    "an end that no float holds": (f"random: {{trials: 5, lr: {{uniform: [1, {'9' * 400}]}}}}", "the least and the"),
    "ends too far apart": ("random: {trials: 5, lr: {uniform: [-1.7e+308, 1.7e+308]}}", "as far apart"),
    "ends too far apart for a ratio": ("random: {trials: 5, lr: {log_uniform: [1.0e-200, 1.0e+200]}}", "as far apart"),
    "unknown key": ("gird: {seed: [0]}", "did you mean 'grid'"),
    "nothing varies": ("job: {seed: 0}", "either grid or random"),
    "both": ("{grid: {seed: [0]}, random: {trials: 1, seed: {choice: [0]}}}", "either grid or random"),
    "an empty grid": ("grid: {}", "varies nothing"),
    "a grid of one value": ("grid: {seed: 3}", "[0, 1, 2]"),
    "an empty list": ("grid: {seed: []}", "[0, 1, 2]"),
    "twice the same": ("grid: {seed: [1, 2, 1]}", "twice"),
    "an option twice": ("grid: {batch_size: [1], batch-size: [2]}", "stands twice"),
    "shared and varied": ("{job: {seed: 0}, grid: {seed: [1]}}", "leave one of them out"),
    "a mapping as a value": ("grid: {seed: [{a: 1}]}", "true or false"),
    "a date": ("job: {model: 2026-01-01}\ngrid: {seed: [0]}", "true or false"),
    "job is a list": ("{job: [1], grid: {seed: [0]}}", "job is a list of options"),
    "a million trials": (f"grid: {{seed: {list(range(1000))}, lr: {list(range(1, 1001))}}}", "1,000,000 trials"),
    "no number of trials": ("random: {seed: {choice: [0]}}", "number of trials"),
    "half a trial": ("random: {trials: 0.5, seed: {choice: [0]}}", "number of trials"),
    "random of nothing": ("random: {trials: 5}", "varies nothing"),
    "no draw": ("random: {trials: 5, seed: [0, 1]}", "choice"),
    "unknown draw": ("random: {trials: 5, lr: {loguniform: [0.1, 1]}}", "did you mean 'log_uniform'"),
    "one end": ("random: {trials: 5, lr: {uniform: [0.1]}}", "the least and the most"),
    "ends exchanged": ("random: {trials: 5, lr: {uniform: [1, 0.1]}}", "the least and the most"),
    "ends in words": ("random: {trials: 5, lr: {uniform: [a, b]}}", "the least and the most"),
    "no end": ("random: {trials: 5, lr: {uniform: [1, .inf]}}", "the least and the most"),
    "logarithm of nothing": ("random: {trials: 5, lr: {log_uniform: [0, 1]}}", "above zero"),
}


@pytest.mark.parametrize(("text", "remedy"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_one_sentence(text: str, remedy: str) -> None:
    with pytest.raises(UserError, match=re.escape(remedy)) as raised:
        sweep_of(text, "sweep.yaml")
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith((".", "?"))
    assert len(str(raised.value)) < 300


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_sweep(tmp_path / "nothing.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_sweep(tmp_path)
    (tmp_path / "image.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_sweep(tmp_path / "image.yaml")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "huge.yaml").write_text("grid: {seed: [0]}\n" + "#" * LARGEST)
    with pytest.raises(UserError, match="more than a sweep can have"):
        read_sweep(tmp_path / "huge.yaml")
    with pytest.raises(UserError, match="more than a sweep can have"):
        read_sweep("/dev/zero")


def test_what_unfolds_to_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12))
    tracemalloc.start()
    with pytest.raises(UserError, match="aliases"):
        sweep_of(text + "grid: {seed: *a11}\n", "sweep.yaml")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_values_that_are_not_the_same_are_each_a_trial() -> None:
    values = [1, True, "1", 1.5, None, [1], ["1"], [1, 2]]
    assert [trial["x"] for trial in sweep({"grid": {"x": values}}).trials] == values
    with pytest.raises(UserError, match="twice"):
        sweep({"grid": {"x": [[1, 2], [1, 2]]}})
