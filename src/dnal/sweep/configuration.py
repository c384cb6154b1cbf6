"""sweep.yaml: what all trials share, and what varies between them: a grid or random draws.

The trials are drawn here and not by Ray, so that each can be checked before anything starts, and so that the same file
gives the same trials on any machine and with any version of Ray.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dnal.base.errors import UserError, described, one_line, suggestion
from dnal.base.reading import plain_yaml

Scalar = None | bool | int | float | str
Value = Scalar | list[Scalar]

EXAMPLE = "{job: {model: vgg_small, data: digits}, grid: {budget: ['macs<=50%'], seed: [0, 1]}}"
KEYS = ("job", "grid", "random")
DRAWS = ("choice", "uniform", "log_uniform")
DIGITS = 4
"""Significant digits of a drawn number: a command that people can read."""
MOST = 10_000
"""Trials, and values of an option."""
MOST_OPTIONS = 200
LARGEST = 2**18
"""Bytes of a sweep.yaml."""
SHOWN = 60
"""Characters of a wrong value in a sentence."""


@dataclass(frozen=True)
class Sweep:
    """What a configuration says.

    Attributes:
        job: options of `dnal learn` that all trials share.
        varied: the options that differ. trials: their values, in the order of the configuration.
        text: the file itself.
    """

    job: dict[str, Value]
    varied: tuple[str, ...]
    trials: list[dict[str, Value]]
    text: str


def read_sweep(path: str | Path) -> Sweep:
    """The sweep that a file describes.

    Raises:
        UserError: in one sentence, whatever is wrong with the file; the options' values are not looked at.
    """
    try:
        with Path(path).open("rb") as file:  # the user's own: it may be a link or a pipe
            raw = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"'{path}' cannot be read ({reason}); give the YAML file of a sweep.") from None
    if len(raw) > LARGEST:
        raise UserError(f"'{path}' has more than {LARGEST:,} bytes, more than a sweep can have; vary less.")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is no text in UTF-8; give the YAML file of a sweep.") from None
    return sweep_of(text, str(path))


def sweep_of(text: str, name: str) -> Sweep:
    """The sweep of a text in YAML; ``name``: what it is called in sentences.

    Raises:
        UserError: as :func:`read_sweep`.
    """
    try:
        document = plain_yaml(text)
    except ValueError as error:
        raise UserError(f"'{name}' is no YAML of a sweep ({_wrong(error)}).") from None
    if not isinstance(document, dict):
        raise UserError(f"'{name}' is no sweep; write for example {EXAMPLE}.")
    for key in document:
        if key not in KEYS:
            raise UserError(f"unknown key '{key}' in '{name}'; {suggestion(str(key), KEYS)}")
    if ("grid" in document) == ("random" in document):
        raise UserError(f"'{name}' needs either grid or random, which say what varies; for example {EXAMPLE}.")
    job = {
        option: _value(value, f"job: {option}") for option, value in _options(document.get("job", {}), "job").items()
    }
    drawn = _grid(document["grid"]) if "grid" in document else _random(document["random"])
    varied = tuple(drawn[0])
    for option in varied:
        if option in job:
            raise UserError(f"'{option}' stands in job and varies too; leave one of them out of '{name}'.")
    return Sweep(job, varied, drawn, text)


def _wrong(error: ValueError) -> str:
    """What is wrong with a text of YAML, and in which line."""
    said = error.__context__
    if not isinstance(said, yaml.MarkedYAMLError):
        return str(error)
    return f"{said.problem}{f', line {said.problem_mark.line + 1}' if said.problem_mark else ''}"


def _grid(section: object) -> list[dict[str, Value]]:
    """Every combination; the last option varies fastest."""
    values: dict[str, list[Value]] = {}
    for option, listed in _options(section, "grid").items():
        where = f"grid: {option}"
        if not isinstance(listed, list) or not listed:
            raise UserError(f"{where} is a list of values, such as [0, 1, 2], not {_shown(listed)}.")
        _check_number(len(listed))
        values[option] = [_value(value, where) for value in listed]
        seen: set[object] = set()
        for value in values[option]:
            if _kind(value) in seen:
                raise UserError(f"{where} names {_shown(value)} twice; each value is a trial.")
            seen.add(_kind(value))
    _check_some(values, "grid")
    _check_number(math.prod(map(len, values.values())))
    return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]


def _random(section: object) -> list[dict[str, Value]]:
    """Independent draws. They follow from the configuration alone, and the first trials of more are those of fewer."""
    draws = _options(section, "random")
    trials = draws.pop("trials", None)
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise UserError("random needs the number of trials, such as {trials: 20, lr: {log_uniform: [0.01, 0.3]}}.")
    _check_some(draws, "random")
    _check_number(trials)
    sources = {option: _source(draw, f"random: {option}") for option, draw in draws.items()}
    # Of all generators this one's stream is promised to stay as it is.
    generator = random.Random(0)
    return [{option: source(generator.random()) for option, source in sources.items()} for _ in range(trials)]


def _source(draw: object, where: str) -> Callable[[float], Value]:
    """What lies at a share, 0 <= share < 1, of the values that a draw may give."""
    if not isinstance(draw, dict) or len(draw) != 1:
        raise UserError(f"{where} is how it is drawn, such as {{choice: [1, 2]}} or {{log_uniform: [0.01, 0.3]}}.")
    ((kind, values),) = draw.items()
    if kind not in DRAWS:
        raise UserError(f"unknown draw '{kind}' in {where}; {suggestion(str(kind), DRAWS)}")
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: {kind} takes a list, not {_shown(values)}.")
    if kind == "choice":
        choices = [_value(value, where) for value in values]
        return lambda share: choices[int(share * len(choices))]
    low, high = _ends(values, f"{where}: {kind}")
    if kind == "log_uniform" and low <= 0:
        raise UserError(f"{where}: {kind} is of numbers above zero, not {_shown(values)}.")
    if not math.isfinite(high - low if kind == "uniform" else high / low):
        raise UserError(f"{where}: nothing can be drawn between two ends as far apart as {_shown(values)}.")

    def between(share: float) -> float:
        number = low + (high - low) * share if kind == "uniform" else low * (high / low) ** share
        return min(high, max(low, float(f"{number:.{DIGITS}g}")))

    return between


def _ends(values: list[Any], where: str) -> tuple[float, float]:
    """The least and the most that may be drawn."""
    if len(values) == 2 and not any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        with suppress(OverflowError):  # a whole number that no float holds
            low, high = map(float, values)
            if low < high and math.isfinite(low) and math.isfinite(high):
                return low, high
    raise UserError(f"{where} takes the least and the most, such as [0.01, 0.3], not {_shown(values)}.")


def _options(section: object, where: str) -> dict[str, Any]:
    """Options by their names in config.yaml: an underscore where the command line has a hyphen."""
    if not isinstance(section, dict):
        raise UserError(f"{where} is a list of options with their values, such as {{seed: 0}}, not {_shown(section)}.")
    if len(section) > MOST_OPTIONS:
        raise UserError(f"{where} names {len(section):,} options; `dnal learn` has fewer than {MOST_OPTIONS}.")
    found: dict[str, Any] = {}
    for key, value in section.items():
        option = str(key).removeprefix("--").replace("-", "_")
        if option in found:
            raise UserError(f"'{option}' stands twice in {where}.")
        found[option] = value
    return found


def _value(value: object, where: str) -> Value:
    if isinstance(value, list):
        return [_scalar(each, where) for each in value]
    return _scalar(value, where)


def _scalar(value: object, where: str) -> Scalar:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UserError(f"{where} takes text, numbers, true or false, not {_shown(value)}.")


def _kind(value: Value) -> object:
    """What is equal where two values are the same; 1 and True are equal to Python."""
    return tuple(map(_kind, value)) if isinstance(value, list) else (type(value), value)


def _shown(value: object) -> str:
    """A wrong value in a sentence: some of it."""
    try:
        return one_line(repr(value), SHOWN)
    except ValueError:  # a whole number too long to be written
        return described(value)


def _check_some(options: Mapping[str, object], where: str) -> None:
    if not options:
        raise UserError(f"{where} varies nothing; name an option of `dnal learn`, such as seed.")


def _check_number(trials: int) -> None:
    if trials > MOST:
        raise UserError(f"these are {trials:,} trials; a sweep has at most {MOST:,}.")
