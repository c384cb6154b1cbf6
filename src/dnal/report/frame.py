"""What every page has: the head, the look, the charts and where it may be written. Nothing in it is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import plotly.offline
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dnal.base.errors import UserError
from dnal.base.reading import opened
from dnal.base.version import VERSION
from dnal.report.colours import themes

GENERATOR = '<meta name="generator" content="dnal">'
"""By this a file is known as a page of ours, and may be replaced by a newer one."""


def rendered(template: str, package: str = "dnal.report", **shown: Any) -> str:
    """The HTML of a page: no time, no host, nothing that is loaded.

    Args:
        template: one that extends ``frame.html``. package: in whose folder ``templates`` it is. shown: its values.
    """
    loader = ChoiceLoader([PackageLoader(name) for name in dict.fromkeys((package, "dnal.report"))])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(
        version=VERSION, plotly=Markup(plotly.offline.get_plotlyjs()), themes=themes(), **shown
    )


def check_place(file: Path) -> None:
    """Refuses to replace what is no page of ours, and folders that are not there.

    Raises:
        UserError: saying what to do.
    """
    if file.is_dir():
        raise UserError(f"'{file}' is a folder; give a file such as '{file / 'report.html'}' with --out.")
    if not file.parent.is_dir():
        raise UserError(f"there is no folder '{file.parent}' for the report; make it, or choose another with --out.")
    if os.path.lexists(file):
        with opened(file, remedy="choose another file with --out") as begun:
            if GENERATOR.encode() not in begun.read(1024):
                raise UserError(f"'{file}' exists and is no report; choose another file with --out.")
