"""Docstrings write :class:`dnal.Learned`, and :: before code; the site shows a link where the name is documented, else
the name, and the code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|meth|func|mod):`([\w.]+)`")


class Roles(griffe.Extension):
    """Turns what docstrings have of reStructuredText into Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = obj.docstring.value.replace("::\n\n", ":\n\n")
            obj.docstring.value = ROLE.sub(lambda match: _link(obj, match[1]), text)


def _link(obj: griffe.Object, name: str) -> str:
    first, dot, rest = name.partition(".")
    scope: griffe.Object | None = obj
    while scope is not None and first not in scope.members:
        scope = scope.parent
    if scope is not None:
        member = scope.members[first]
        first = member.target_path if isinstance(member, griffe.Alias) else member.path
    return f'<autoref optional identifier="{first}{dot}{rest}"><code>{name}</code></autoref>'
