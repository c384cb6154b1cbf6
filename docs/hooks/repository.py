"""What stands beside docs/ is part of the site too: files that pages link to, and text that is said there already.

A link to ``../benchmarks/digits.csv`` works in the repository as it stands, and in the site, where the file is copied
to ``benchmarks/digits.csv``. A comment ``<!-- from README.md: "## First" to "## Last" -->`` becomes these sections of
the file, the last one left out; ``<!-- from README.md -->`` becomes all of it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")
INCLUDED = re.compile(r'<!-- from (\S+?)(?:: "(.+)" to "(.+)")? -->')


def on_files(files: Any, config: Any) -> Any:
    """Every file outside docs/ to which a page leads is copied into the site."""
    docs = Path(config.docs_dir)
    for page in list(files.documentation_pages()):
        for target in LINK.findall(with_inclusions(page.content_string, page.src_uri, docs.parent)):
            name = _in_site(page.src_uri, target)
            if name is not None and files.get_file_from_path(name) is None and (docs.parent / name).is_file():
                files.append(File.generated(config, name, abs_src_path=str(docs.parent / name)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """The page with what it includes, and with links as they are in the site."""
    here = page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        name = _in_site(here, match[1])
        return match[0] if name is None else f"]({posixpath.relpath(name, posixpath.dirname(here) or '.')}"

    return LINK.sub(moved, with_inclusions(markdown, here, Path(config.docs_dir).parent))


def with_inclusions(markdown: str, page: str, root: Path) -> str:
    """The text of a page with that of other files, whose links start at the page then."""

    def included(match: re.Match[str]) -> str:
        name, first, last = match.groups()
        text = (root / name).read_text(encoding="utf-8")
        for heading in (first, last):
            if heading is not None and text.count(f"\n{heading}\n") != 1:
                raise PluginError(f"{page}: {name} has not exactly one heading '{heading}'.")
        if first is not None:
            text = text[text.index(f"\n{first}\n") : text.index(f"\n{last}\n")]
        start = posixpath.join("docs", posixpath.dirname(page))
        there = posixpath.dirname(name)
        return LINK.sub(lambda m: f"]({posixpath.relpath(posixpath.join(there, m[1]), start)}", text)

    return INCLUDED.sub(included, markdown)


def _in_site(page: str, target: str) -> str | None:
    """Where a file outside docs/ stands in the site: at its path in the repository. None for a file inside."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith(("docs/", "../")) else path
