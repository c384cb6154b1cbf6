"""Texts of everybody's: their classes, their tokens, the byte after each."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import torch

from dnal import data
from dnal.base.errors import UserError
from dnal.data.text.tokens import bytes_of, padded, words_of

LINES = [(f"the {w} film was {'fine' if n % 2 else 'dull, really'}", n % 2) for n, w in enumerate("abcdefghij" * 4)]


def file(tmp_path: Path, text: str, name: str) -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "\n".join(f"{text}\t{label}" for text, label in LINES)),
        ("b.tsv", "\n".join(["sentence\tlabel", *(f"{text}\t{label}" for text, label in LINES)])),
        ("c.csv", "\n".join(["label,text", *(f'{label},"{text}"' for text, label in LINES)])),
    ],
)
def test_labelled_lines(name: str, text: str, tmp_path: Path) -> None:
    found = data.load(file(tmp_path, text, name))
    assert (found.kind, found.classes, found.class_names, found.input_shape) == ("text", 2, ("0", "1"), (64, 4096))
    assert sum(map(len, (found.train, found.val, found.test))) == len(LINES)
    batch = found.train.batch(torch.arange(len(found.train)), 0)
    assert batch.keys() == {"input_ids", "attention_mask", "labels"}
    dull = 1 + zlib.crc32(b"dull") % 4095
    assert torch.equal((batch["input_ids"] == dull).any(1).long(), 1 - batch["labels"])
    assert batch["attention_mask"].sum(1).tolist() == [7 if label == 0 else 5 for label in batch["labels"].tolist()]


def test_a_folder_has_its_own_parts(tmp_path: Path) -> None:
    for part, lines in (("train", LINES[:20]), ("dev", LINES[20:30]), ("test", LINES[30:])):
        file(tmp_path, "\n".join(f"{text}\t{label}" for text, label in lines), f"{part}.tsv")
    found = data.load(str(tmp_path))
    assert [len(part) for part in (found.train, found.val, found.test)] == [20, 10, 10]
    assert [int(label) for label in found.test.y] == [label for _, label in LINES[30:]]
    file(tmp_path, "one text", "dev.txt")
    (tmp_path / "dev.tsv").unlink()
    with pytest.raises(UserError, match="two forms"):
        data.load(str(tmp_path))


def test_the_next_byte_of_a_text(tmp_path: Path) -> None:
    text = "".join(f"{n} men went to mow, äöü. " for n in range(200))
    found = data.load(file(tmp_path, text, "a.txt"), input_shape=(16, 257))
    assert (found.objective.name, found.classes) == ("next-token", 257)
    pieces = found.train.batch(torch.arange(len(found.train)), 0)
    whole = text.encode()
    for ids, labels in zip(pieces["input_ids"].tolist(), pieces["labels"].tolist(), strict=True):
        assert ids[1:] == labels[:-1]
        assert bytes(i - 1 for i in [*ids, labels[-1]]) in whole


def test_tokens() -> None:
    assert bytes_of("aä") == [98, 196, 165]
    assert words_of("It isn't. IT", 100) == [1 + zlib.crc32(w) % 99 for w in (b"it", b"isn", b"'", b"t", b".", b"it")]
    assert padded([[1, 2, 3], [4]], 2).tolist() == [[1, 2], [4, 0]]


def test_the_generated_sentences_follow_their_rule() -> None:
    found = data.load("negation")
    rows = found.train.batch(torch.arange(len(found.train)), 0)
    negated = (rows["input_ids"] == words_of("not", 4096)[0]).any(1)
    good = [words_of(word, 4096)[0] for word in ("good", "funny", "moving", "clever", "bright", "fresh")]
    praised = torch.isin(rows["input_ids"], torch.tensor(good)).any(1)
    assert torch.equal((praised != negated).long(), rows["labels"])  # blame is 0, praise 1
    assert 0.45 < negated.float().mean() < 0.55
    assert max(rows["attention_mask"].sum(1)) < found.input_shape[0]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4096, 100), "longer than"), ((8, 1), "tokens"), ((8,), "length and numbers of tokens"), ((8, 2**23), "tokens")],
)
def test_impossible_sizes(shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        data.load("negation", input_shape=shape)


def test_other_tokens_and_other_words() -> None:
    by_bytes = data.load("negation:tokens=bytes")
    assert by_bytes.input_shape == (64, 257)
    assert data.load("negation", input_shape=(12, 99)).train.batch(torch.arange(9), 0)["input_ids"].max() < 99
    with pytest.raises(UserError, match="tokens are words, bytes or those of"):
        data.load("negation:tokens=letters")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "\n".join(["text;label", *(f"{text};{label}" for text, label in LINES)])),
        ("b.tsv", "\n".join(f"{text}\u2028{text}\x85\x0c\t{label}" for text, label in LINES)),
        (
            "c.tsv",
            "\n".join(
                f"{text}{' word' * (30_000 if n < 2 else 1)}\t{is_dull}" for n, (text, is_dull) in enumerate(LINES)
            ),
        ),
    ],
    ids=["semicolons", "signs", "long"],
)
def test_texts_of_any_length_and_signs(name: str, text: str, tmp_path: Path) -> None:
    found = data.load(file(tmp_path, text, name))
    assert (found.kind, found.classes, len(found.train) + len(found.val) + len(found.test)) == ("text", 2, len(LINES))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.tsv", "text\tlabel\na b c\tyes\nd e f\t\ng h i\tno", "1 texts of .* have no class"),
        ("a.tsv", "text\tlabel\na b c\tyes\nd e f\tyes", r"are of one class \(yes\)"),
        ("a.txt", "", "too few texts"),
        ("a.txt", "ab", "too few texts"),
    ],
)
def test_texts_that_tell_nothing(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        data.load(file(tmp_path, text, name))


def test_classes_that_nothing_can_learn_are_told(tmp_path: Path) -> None:
    file(tmp_path, "\n".join(f"{text}\t{label}" for text, label in LINES), "train.tsv")
    file(tmp_path, "\n".join(f"{text}\t{'yes' if label else 'no'}" for text, label in LINES), "test.tsv")
    with pytest.warns(UserWarning, match=r"no training text of .* has the class 'no', which test has \(nor 1 others"):
        data.load(str(tmp_path))
