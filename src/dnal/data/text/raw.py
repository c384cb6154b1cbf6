"""Text as a source delivers it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Labelled:
    """Texts, and the name of the class of each."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class RawText:
    """Texts of classes, or one text whose next byte is to be told.

    Attributes:
        train: texts and their classes, or a text.
        val, test: the same; None: a tenth and a fifth of ``train``, always the same ones.
    """

    train: Labelled | str
    val: Labelled | str | None = None
    test: Labelled | str | None = None
