"""A data set from texts: of classes, or a text whose next byte is to be told."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dnal.base.errors import UserError, one_line
from dnal.base.options import Options, option
from dnal.data.dataset import Dataset, TensorPart
from dnal.data.kind import Sizes, Wanted
from dnal.data.objective import CLASSIFICATION, LANGUAGE, NEXT, Objective
from dnal.data.splits import VALIDATION_SEED, limited, stratified_sample, validation_split, without
from dnal.data.tables.table import UNSAID
from dnal.data.text.raw import Labelled, RawText
from dnal.data.text.tokenizer import Tokenizer
from dnal.data.text.tokens import BYTES, PADDING, bytes_of, padded, words_of

TEST_SHARE = 0.2
MOST_CLASSES = 2**12
MOST_LENGTH = 2**11
"""Of a text; attention compares every place with every other one."""
MOST_TOKENS = 2**28
"""Of all texts together, with their padding."""
LENGTH, LETTERS = 64, 64
"""Of a text of classes, and of a piece of a text, if nothing is said."""
WORDS = 4096


@dataclass(frozen=True)
class TextOptions(Options):
    """What can be said of a text."""

    tokens: str = option(
        "words",
        "What a text is cut into: words, bytes, or the tokens of a tokenizer.json, given as its path or its folder; a "
        "text without classes is always bytes.",
    )
    measure: Literal["accuracy", "perplexity"] = option(
        "accuracy", "How well the next byte is told: how often it is the likeliest one, or how likely the text is."
    )


def from_text(name: str, raw: RawText, wanted: Wanted, options: TextOptions) -> Dataset:
    """A data set from texts.

    Texts of classes are cut or padded to one length. A text without classes is cut into pieces of one length, each of
    which is to tell the byte after each of its bytes. Where the source has no test texts, a fifth of all is the test
    set, and where it has no validation texts, a tenth of the others; both are the same in every run.

    Raises:
        UserError: too few texts, or a length or number of words that cannot be.
    """
    if isinstance(raw.train, str):
        return _next_bytes(name, raw, wanted, LANGUAGE if options.measure == "perplexity" else NEXT)
    if options.measure == "perplexity":
        raise UserError(
            f"'{name}' has classes, which are told or not; perplexity is of a text without them, a .txt file."
        )
    cut = _cutting(options.tokens)
    length, count = wanted.input_shape or (LENGTH, cut.usual)
    check_sizes((length, count), cut.least)
    parts = [part for part in (raw.train, raw.val, raw.test) if isinstance(part, Labelled)]
    names = tuple(dict.fromkeys(sorted({label for part in parts for label in part.labels}, key=_order)))
    if len(names) > MOST_CLASSES:
        raise UserError(f"'{name}' has {len(names):,} classes, more than {MOST_CLASSES:,}; is its label a text?")
    classes = wanted.classes or len(names)
    absent = sum(label.strip().lower() in UNSAID for part in parts for label in part.labels)
    if absent:
        raise UserError(f"{absent} texts of '{name}' have no class; remove them.")
    if classes < 2:
        raise UserError(f"all texts of '{name}' are of one class ({one_line(names[0], 80)}); give others too.")
    _warn_of_untold(name, raw)
    if classes < len(names):
        raise UserError(f"'{name}' has {len(names)} classes ({one_line(', '.join(names), 80)}), not {classes}.")
    numbers = {label: number for number, label in enumerate(names)}

    def made(part: Labelled) -> TensorPart:
        _check_size(len(part.texts) * length)
        x, mask = cut.rows(part.texts, length, count)
        y = torch.tensor([numbers[label] for label in part.labels])
        return TensorPart({"input_ids": x, "attention_mask": mask}, y)

    train, val, test = _split([made(part) for part in parts], raw, wanted)
    return Dataset(
        name, classes, names + tuple(str(number) for number in range(len(names), classes)), (length, count),
        train, val, test, kind="text", objective=CLASSIFICATION,
    )  # fmt: skip


class _Cutting(NamedTuple):
    """How texts become numbers: (texts, length, count) -> numbers and mask; the usual and the least count of them."""

    rows: Callable[[Sequence[str], int, int], tuple[Tensor, Tensor]]
    usual: int
    least: int


def _cutting(tokens: str) -> _Cutting:
    if tokens == "words":
        return _Cutting(lambda texts, length, count: _plain([words_of(one, count) for one in texts], length), WORDS, 2)
    if tokens == "bytes":
        return _Cutting(lambda texts, length, _: _plain([bytes_of(one) for one in texts], length), BYTES, BYTES)
    own = Tokenizer(tokens)
    return _Cutting(lambda texts, length, _: own.rows(texts, length), own.count, max(2, own.count))


def _plain(rows: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    x = padded(rows, length)
    return x, (x != PADDING).long()


def _warn_of_untold(name: str, raw: RawText) -> None:
    """Tells of classes that only other parts than the training part have: nothing can learn them."""
    told = set(raw.train.labels) if isinstance(raw.train, Labelled) else set()
    for part, own in (("val", raw.val), ("test", raw.test)):
        untold = sorted(set(own.labels) - told) if isinstance(own, Labelled) else []
        if untold:
            warnings.warn(
                f"no training text of '{name}' has the class '{one_line(untold[0], 40)}', which {part} has"
                f"{f' (nor {len(untold) - 1} others)' if len(untold) > 1 else ''}; are the labels written alike?",
                stacklevel=3,
            )


def check_sizes(sizes: Sizes, least: int = 2) -> None:
    """Refuses lengths and numbers of tokens that cannot be.

    Raises:
        UserError: with what can.
    """
    length, count = sizes
    if length > MOST_LENGTH:
        raise UserError(f"a text of {length:,} tokens is longer than the {MOST_LENGTH:,} that one may have.")
    if not least <= count <= 2**22:
        raise UserError(f"the tokens are numbers below {count:,}; that is from {least} to {2**22:,}.")


def _next_bytes(name: str, raw: RawText, wanted: Wanted, objective: Objective) -> Dataset:
    length, count = wanted.input_shape or (LETTERS, BYTES)
    check_sizes((length, count), BYTES)
    if count != BYTES or wanted.classes not in (None, BYTES):
        raise UserError(f"'{name}' is a text of bytes, whose next one is one of {BYTES}; leave input and classes away.")

    def made(text: object) -> TensorPart:
        assert isinstance(text, str)
        numbers = bytes_of(text)
        _check_size(len(numbers))
        pieces = (len(numbers) - 1) // length
        every = torch.tensor(numbers[: pieces * length + 1])
        return _masked(every[:-1].view(pieces, length), every[1:].view(pieces, length))

    parts = [made(text) for text in (raw.train, raw.val, raw.test) if text is not None]
    train, val, test = _split(parts, raw, wanted)
    names = ("padding", *(str(value) for value in range(BYTES - 1)))
    return Dataset(name, BYTES, names, (length, count), train, val, test, kind="text", objective=objective)


def _masked(x: Tensor, y: Tensor) -> TensorPart:
    return TensorPart({"input_ids": x, "attention_mask": (x != PADDING).long()}, y)


def _split(parts: list[TensorPart], raw: RawText, wanted: Wanted) -> list[TensorPart]:
    """Training, validation and test part; those that the source lacks are cut from the first."""
    first, *others = parts
    if not len(first):
        raise UserError("there are too few texts for training, validation and test; give more.")
    strata = first.y if first.y.dim() == 1 else torch.zeros(len(first), dtype=torch.long)
    left, test = torch.arange(len(first)), None
    if raw.test is not None:
        test = others.pop()
    else:
        held = stratified_sample(strata, max(1, round(TEST_SHARE * len(first))), VALIDATION_SEED)
        left, test = without(len(first), held), _picked(first, held)
    if raw.val is not None:
        val = others.pop()
    else:
        if len(left) < 2:
            raise UserError("there are too few texts for training, validation and test; give more.")
        kept, held = validation_split(strata[left])
        left, val = left[kept], _picked(first, left[held])
    if not len(left) or not len(val) or not len(test):
        raise UserError("there are too few texts for training, validation and test; give more.")
    chosen = limited(left, strata, wanted.limit_train, wanted.seed, "texts")
    return [_picked(first, chosen), val, test]


def _picked(part: TensorPart, rows: Tensor) -> TensorPart:
    assert not isinstance(part.x, Tensor)
    return TensorPart({name: tensor[rows] for name, tensor in part.x.items()}, part.y[rows])


def _check_size(tokens: int) -> None:
    if tokens > MOST_TOKENS:
        raise UserError(f"{tokens:,} tokens are more than the {MOST_TOKENS:,} that are held in memory; give fewer.")


def _order(label: str) -> tuple[int, int, str]:
    """Whole numbers by their size, then the texts."""
    return (0, int(label), "") if re.fullmatch(r"-?[0-9]{1,9}", label) else (1, 0, label)
