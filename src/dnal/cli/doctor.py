"""`dnal doctor`: whether dnal works here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from dnal.cli import options
from dnal.cli.display import amount, json_document, line, table
from dnal.cli.errors import errors_as_sentences, say

SICK = 1


@errors_as_sentences
def doctor(as_json: options.Json = False) -> None:
    """Check this installation and machine, and learn a small network in seconds (status 1 if something is wrong)."""
    from dnal.doctor import examine

    found = examine()
    if as_json:
        json_document(found)
    else:
        _print(found)
    for problem in found["problems"]:
        say(problem)
    if found["problems"]:
        raise typer.Exit(SICK)


def _print(found: dict[str, Any]) -> None:
    line(", ".join(f"{each['name']} {each['version'] or 'missing'}" for each in found["packages"]))
    line()
    if found["machine"]:
        _print_machine(found["machine"])
        line()
    _table(
        [("device", False), ("what it is", False), ("memory", True), ("", False)],
        [
            (each["name"], each["kind"], _bytes(each["memory_bytes"]), "trains here" if each["default"] else "")
            for each in found["devices"]
        ],
    )
    _table(
        [("device", False), ("precision", False), ("a small training step", True)],
        [
            (each["device"], each["precision"], each["refusal"] or f"{each['ms']:.3g} ms")
            for each in found["precisions"]
        ],
    )
    _table(
        [("place of", False), ("path", False), ("can be written", False), ("free", True)],
        [
            (each["what"], each["path"], each["refusal"] or "yes", _bytes(each["free_bytes"]))
            for each in found["places"]
        ],
    )
    _table(
        [("extra", False), ("for", False), ("here, or how to install it", False)],
        [
            (each["name"], each["for"], _versions(each) if each["present"] else each["install"])
            for each in found["extras"]
        ],
    )
    _table(
        [("self-test", False), ("found", False), ("holds", False)],
        [(each["what"], each["found"], "yes" if each["holds"] else "NO") for each in found["self_test"]],
    )
    line(f"{_counted(len(found['problems']), 'problem')}; {found['seconds']:.0f} s")


def _print_machine(machine: dict[str, Any]) -> None:
    line(f"{machine['system']}; {machine['processor']}, {machine['instructions']}")
    why = "" if machine["OMP_NUM_THREADS"] is None else f" (OMP_NUM_THREADS is {machine['OMP_NUM_THREADS']})"
    line(f"torch computes with {_counted(machine['threads'], 'thread')} on {_counted(machine['cores'], 'core')}{why}")


def _versions(extra: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in extra["packages"].items())


def _table(columns: list[tuple[str, bool]], rows: Sequence[tuple[str, ...]]) -> None:
    """With an empty line behind it; nothing, if there is nothing to show."""
    if rows:
        table(columns, rows)
        line()


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _bytes(number: int | None) -> str:
    return "-" if number is None else f"{amount(number, 3)}B"
