"""The report of a finished run: one file, whole, safe, with the run's own numbers."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
import yaml

from dnal.base.errors import UserError
from dnal.report import write_report
from dnal.run import read_result
from dnal.run.files import ARCHITECTURE, CONFIG, DETAILS, LOG, REPORT, RESULT

VOID = {"meta", "br", "link", "img", "hr", "input"}
EVIL = "<script>alert(1)</script>&'\"</title>"


@dataclass
class Page(HTMLParser):
    """What a browser would find: elements, text outside of scripts, charts by figure; tags must be balanced."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    charts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._figure = ""
        self._json = False

    @staticmethod
    def of(file: Path) -> Page:
        page = Page()
        page.feed(file.read_text(encoding="utf-8"))
        page.close()
        assert page._open == []
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.elements.append((tag, own))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "figure":
            self._figure = own["id"] or ""
        self._json = tag == "script" and own.get("type") == "application/json" and "id" not in own

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._json:
            self.charts[self._figure] = json.loads(data)
            self._json = False
        elif self._open and self._open[-1] not in ("script", "style"):
            self.text += data

    def named(self, end: str) -> Any:
        """The chart of the figure whose name ends so."""
        (found,) = [chart for name, chart in self.charts.items() if name.endswith(end)]
        return found


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


FIGURES = {
    "run-1-costs", "run-1-layers-widths", "run-1-layers-layer-macs", "run-1-layers-layer-latency",
    "run-1-learning-gates",
    "run-1-learning-budget-macs", "run-1-learning-multipliers", "run-1-learning-loss", "run-1-learning-accuracy",
    "run-1-classes-classes", "run-1-classes-confusion-base", "run-1-classes-confusion-compact",
}  # fmt: skip


def test_a_finished_run_has_a_whole_page(finished: Path) -> None:
    file = finished / REPORT
    page = Page.of(file)
    assert file.stat().st_size < 6_000_000
    assert set(page.charts) == FIGURES
    for name, chart in page.charts.items():
        assert go.Figure(chart).data, name  # plotly checks every property
    words = [own["aria-label"] or "" for _, own in page.elements if own.get("class") == "chart"]
    assert len(words) == len(page.charts)
    assert min(map(len, words)) > 20
    identities = [own["id"] for _, own in page.elements if "id" in own]
    assert len(identities) == len(set(identities))
    links = {(own["href"] or "").removeprefix("#") for tag, own in page.elements if tag == "a"}
    assert links <= set(identities)


def test_nothing_is_loaded(finished: Path) -> None:
    page = Page.of(finished / REPORT)
    for tag, own in page.elements:
        assert tag not in ("link", "img", "iframe", "object"), tag
        assert "src" not in own
        assert (own.get("href") or "#").startswith("#")
    (policy,) = [own["content"] or "" for tag, own in page.elements if own.get("http-equiv")]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_the_numbers_are_those_of_the_run(finished: Path) -> None:
    result = read_result(finished)
    page = Page.of(finished / REPORT)
    base, compact = result["base"], result["compact"]
    share = 100 * compact["macs"] / base["macs"]
    assert f"{share:.1f} %" in page.text
    assert f"{100 * compact['accuracy']:.2f} %" in page.text
    costs = page.named("costs")["data"][1]
    assert costs["x"][costs["y"].index("MACs")] == pytest.approx(share)
    layers = page.named("layer-macs")["data"]
    for trace, figures in zip(layers, (base, compact), strict=True):
        assert sum(trace["x"]) == figures["macs"]
    for kind, figures in (("base", base), ("compact", compact)):
        counts = [[int(n or 0) for n in row] for row in page.named(f"confusion-{kind}")["data"][0]["text"]]
        right = sum(row[i] for i, row in enumerate(counts))
        assert right / sum(map(sum, counts)) == pytest.approx(figures["accuracy"], abs=1e-6)


NARROW = {"divisor": 16, "macs": 240.0, "speedup": 2.6}
AUTO = {"divisor": "auto", "macs": 250.0, "speedup": 2.0}


@pytest.mark.parametrize(
    ("ms", "tried", "sentence"),
    [
        (
            8.0,
            [AUTO, NARROW],
            "With --divisor 16 this network would be 2.6 times as fast as the base, at 24.0 % of its",
        ),
        (8.0, [{**AUTO, "speedup": 1.3}], "Other widths would not help: with --divisor auto"),
        (8.0, [], 'What bounds the time itself is a bound on it, such as --budget "latency<=25%".'),
        (2.8, [], "Here a bound on the MACs is a bound on the time."),
    ],
)
def test_what_the_macs_were_worth_is_said(run: Path, ms: float, tried: list[Any], sentence: str) -> None:
    result = json.loads((run / RESULT).read_text())
    result["base"] |= {"macs": 1000, "latency_ms": 10.0}
    result["compact"] |= {"macs": 250, "latency_ms": ms}
    layers = {"features.0": [4.0, 3.0], EVIL: [1.0, 1.0]}
    result["worth"] = {"layers": layers, "tried": tried, "speedup": 10 / ms}
    (run / RESULT).write_text(json.dumps(result))
    page = Page.of(write_report(run))
    assert sentence in page.text
    assert f"{10 / ms:.2f} times as fast, where the MACs promise 4.00 times" in page.text
    assert f"100.0 % is in features.0, {EVIL}" in page.text
    assert page.named("layer-latency")["data"][1]["x"] == [3.0, 1.0]
    del result["worth"]  # of an older run
    (run / RESULT).write_text(json.dumps(result))
    assert "promise" not in Page.of(write_report(run)).text


