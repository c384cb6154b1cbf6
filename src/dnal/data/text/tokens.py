"""Texts as whole numbers, without a vocabulary that would have to be kept: whoever has the two sizes of a run can make
a network's inputs.

0 is padding. A byte is its value + 1. A word (letters and digits in a row, or one other sign, in lower case) is its
CRC-32, as a remainder, + 1: two words may share a number, the fewer the more numbers there are.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

PADDING = 0
BYTES = 257
"""Numbers of bytes, with the padding."""
_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str, words: int) -> list[int]:
    """The numbers of the words of a text, from 1 to ``words`` - 1.

    Examples:
        >>> from dnal.data.text.tokens import words_of
        >>> words_of("Not bad, not bad!", 4096)
        [3549, 3377, 504, 3549, 3377, 1842]
    """
    return [1 + zlib.crc32(word.encode()) % (words - 1) for word in _WORD.findall(text.lower())]


def bytes_of(text: str) -> list[int]:
    """The numbers of the bytes of a text in UTF-8, from 1 to 256."""
    return [1 + value for value in text.encode(errors="replace")]


def padded(rows: Sequence[Sequence[int]], length: int) -> Tensor:
    """Rows cut or padded to one length, int64 (N, length)."""
    made = torch.full((len(rows), length), PADDING)
    for row, numbers in zip(made, rows, strict=True):
        row[: len(numbers)] = torch.tensor(numbers[:length], dtype=torch.long)
    return made
