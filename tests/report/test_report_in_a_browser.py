"""The report as a browser shows it: quiet, off the network, every chart drawn and answering the mouse.

Screenshots are kept in the folder that the variable DNAL_SCREENSHOTS names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_program import SHORT

pytestmark = pytest.mark.slow

WAIT = 60_000
"""Milliseconds."""
MARKS = ".bars .point path, .points path, .js-line, .hm image"
GRID = 12


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser; it is in the extra dev")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with sync.sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except sync.Error as error:
            if found is None:
                pytest.skip("there is no Chromium; install it, or `playwright install chromium`")
            raise AssertionError(f"'{found}' does not start") from error
        yield running
        running.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of the default run, and of a trade-off of three budgets."""
    from dnal.cli import app

    folder = tmp_path_factory.mktemp("reports")
    budgets = [word for bound in ("macs<=60%", "macs<=30%,params<=30%", "latency<=90%") for word in ("--budget", bound)]
    for name, options in (("default", []), ("three", [*SHORT[2:], "--epochs", "6,5,6", *budgets])):
        with pytest.raises(SystemExit) as ended:
            app(["learn", *options, "--out", str(folder / name)], prog_name="dnal")
        assert ended.value.code == 0
    return {name: folder / name / "report.html" for name in ("default", "three")}


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("DNAL_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def answers(page: Any, chart: Any) -> bool:
    """Whether the chart says something where the mouse is: on one of its marks, or anywhere."""
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    boxes = [mark.bounding_box() for mark in chart.locator(".bars .point path, .points path").all()[:8]]
    spots = [(one["x"] + one["width"] / 2, one["y"] + one["height"] / 2) for one in boxes if one and one["width"]]
    steps = [(i + 0.5) / GRID for i in range(GRID)]
    spots += [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for y in steps for x in steps]
    for x, y in spots:
        page.mouse.move(x - 2, y)
        page.mouse.move(x, y)
        if chart.locator(".hoverlayer .hovertext").count():
            return True
    return False


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        *(("default", width, scheme) for width in (400, 1400) for scheme in ("light", "dark")),
        ("three", 400, "dark"),
        ("three", 1400, "light"),
    ],
)
def test_it_is_quiet_whole_and_answers(
    browser: Any, reports: dict[str, Path], screenshots: Path, name: str, width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    context.set_default_timeout(WAIT)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(reports[name].as_uri())

    charts = page.locator(".chart")
    for number in range(charts.count()):
        chart = charts.nth(number)
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for()
        title = chart.get_attribute("aria-label")
        assert chart.locator(MARKS).count() > 0, title
        assert answers(page, chart), title
    page.mouse.move(0, 0)
    page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    page.screenshot(path=screenshots / f"{name}-{width}-{scheme}.png", full_page=True)

    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert charts.count() >= 11
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_the_keyboard_reaches_charts_and_numbers(browser: Any, reports: dict[str, Path]) -> None:
    page = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True).new_page()
    page.goto(reports["default"].as_uri())
    page.locator(".modebar-btn").first.wait_for(state="attached")
    buttons = set(page.locator(".modebar-btn").evaluate_all("all => all.map(one => one.dataset.title)"))
    assert buttons == {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}  # none that sends it anywhere
    reached = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"skip", "A", "SUMMARY", "scroll"} <= reached
    assert any("chart" in name for name in reached)


def test_it_follows_the_theme_and_prints(browser: Any, reports: dict[str, Path], screenshots: Path) -> None:
    page = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True).new_page()
    page.emulate_media(color_scheme="light")
    page.goto(reports["default"].as_uri())
    label = page.locator(".chart .xtick text").first
    label.wait_for()
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        colours.append(label.evaluate("node => getComputedStyle(node).fill"))
    assert colours[0] != colours[1]
    pdf = page.pdf(path=screenshots / "default.pdf", format="A4")
    assert pdf.startswith(b"%PDF")
    assert page.locator(".chart .main-svg").count() > page.locator(".chart").count()  # those that were never seen too