def test_the_widths_are_those_of_the_network(finished: Path) -> None:
    from dnal.run import load

    network = load(finished)
    page = Page.of(finished / REPORT)
    base, *compact = page.named("widths")["data"]
    left = {name: width for trace in compact for name, width in zip(trace["y"], trace["x"], strict=True)}
    assert left == {name: network.get_submodule(name).weight.shape[0] for name in base["y"]}
    texts = [re.sub("<br> *", " ", text) for text in base["customdata"]]
    hover = dict(zip(base["y"], texts, strict=True))
    assert "stay: it is the network's output" in hover["classifier.0"]
    assert "read by features.3.weight[1]" in hover["features.0"]


def test_what_was_tuned_has_its_schedule(run: Path) -> None:
    lines = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    values = [round(0.05 + 0.01 * number, 2) for number in range(len(lines))]
    for line, value in zip(lines, values, strict=True):
        line |= {"dropout": value, "input-noise": 2 * value, "<b>other": value}
    (run / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = Page.of(write_report(run))
    for name, factor in (("dropout", 1), ("input-noise", 2)):
        drawn = [value for trace in page.named(f"learning-{name}")["data"] for value in trace["y"]]
        assert drawn == pytest.approx([factor * value for value in values])
    assert "Input noise" in page.text
    assert "other" not in [name.rpartition("-")[2] for name in page.charts]


def test_equal_runs_give_equal_pages(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished, tmp_path / "again" / finished.name)
    text = (finished / REPORT).read_text().replace(str(finished), str(copy))
    assert write_report(copy).read_text() == text


def test_what_a_folder_says_stays_text(run: Path) -> None:
    config = yaml.safe_load((run / CONFIG).read_text())
    config |= {"model": EVIL, "class_names": [f"{EVIL}{n}" for n in range(10)], "data": "</script><img src=x>"}
    (run / CONFIG).write_text(yaml.safe_dump(config))
    details = json.loads((run / DETAILS).read_text())
    details["groups"][0]["name"] = details["layers"][0]["path"] = EVIL
    details["blocks"] = [EVIL]
    (run / DETAILS).write_text(json.dumps(details))
    result = read_result(run)
    (run / RESULT).write_text(json.dumps({**result, "budget": EVIL, "method": EVIL}))
    before = Page.of(run / REPORT)
    page = Page.of(write_report(run))
    assert [tag for tag, _ in page.elements].count("script") == [tag for tag, _ in before.elements].count("script")
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert EVIL in page.text
    for chart in page.charts.values():  # plotly draws some markup
        assert "<script" not in json.dumps(chart)


def test_an_older_run_says_what_is_missing(run: Path) -> None:
    (run / DETAILS).unlink()
    records = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    old = [{k: v for k, v in r.items() if k != "gates" and not k.startswith("limit_")} for r in records]
    (run / LOG).write_text("".join(json.dumps(record) + "\n" for record in old))
    page = Page.of(write_report(run))
    assert "made by an older version" in page.text
    gone = {"gates", "layer-macs", "classes", "confusion-base", "confusion-compact"}
    assert set(page.charts) == {name for name in FIGURES if name.split("-", 3)[-1] not in gone}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (DETAILS, "{}", "details.json' is not as a run writes it"),
        (DETAILS, "[" * 100_000, "details.json' is not as a run writes it"),
        (LOG, '{"phase": 1}', "log.jsonl' is not as a run writes it"),
        (LOG, "\0", "log.jsonl' is not as a run writes it"),
        (LOG, '{"phase": "\\ud800", "epoch": 1}', "log.jsonl' is not as a run writes it"),
        (LOG, json.dumps({"phase": "base", "epoch": 1, **{f"k{i}": i for i in range(100)}}), "is not as a run writes"),
        (LOG, json.dumps({"phase": "b" * 10**5, "epoch": 1}), "log.jsonl' is not as a run writes it"),
        (LOG, "".join(f'{{"phase": "p{i}", "epoch": 1}}\n' for i in range(20_000)), "more than 16 phases"),
        (LOG, '{"phase": "base", "epoch": 1, "loss": 1.0}\n' * 40_000, "40,000 epochs, and 32,768 can be drawn"),
        (DETAILS, '{"format": 1, "groups": [], "layers": [' + "{}," * 10**5 + "{}]}", "not as a run writes it"),
        (DETAILS, '{"format": 1, "groups": [], "layers": [], "blocks": [' + '"",' * 5 * 10**6 + '""]}', "not as a run"),
        (ARCHITECTURE, "{}", "architecture.json' is not an architecture"),
        (ARCHITECTURE, '{"format": "\\ud800"}', "architecture.json' is not an architecture"),
    ],
)
def test_what_is_damaged_is_missing(run: Path, name: str, text: str, says: str) -> None:
    (run / name).write_text(text)
    assert says in Page.of(write_report(run)).text


