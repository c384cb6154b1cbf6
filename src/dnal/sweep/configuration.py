"""sweep.yaml: what all trials share, and what varies between them: a grid or random draws.

The trials are drawn here and not by Ray, so that each can be checked before anything starts, and so that the same file
gives the same trials on any machine and with any version of Ray.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dnal.base.errors import UserError, suggestion

Scalar = None | bool | int | float | str
Value = Scalar | list[Scalar]

EXAMPLE = "{job: {model: vgg_small, data: digits}, grid: {budget: ['macs<=50%'], seed: [0, 1]}}"
KEYS = ("job", "grid", "random")
DRAWS = ("choice", "uniform", "log_uniform")
DIGITS = 4
"""Significant digits of a drawn number: a command that people can read."""
MOST = 10_000


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
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); give the YAML file of a sweep.") from None
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is no text in UTF-8; give the YAML file of a sweep.") from None
    return sweep_of(text, str(path))


def sweep_of(text: str, name: str) -> Sweep:
    """The sweep of a text in YAML; ``name``: what it is called in sentences.

    Raises:
        UserError: as :func:`read_sweep`.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"'{name}' is no YAML ({error.problem}{line}).") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"'{name}' is no YAML ({str(error) or 'nested too deep'}).") from None
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


def _grid(section: object) -> list[dict[str, Value]]:
    """Every combination; the last option varies fastest."""
    values: dict[str, list[Value]] = {}
    for option, listed in _options(section, "grid").items():
        where = f"grid: {option}"
        if not isinstance(listed, list) or not listed:
            raise UserError(f"{where} is a list of values, such as [0, 1, 2], not {listed!r}.")
        values[option] = [_value(value, where) for value in listed]
        for number, value in enumerate(values[option]):
            if any(_same(value, other) for other in values[option][:number]):
                raise UserError(f"{where} names {value!r} twice; each value is a trial.")
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
        raise UserError(f"{where}: {kind} takes a list, not {values!r}.")
    if kind == "choice":
        choices = [_value(value, where) for value in values]
        return lambda share: choices[int(share * len(choices))]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) != 2 or len(values) != 2 or not all(map(math.isfinite, numbers)) or numbers[0] >= numbers[1]:
        raise UserError(f"{where}: {kind} takes the least and the most, such as [0.01, 0.3], not {values!r}.")
    low, high = map(float, numbers)
    if kind == "log_uniform" and low <= 0:
        raise UserError(f"{where}: {kind} is of numbers above zero, not {values!r}.")

    def between(share: float) -> float:
        number = low + (high - low) * share if kind == "uniform" else low * (high / low) ** share
        return min(high, max(low, float(f"{number:.{DIGITS}g}")))

    return between


def _options(section: object, where: str) -> dict[str, Any]:
    """Options by their names in config.yaml: an underscore where the command line has a hyphen."""
    if not isinstance(section, dict):
        raise UserError(f"{where} is a list of options with their values, such as {{seed: 0}}, not {section!r}.")
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
    raise UserError(f"{where} takes text, numbers, true or false, not {value!r}.")


def _same(a: Value, b: Value) -> bool:
    """1 and True are equal to Python."""
    return a == b and type(a) is type(b)


def _check_some(options: Mapping[str, object], where: str) -> None:
    if not options:
        raise UserError(f"{where} varies nothing; name an option of `dnal learn`, such as seed.")


def _check_number(trials: int) -> None:
    if trials > MOST:
        raise UserError(f"these are {trials:,} trials; a sweep has at most {MOST:,}.")
