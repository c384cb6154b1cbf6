"""A page of ours as a browser shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WAIT = 60_000
"""Milliseconds."""
MARKS = ".bars .point path, .points path, .js-line, .hm image"
GRID = 12


def shown(browser: Any, file: Path, screenshot: Path, width: int, scheme: str) -> int:
    """How many charts a page has; it is quiet, off the network and within the width, and all charts answer."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    context.set_default_timeout(WAIT)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())

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
    page.screenshot(path=screenshot, full_page=True)

    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    number = charts.count()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    return int(number)


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