def test_groups_that_are_not_there(run: Path) -> None:
    details = json.loads((run / DETAILS).read_text())
    details["layers"][0]["weights"][0]["sides"][0]["groups"] = [10**6]
    (run / DETAILS).write_text(json.dumps(details))
    assert "that it does not have" in Page.of(write_report(run)).text


@pytest.mark.parametrize("value", ['"much"', "[1]", '{"macs": "x"}'])
def test_a_result_that_is_none_is_refused(run: Path, value: str) -> None:
    document = read_result(run)
    (run / RESULT).write_text(json.dumps({**document, "constraints": json.loads(value)}))
    with pytest.raises(UserError, match="is no result"):
        write_report(run)


def test_numbers_that_are_none_are_dashes(run: Path) -> None:
    document = read_result(run)
    document["compact"] |= {"accuracy": float("nan"), "latency_ms": None}
    (run / RESULT).write_text(json.dumps(document))
    page = Page.of(write_report(run))
    assert "accuracy (test data)" in page.text
    assert "nan" not in re.sub(r"\w{4,}", "", page.text)


def test_several_runs_are_a_trade_off(finished: Path, tmp_path: Path) -> None:
    others = [shutil.copytree(finished, tmp_path / f"run{number}") for number in range(2)]
    for number, folder in enumerate(others):
        document = read_result(folder)
        document["compact"]["macs"] //= number + 2
        (folder / RESULT).write_text(json.dumps({**document, "budget": f"macs<={number}%"}))
    page = Page.of(write_report([finished, *others], tmp_path / "all.html"))
    curve = page.charts["all-against-macs"]["data"][0]
    assert curve["text"] == ["3", "2", "1"]  # by their MACs
    assert {f"run-{n}" for n in (1, 2, 3)} <= {own.get("id") for _, own in page.elements}
    assert len(page.charts) == 3 * len(FIGURES) + 3
    assert (tmp_path / "all.html").stat().st_size < 6_000_000


def test_nothing_is_written_through_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("precious")
    (run / REPORT).unlink(missing_ok=True)
    for name in (f"{REPORT}.tmp", "model.pt2", "model.pt2.tmp"):
        (run / name).symlink_to("../theirs")
    write_report(run)
    assert not (run / REPORT).is_symlink()
    (run / REPORT).unlink()
    for place, out in ((run / REPORT, None), (tmp_path / "out.html", tmp_path / "out.html")):
        place.symlink_to(tmp_path / "theirs")
        with pytest.raises(UserError, match="is a link"):
            write_report(run, out)
    assert (tmp_path / "theirs").read_text() == "precious"


def test_what_is_no_report_is_not_replaced(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine.html"
    other.write_text("<p>mine</p>")
    with pytest.raises(UserError, match="is no report"):
        write_report(run, other)
    assert other.read_text() == "<p>mine</p>"
    with pytest.raises(UserError, match="no folder"):
        write_report(run, tmp_path / "nowhere" / "report.html")
    with pytest.raises(UserError, match="is a folder"):
        write_report(run, tmp_path)


def test_a_run_that_is_not_finished_has_its_curves_and_no_figures(run: Path) -> None:
    (run / RESULT).unlink()
    lines = (run / LOG).read_text().splitlines(keepends=True)
    assert len(lines) == 3
    (run / LOG).write_text("".join(lines[:2]) + lines[2][:20])  # killed while it wrote
    page = Page.of(write_report(run))
    assert set(page.charts) == {"run-1-learning-gates", "run-1-learning-loss", "run-1-learning-accuracy"} | (
        {"run-1-learning-multipliers"} & set(page.charts)
    )
    assert [trace["name"] for trace in page.named("loss")["data"]] == ["base", "architecture"]
    assert "2 of 3 epochs are done, the last one of phase architecture" in page.text
    assert f"`dnal resume {run}` goes on with it" in page.text
    assert "not shown" not in page.text
    for words in ("Base against compact", "accuracy (test data)", "holds"):
        assert words not in page.text
    (run / LOG).unlink()
    page = Page.of(write_report(run))
    assert not page.charts
    assert "0 of 3 epochs are done. It has no figures yet" in page.text


def test_a_run_that_is_not_finished_is_no_point_of_the_trade_off(finished: Path, tmp_path: Path) -> None:
    runs = [Path(shutil.copytree(finished, tmp_path / f"run{number}")) for number in range(3)]
    (runs[1] / RESULT).unlink()
    page = Page.of(write_report(runs, tmp_path / "all.html"))
    assert sorted(page.charts["all-against-macs"]["data"][0]["text"]) == ["1", "3"]
    assert f"`dnal resume {runs[1]}` goes on with it" in page.text
