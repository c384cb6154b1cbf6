"""Small generated texts, the same on every machine: they show that a network learns, and nothing about language."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnal.data.text.raw import Labelled, RawText

SENTENCES, LETTERS = 2400, 60_000
THINGS = ("film", "plot", "cast", "music", "book", "ending", "camera", "script")
GOOD = ("good", "funny", "moving", "clever", "bright", "fresh")
BAD = ("bad", "dull", "flat", "clumsy", "dark", "stale")
HOW = ("very", "quite", "really", "rather", "so")
FILLING = ("we saw it on friday", "people talked about it", "it lasts two hours", "tickets were cheap", "")
DONE = ("opens", "paints", "sells", "finds", "keeps", "drops")


def read_negation(root: Path | None, download: bool = True) -> RawText:
    """Sentences of praise and blame; every second one has a "not", which turns its meaning."""
    draw = np.random.RandomState(0)  # whose stream is promised never to change

    def pick(words: tuple[str, ...]) -> str:
        return words[draw.randint(len(words))]

    texts, labels = [], []
    for number in range(SENTENCES):
        praise, negated = number % 2 == 0, number % 4 >= 2
        word = pick(GOOD if praise != negated else BAD)
        said = f"the {pick(THINGS)} was {'not ' if negated else ''}{pick(HOW)} {word}"
        texts.append(f"{pick(FILLING)} {said} {pick(FILLING)}".strip())
        labels.append("praise" if praise else "blame")
    return RawText(Labelled(tuple(texts), tuple(labels)))


def read_grammar(root: Path | None, download: bool = True) -> RawText:
    """Sentences of a grammar of a few rules, one after the other."""
    draw = np.random.RandomState(1)

    def thing() -> str:
        word = THINGS[draw.randint(len(THINGS))]
        return f"the {GOOD[draw.randint(len(GOOD))]} {word}" if draw.randint(2) else f"the {word}"

    pieces: list[str] = []
    length = 0
    while length < LETTERS:
        sentence = f"{thing()} {DONE[draw.randint(len(DONE))]} {thing()}. "
        pieces.append(sentence)
        length += len(sentence)
    return RawText("".join(pieces))
