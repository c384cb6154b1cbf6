"""The report as a browser shows it: quiet, off the network, every chart drawn and answering the mouse.

Screenshots are kept in the folder that the variable DNAL_SCREENSHOTS names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli_program import SHORT
from pages import shown

pytestmark = pytest.mark.slow


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
    assert shown(browser, reports[name], screenshots / f"{name}-{width}-{scheme}.png", width, scheme) >= 11


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
