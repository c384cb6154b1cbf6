"""`dnal learn --against`: the same budget by other methods, from one base, and whether learning paid."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from killed import Processes

from cli_program import Program
from dnal.base.errors import UserError
from dnal.cli.arguments import arguments_of
from dnal.cli.resume import jobs_of_runs
from dnal.methods import METHODS
from dnal.methods.uniform import Uniform
from dnal.report import write_report
from dnal.run.files import ARCHITECTURE, CONFIG, DETAILS, LAST, LOG, MODEL, REPORT, RESULT
from dnal.run.repeat import recorded

JOB = ["learn", "--epochs", "2,1,2", "--limit-train", "100", "--against", "uniform,scratch", "--checkpoint-every", "2"]
NAMES = ("dnal", "uniform", "scratch")
EXACT = (CONFIG, ARCHITECTURE, MODEL, DETAILS)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    return Processes(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def whole(processes: Processes) -> Path:
    """What nothing ended."""
    ended = processes([*JOB, "--out", "whole"])
    assert (ended.status, ended.err) == (0, "")
    return processes.folder / "whole"


@pytest.fixture
def compared(whole: Path, here: Path) -> Path:
    """The same, which a test may change, in the current directory."""
    return Path(shutil.copytree(whole, here / "compared")).relative_to(here)


def assert_same(one: Path, other: Path) -> None:
    assert {entry.name for entry in one.iterdir()} == {entry.name for entry in other.iterdir()} == {*NAMES, REPORT}
    for run in NAMES:
        for name in EXACT:
            assert (one / run / name).read_bytes() == (other / run / name).read_bytes(), (run, name)
        records, expected = (
            [{**json.loads(line), "seconds": 0} for line in (folder / run / LOG).read_text().splitlines()]
            for folder in (one, other)
        )
        assert records == expected


def said(folder: Path) -> str:
    """The words of the report of all runs in a folder."""
    page = write_report([folder / name for name in NAMES if (folder / name).is_dir()], folder / REPORT)
    body = page.read_text().partition("<main")[2]
    return " ".join(html.unescape(re.sub(r"<script.*?</script>|<[^>]+>", " ", body, flags=re.DOTALL)).split())


def test_every_method_leaves_a_run_of_its_own(compared: Path, dnal: Program) -> None:
    for name in NAMES:
        config = yaml.safe_load((compared / name / CONFIG).read_text())
        assert config["against"] == (["uniform", "scratch"] if name == "dnal" else [])
        result = json.loads((compared / name / RESULT).read_text())
        details = json.loads((compared / name / DETAILS).read_text())
        values = details["examples"]["values"]
        assert sum(values) / len(values) == pytest.approx(result["compact"]["accuracy"], abs=1e-6)
        assert result["constraints"][0]["holds"]
    assert dnal("eval", compared / "scratch").status == 0
    assert dnal("resume", compared).out.startswith("'compared' is finished.")


def test_the_report_says_whether_it_paid(compared: Path) -> None:
    words = said(compared)
    assert "dnal against uniform, scratch" in words
    assert "Did learning pay?" in words
    assert "It says nothing of another seed" in words
    assert re.search(r"1. dnal .* 2. uniform .* 3. scratch", words)


def test_what_is_ahead_is_named_with_how_to_take_it(compared: Path) -> None:
    for name, wrong in (("dnal", 60), ("uniform", 5), ("scratch", 60)):
        right = _told(compared / name, wrong)
        assert 0 < right < 1
    words = said(compared)
    assert "Learning did not pay on these 540 test examples with dnal: uniform is ahead of it" in words
    assert "the interval to scratch includes zero" in words
    assert "dnal.load('compared/uniform')" in words
    assert "`dnal export compared/uniform`" in words
    assert f"{100 * (5 - 60) / 540:+.2f}".replace("-", "−") in words
    _told(compared / "dnal", 1)
    _told(compared / "scratch", 50)
    _told(compared / "uniform", 90)
    assert "Learning paid on these 540 test examples with dnal: it is ahead of uniform and scratch." in said(compared)


def _told(run: Path, wrong: int) -> float:
    """As if the run's network had been wrong of its first ``wrong`` test examples and right of all others."""
    details, result = (json.loads((run / name).read_text()) for name in (DETAILS, RESULT))
    number = len(details["examples"]["values"])
    details["examples"]["values"] = [0.0] * wrong + [1.0] * (number - wrong)
    result["compact"]["accuracy"] = (number - wrong) / number
    (run / DETAILS).write_text(json.dumps(details))
    (run / RESULT).write_text(json.dumps(result))
    return float(result["compact"]["accuracy"])


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        details = json.loads(file.read_text())
        change(details)
        file.write_text(json.dumps(details))

    return edit


DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:300]),  # type: ignore[dict-item, return-value]
    "gone": lambda file: file.unlink(),
    "a word": edited(lambda d: d["examples"]["values"].__setitem__(0, "one")),
    "too large": edited(lambda d: d["examples"]["values"].__setitem__(0, 1e300)),
    "not what the result says": edited(lambda d: d["examples"].update(values=[1.0] * 540)),
    "fewer": edited(lambda d: d["examples"]["values"].pop()),
    "of other examples": edited(lambda d: d["examples"].update(targets="0" * 64)),
    "none": edited(lambda d: d.pop("examples")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_outcomes_that_cannot_be_believed_give_no_interval(kind: str, compared: Path) -> None:
    DAMAGE[kind](compared / "uniform" / DETAILS)
    words = said(compared)
    assert "with uniform there is no interval" in words
    assert "Did learning pay?" in words


@pytest.mark.parametrize("against", ["uniform", 5, None, [5, "../../etc", "<b>x</b>"], {"a": 1}, ["uniform"] * 9])
def test_a_hostile_list_of_methods_harms_nothing(against: Any, compared: Path, dnal: Program) -> None:
    config = yaml.safe_load((compared / "dnal" / CONFIG).read_text())
    (compared / "dnal" / CONFIG).write_text(yaml.safe_dump({**config, "against": against}, sort_keys=False))
    assert "<b>x" not in write_report([compared / name for name in NAMES]).read_text()
    answer = dnal("learn", "--like", compared / "dnal", "--out", "again", "--quiet", "--no-report")
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert not Path("again").exists()


def test_code_that_is_compared_with_is_not_run_unless_it_is_trusted(compared: Path, dnal: Program) -> None:
    Path("evil_method.py").write_text("raise SystemExit('it ran')\n")
    config = yaml.safe_load((compared / "dnal" / CONFIG).read_text())
    config["against"] = ["evil_method:Method"]
    (compared / "dnal" / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    answer = dnal("learn", "--like", compared / "dnal", "--out", "again")
    assert answer.status == 2
    assert "add --trust evil_method" in answer.err
    assert "Did learning pay?" not in said(compared)  # nothing of that name is there


def test_the_folder_repeats_as_a_whole(compared: Path, dnal: Program) -> None:
    answer = dnal("learn", "--like", compared, "--out", "again")
    assert (answer.status, answer.err) == (0, "")
    assert_same(Path("again"), compared)
    rows = answer.out[answer.out.index("dnal minus it, points") :].splitlines()
    assert [row.split()[0] for row in rows[2:5]] == [*NAMES]
    assert re.search(r"[+−]\d+\.\d\d +[+−]\d+\.\d\d to [+−]\d+\.\d\d", rows[3])
    assert "not about another seed" in answer.out
    assert "see:  again/report.html" in answer.out


def test_the_commands_in_the_report_ask_for_the_same(compared: Path) -> None:
    page = (compared / "dnal" / REPORT).read_text()
    assert "--against uniform" in page
    assert "--against scratch" in page
    assert "--against" not in (compared / "scratch" / REPORT).read_text().partition("How to make it again</h3>")[2]


@pytest.mark.parametrize(
    ("at", "number"),
    [
        (16, signal.SIGKILL),
        *(pytest.param(at, signal.SIGKILL, marks=pytest.mark.slow) for at in (1, 5, 9, 12)),
        pytest.param(14, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_killed_in_the_middle_of_any_it_goes_on(
    at: int, number: signal.Signals, processes: Processes, whole: Path
) -> None:
    run = f"killed{at}"
    ended = processes([*JOB, "--out", run], at=at, number=number)
    assert ended.status in (-signal.SIGKILL, 143)
    assert not (processes.folder / run / "scratch" / RESULT).exists()
    resumed = processes(["resume", run])
    assert (resumed.status, resumed.err) == (0, "")
    assert_same(processes.folder / run, whole)
    shutil.rmtree(processes.folder / run)


def test_runs_of_another_base_do_not_go_on_together(compared: Path) -> None:
    documents = {compared / name: recorded(compared / name) for name in NAMES}
    jobs = jobs_of_runs(compared, documents)
    assert [METHODS.text(METHODS.read(job.method)) for job in jobs] == ["dnal", "uniform", "uniform"]
    longer = dataclasses.replace(documents[compared / "uniform"])
    longer.options["epochs"] = (9, 0, 3)
    with pytest.raises(UserError, match="differ in more than their budgets and methods"):
        jobs_of_runs(compared, {compared / "dnal": documents[compared / "dnal"], compared / "uniform": longer})


@dataclasses.dataclass(frozen=True)
class Failing(Uniform):
    """Finds nothing."""

    def choose(self, task: Any) -> Any:
        raise UserError("no width will do.")


def test_one_that_fails_is_told_and_the_others_stand(
    here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS._ours, "fails", f"{__name__}:Failing")
    job = ["learn", "--epochs", "1,1,1", "--limit-train", "100", "--against", "fails,uniform", "--out", "run"]
    answer = dnal(*job, "--json")
    assert answer.status == 0
    assert answer.err.count("'fails' is left out of the comparison: no width will do.") == 1
    assert [Path(each["run"]).name for each in json.loads(answer.out)["runs"]] == ["dnal", "uniform"]
    assert (here / "run" / "fails" / LAST).exists()
    resumed = dnal("resume", "run")
    assert resumed.status == 0
    assert "'fails' is left out" in resumed.err
    assert re.search(r"fails +– +not finished", resumed.out)
    assert "fails is not finished" in (here / "run" / REPORT).read_text()


def test_what_does_not_go_together_is_a_sentence(here: Path, finished: Path, dnal: Program) -> None:
    calls = {
        "several --budget are a trade-off": ("--budget", "macs<=50%", "--budget", "macs<=25%", "--against", "uniform"),
        "did you mean 'scratch'": ("--against", "scratsh"),
        "'uniform' was given twice": ("--against", "uniform", "--against", "uniform"),
        "is the method itself": ("--against", "obs,dnal"),
        "is a run, and several methods make a run each": ("--against", "uniform", "--out", finished),
    }
    for sentence, options in calls.items():
        answer = dnal("learn", "--epochs", "1,1,1", *options)
        assert answer.status == 2
        assert sentence in answer.err
        assert answer.err.count("\n") == 1
    assert list(here.iterdir()) == []
    with pytest.raises(UserError, match="'against' is no option of a trial"):
        arguments_of({"against": "uniform"})


KINDS = {
    "regression": ("--model", "mlp/small", "--data", "diabetes", "--epochs", "3,1,3"),
    "text": ("--model", "transformer/small", "--data", "negation", "--limit-train", "128", "--input", "24,512",
             "--epochs", "1,1,1", "--optimizer", "adamw", "--lr", "0.01"),
    "next-token": ("--model", "transformer/next", "--data", "grammar", "--limit-train", "128", "--input", "32,257",
                   "--epochs", "1,1,1", "--optimizer", "adamw", "--lr", "0.01"),
    "graphs": ("--model", "gcn/small", "--data", "blocks", "--epochs", "4,2,4", "--optimizer", "adamw"),
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in ("regression", "graphs") else pytest.mark.slow) for kind in KINDS]
)
def test_every_kind_of_data(kind: str, here: Path, dnal: Program) -> None:
    answer = dnal("learn", *KINDS[kind], "--against", "scratch,magnitude", "--out", "run")
    assert (answer.status, answer.err) == (0, "")
    number = r"[+−]\d\.\d{4}" if kind == "regression" else r"[+−]\d+\.\d\d"
    assert ("minus it, points" in answer.out) == (kind != "regression")
    assert len(re.findall(rf" {number} +{number} to {number} ", answer.out)) == 2
    for name in ("dnal", "scratch", "magnitude"):
        details, result = (json.loads((here / "run" / name / file).read_text()) for file in (DETAILS, RESULT))
        values = details["examples"]["values"]
        metric = result["compact"]["r2" if kind == "regression" else "accuracy"]
        assert sum(values) / len(values) == pytest.approx(metric, abs=1e-5)
