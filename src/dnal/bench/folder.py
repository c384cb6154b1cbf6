"""The folder of a benchmark: one suite with its data, and one process at a time."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from dnal.base import claim
from dnal.base.errors import UserError
from dnal.base.reading import json_of
from dnal.bench.suite import Suite

SUITE = "suite.json"
LARGEST = 2**20
"""Bytes of a suite.json."""


def claimed(out: Path, suite: Suite) -> AbstractContextManager[None]:
    """The folder, ours until the end, with what is run in it; ``suite``: the whole one, whatever part is asked for.

    Raises:
        UserError: it holds something else, cannot be written, or another process works in it.
    """
    text = json.dumps(asdict(suite), indent=1) + "\n"
    copy = out / SUITE
    try:
        if os.path.lexists(copy):
            if _suite_in(copy) != json.loads(text):
                raise UserError(f"'{out}' holds another suite, or another version of it; choose another with --out.")
        elif out.is_dir() and any(out.iterdir()):
            raise UserError(f"the folder '{out}' exists and is no benchmark; choose another with --out.")
    except OSError as error:
        raise UserError(f"'{out}' cannot be read ({error.strerror}); choose another with --out.") from None
    return claim.claimed(out, SUITE, text, "dnal bench")


def _suite_in(copy: Path) -> object:
    try:
        return json_of(copy, LARGEST)
    except UserError:
        raise UserError(f"'{copy}' is damaged; choose another folder with --out.") from None
