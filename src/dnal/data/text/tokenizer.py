"""A vocabulary of somebody's: the numbers of tokens as a tokenizer.json of Hugging Face's tokenizers has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnal.base.errors import UserError, one_line, reason_of
from dnal.base.names import at_home
from dnal.base.reading import text_of
from dnal.data.text.tokens import PADDING

FILE = "tokenizer.json"
LARGEST = 2**27
REMEDY = "give another one as tokens=FILE, or tokens=words"
PADS = ("[PAD]", "<pad>", "<|pad|>")


class Tokenizer:
    """What a tokenizer.json says. It may be anybody's: it is JSON of a bounded size, read by the tokenizers library.

    Args:
        path: the file, or a folder that has it.

    Attributes:
        count: its tokens have numbers below this one.

    Raises:
        UserError: no such file, one that is none, or the library is not installed.
    """

    def __init__(self, path: str) -> None:
        self._path = _found(path)
        text = text_of(self._path, LARGEST, remedy=REMEDY)
        self._own = _read(text, self._path)
        self.count = max(self._own.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        if not self.count:
            raise UserError(f"'{self._path}' has no tokens; {REMEDY}.")
        self._pad = self._padding()
        self._own.no_padding()

    def rows(self, texts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """Texts cut or padded to one length, and their mask, which is 0 at the padding: both int64 (N, length).

        What it puts around a text, such as [CLS] and [SEP], stays where a text is cut.

        Raises:
            UserError: the length holds nothing beside that.
        """
        x, mask = torch.full((len(texts), length), self._pad), torch.zeros(len(texts), length, dtype=torch.long)
        try:
            self._own.enable_truncation(length)
            for row, there, text in zip(x, mask, texts, strict=True):
                # One after the other: several at once are cut by threads, which processes of loaders cannot have.
                numbers = self._own.encode(text).ids[:length]
                row[: len(numbers)] = torch.tensor(numbers, dtype=torch.long)
                there[: len(numbers)] = 1
        except Exception as error:  # of the library, which has one kind only
            raise UserError(
                f"'{self._path}' cannot cut a text into {length} tokens ({reason_of(error, 120)}); ask for another "
                "length with --input."
            ) from None
        return x, mask

    def _padding(self) -> int:
        told = self._own.padding
        if isinstance(told, dict) and 0 <= int(told.get("pad_id", -1)) < self.count:
            return int(told["pad_id"])
        named = [number for name in PADS if (number := self._own.token_to_id(name)) is not None]
        return int(named[0]) if named else PADDING


def _found(given: str) -> Path:
    path = at_home(given, "path of the tokenizer")
    try:
        path = path / FILE if path.is_dir() else path
        if path.is_file():
            return path.resolve()
    except (OSError, RuntimeError):
        pass
    raise UserError(f"tokens are words, bytes or those of a {FILE}, and there is none at '{one_line(given, 80)}'.")


def _read(text: str, path: Path) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(
            f"a {FILE} needs the tokenizers library, which is not installed ({error}): pip install 'dnal[hf]'"
        ) from None
    try:
        return tokenizers.Tokenizer.from_str(text)
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise UserError(f"'{path}' is no {FILE} ({reason_of(error, 120)}); {REMEDY}.") from None
