"""The one exception that means: what was asked for cannot be done, and here is what can."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping


class UserError(ValueError):
    """A mistake in what the user asked for, as one sentence with the remedy.

    The command line prints the sentence and exits with status 2; nothing else in the package catches it.
    """

    __module__ = "dnal"  # where users know it from


class OptionError(UserError):
    """A wrong value of one of a job's own options, found after the options were read.

    The sentence begins with the option's name; the command line puts the name there that it has for it.

    Args:
        name: of the option, such as ``min_width``. rest: the sentence after the name.
    """

    def __init__(self, name: str, rest: str) -> None:
        super().__init__(name, rest)
        self.name, self.rest = name, rest

    def __str__(self) -> str:
        return f"{self.name} {self.rest}"


LACKING = (
    "can't allocate memory",
    "out of memory",
    "not enough memory",
    "alloc_failed",
    "bad_alloc",
    "could not create a primitive",
)
"""What torch and the libraries under it say where they lack memory."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that the machine has not enough memory, not what is wrong with what was run.

    Examples:
        >>> lacks_memory(RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")), lacks_memory(KeyError("x"))
        (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in LACKING)


def described(value: object) -> str:
    """What a value is, for a sentence about a wrong one.

    Examples:
        >>> described({"logits": 0}), described([1, 2, 3]), described(torch.zeros(4, 10))
        ('a dict of logits', 'a list of 3', 'a tensor (4, 10) of float32')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"a tensor {tuple(shape)} of {str(dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def printable(text: str) -> str:
    """A text, which may be anybody's, as a terminal shows and does not obey it.

    A space stands for every control character except for new lines, and for what turns the direction of reading; what
    no encoding can write is shown by its number.

    Examples:
        >>> printable("\\x1b[31mred")
        ' [31mred'
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def one_line(text: str, longest: int) -> str:
    """A text, which may be anybody's, as one printable line; of more than ``longest`` characters the middle is left
    out."""
    line = " ".join(printable(text).split())
    return line if len(line) <= longest else f"{line[: longest // 2]} ... {line[-longest // 2 :]}"


def reason_of(error: BaseException, longest: int = 200) -> str:
    """What an exception says, which may quote anybody's text, as one printable line; its type where it says nothing."""
    return one_line(str(error), longest) or type(error).__name__


def _printable(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file's name that is no UTF-8
        return f"\\x{number - 0xDC00:x}"
    return f"\\u{number:x}" if 0xD800 <= number <= 0xDFFF else " "


def suggestion(word: str, known: Collection[str], otherwise: str | None = None) -> str:
    """The end of a sentence about a wrong name: "did you mean 'right'?", or ``otherwise``, by default all names."""
    nearest = difflib.get_close_matches(word, known, n=1)
    if nearest:
        return f"did you mean '{nearest[0]}'?"
    return f"known are {', '.join(known)}." if otherwise is None else otherwise


def all_names(word: str, known: Collection[str]) -> str:
    """The same where the names are few enough to be listed in any case: "; did you mean 'right'? There are ..."."""
    nearest = suggestion(word, known, "")
    return f"{f'; {nearest}' if nearest else '.'} There are {', '.join(known)}."
