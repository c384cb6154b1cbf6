"""The folder of a benchmark: one suite with its data, and one process at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from dnal.atomic import write_text
from dnal.bench.suite import Suite
from dnal.errors import UserError
from dnal.sweep.lock import lock

SUITE = "suite.json"


@contextmanager
def claimed(out: Path, suite: Suite) -> Iterator[None]:
    """The folder, ours until the end, with what is run in it; ``suite``: the whole one, whatever part is asked for.

    Raises:
        UserError: it holds something else, cannot be written, or somebody else works in it.
    """
    document = json.loads(json.dumps(asdict(suite)))
    copy = out / SUITE
    try:
        if copy.is_file():
            if json.loads(copy.read_text(encoding="utf-8")) != document:
                raise UserError(f"'{out}' holds another suite, or another version of it; choose another with --out.")
        elif out.is_dir() and any(out.iterdir()):
            raise UserError(f"the folder '{out}' exists and is no benchmark; choose another with --out.")
        else:
            out.mkdir(parents=True, exist_ok=True)
            write_text(copy, json.dumps(document, indent=1) + "\n")
        file = copy.open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{out}' cannot be written ({error.strerror}); choose another with --out.") from None
    except json.JSONDecodeError:
        raise UserError(f"'{copy}' is damaged; choose another folder with --out.") from None
    with file:
        if not lock(file, wait=False):
            raise UserError(f"another `dnal bench` works in '{out}'; wait for its end, or stop it.")
        yield
