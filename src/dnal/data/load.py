"""A data set by its name, whatever its kind and source: built in, a file, a folder, or a function."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, NamedTuple

from dnal.base.errors import UserError
from dnal.base.names import at_home
from dnal.base.options import from_text
from dnal.base.place import brought
from dnal.data.dataset import Dataset
from dnal.data.kind import Heads, Kind, Sizes, Wanted
from dnal.data.kinds import KINDS
from dnal.data.npz import heads
from dnal.data.others import described_others, place_of, read_others, without_options

FUNCTION = "package.module:function"


class Listed(NamedTuple):
    """What can be loaded: its name, its kind ("" where that depends), and what it is and where it comes from."""

    name: str
    kind: str
    what: str


def names() -> list[Listed]:
    """What can be loaded: sets with a name, those that installed packages bring, and files of the user's."""
    own = [Listed(name, kind.name, what) for kind in KINDS.values() for name, (what, _) in kind.sets.items()]
    others = [Listed(name, "", what) for name, what in described_others({each.name for each in own})]
    files = [Listed(form, kind.name, what) for kind in KINDS.values() for form, what in kind.files]
    raw = [f"dnal.data.{kind.raw.__name__}" for kind in KINDS.values()]
    function = Listed(FUNCTION, "", f"your own function, which returns {', '.join(raw[:-1])} or {raw[-1]}")
    return [*own, *others, *files, function]


def load(
    name: str,
    *,
    root: str | Path | None = None,
    input_shape: Sizes | None = None,
    classes: int | None = None,
    limit_train: int | None = None,
    seed: int = 0,
    augment: bool = True,
    download: bool = True,
    kind: str | None = None,
) -> Dataset:
    """Load a data set, with validation examples cut from its training data and the test set left alone.

    Args:
        name: one of `dnal data` ("digits", "wine"), a name that an installed package brings, a path of a file or
            folder, or ``package.module:function``. Options of a kind stand behind it: "rows.csv:target=price".
        root: folder of the downloaded sets (default ~/.cache/dnal); the other sources do not need it.
        input_shape: sizes that an example shall have, as its kind has them: of images (C, H, W), (3,224,224) by default
            for folders; None means the data's own.
        classes: number of classes; None means what the data tell: labels that count from 0 without a gap, or
            the folders.
        limit_train: a stratified subset of so many training examples, drawn from ``seed``.
        seed: of that subset; validation and test parts never depend on it.
        augment: whether training batches get the set's standard augmentation.
        download: whether a set that is not in ``root`` yet may be downloaded to it.
        kind: of which it must be, such as "images"; None: any.

    Raises:
        UserError: an unknown name or anything wrong with the data, in one sentence.

    Examples:
        >>> digits = dnal.data.load("digits", limit_train=500)
        >>> len(digits.train), len(digits.val), len(digits.test), digits.input_shape
        (500, 126, 540, (1, 8, 8))
        >>> wine = dnal.data.load("wine")
        >>> wine.kind, wine.input_shape, wine.classes
        ('tables', (13,), 3)
    """
    if classes is not None and classes < 1:
        raise UserError(f"there must be at least one class, not {classes}")
    short, told = without_options(name)
    path = at_home(short, "path of the data")
    read_from = None if root is None else at_home(root, "root")
    found: Kind | None = next((one for one in KINDS.values() if short in one.sets), None)
    place = place_of(short) if found is None else None
    raw: Any = None
    if place is not None:
        raw = read_others(short, place, read_from, download, tuple(one.raw for one in KINDS.values()))
        found = next(one for one in KINDS.values() if isinstance(raw, one.raw))
    elif found is None:
        known = heads(path) if path.suffix == ".npz" else {}
        found = _kind_of(path, known)
        if found is None:
            raise _unread(short, path) if os.path.lexists(path) else _unknown(short)
        if path.suffix == ".npz" and not known:
            raw = found.read(path)  # nothing tells its kind: what is wrong with it is said first
    if kind not in (None, found.name):
        raise UserError(
            f"the data '{short}' are of the kind '{found.name}', where '{kind}' is needed; choose other data, or a "
            f"model for these (`dnal models --kind {found.name}`)."
        )
    options = from_text(found.options, told, f"data of the kind '{found.name}'")
    if input_shape is not None:
        found.check(input_shape)
    if raw is None:
        raw = found.sets[short][1](read_from, download) if short in found.sets else found.read(path)
    wanted = Wanted(None if input_shape is None else tuple(input_shape), classes, limit_train, seed, augment)
    return found.dataset(name, raw, wanted, options)


def _kind_of(path: Path, known: Heads) -> Kind | None:
    """The kind of data that a file or folder holds, of an .npz file by the arrays in it; None where there is none."""
    if not os.path.lexists(path) and path.suffix != ".npz":
        return None
    claiming = [kind for kind in KINDS.values() if kind.claims(path, known)]
    return claiming[-1] if claiming else None


def _unread(name: str, path: Path) -> UserError:
    """Of a file or folder that is there, and which no kind reads."""
    forms = [(form, what) for kind in KINDS.values() for form, what in kind.files]
    if path.is_dir():
        ways = [what for form, what in forms if form == "FOLDER"]
    elif path.suffix == ".npz":
        ways = [what for form, what in forms if form.startswith("FILE.npz")]
        return UserError(f"'{name}' holds the numbers {', '.join(heads(path))}, and is none of: {'; '.join(ways)}.")
    else:
        ways = [form for form, _ in forms if form != "FOLDER"]
        ways = list(dict.fromkeys(one.removeprefix("FILE") for form in ways for one in form.split(", ")))
        return UserError(
            f"'{name}' is no file of data by its ending; there are {', '.join(ways)}. `dnal data` says what they hold."
        )
    return UserError(f"the folder '{name}' is none of: {'; '.join(ways)}.")


def _unknown(name: str) -> UserError:
    own = [name for kind in KINDS.values() for name in kind.sets]
    nearest = difflib.get_close_matches(name, [*own, *brought("data")], n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ", and no file or folder of that name."
    return UserError(f"unknown data {name!r}{hint} `dnal data` lists all.")
