"""Texts as a kind of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnal.data.dataset import Dataset
from dnal.data.kind import Entry, Heads, Kind, Sizes, Wanted
from dnal.data.objective import LANGUAGE, NEXT, Objective
from dnal.data.text.files import ENDINGS, is_labelled, part_in, read_text
from dnal.data.text.raw import RawText
from dnal.data.text.sets import read_grammar, read_negation
from dnal.data.text.texts import TextOptions, check_sizes, from_text


class Text(Kind):
    name = "text"
    one = "text"
    several = "texts"
    classified = "texts"
    sizes = ("length", "numbers of tokens")
    usual = (64, 4096)
    raw = RawText
    options = TextOptions
    normalisation = (
        "tokens as dnal.data.text.tokens makes them: bytes + 1, or words by CRC-32; 0 is padding, where the mask is "
        "0; or those of the tokenizer.json that the data name"
    )
    sets = {  # noqa: RUF012
        "negation": (
            "2,400 generated sentences of praise and blame, in which 'not' turns the meaning, 2 classes", read_negation,
        ),
        "grammar": ("60,000 letters of generated sentences of a small grammar, whose next one is told", read_grammar),
    }  # fmt: skip
    files = (
        ("FILE.csv, FILE.tsv", "your own labelled texts: a text and its class in each line, a header or none"),
        ("FILE.txt", "your own text, whose next byte is told"),
        ("FOLDER", "your own texts: train.tsv, and perhaps val.tsv and test.tsv; or .csv, or .txt"),
    )

    def claims(self, path: Path, heads: Heads) -> bool:
        if path.is_dir():
            return part_in(path, "train") is not None
        return path.suffix == ENDINGS[-1] or is_labelled(path)

    def read(self, path: Path) -> RawText:
        return read_text(path)

    def dataset(self, name: str, raw: Any, wanted: Wanted, options: TextOptions) -> Dataset:
        return from_text(name, raw, wanted, options)

    def inputs(self, sizes: Sizes) -> dict[str, Entry]:
        length, tokens = sizes
        return {"input_ids": Entry((length,), below=tokens), "attention_mask": Entry((length,), ones=True)}

    def arguments(self, sizes: Sizes) -> dict[str, int]:
        length, tokens = sizes
        return {"length": length, "tokens": tokens, "vocab_size": tokens}

    def kept(self, sizes: Sizes) -> dict[str, int]:
        return {"tokens": sizes[1]}

    def answered(self, sizes: Sizes, objective: Objective) -> tuple[int, ...]:
        return (sizes[0],) if objective in (NEXT, LANGUAGE) else ()

    def numbers(self, sizes: Sizes) -> int:
        return super().numbers(sizes) + sizes[0] ** 2  # attention compares every place with every other one

    def check(self, sizes: Sizes) -> None:
        super().check(sizes)
        check_sizes(sizes)
