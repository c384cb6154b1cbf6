"""shape.txt: a compact network as a list of shapes that people read, and from which it is built with new weights.

    dnal shape 1
    model supernet/tiny, 10 classes, images 1x8x8
    # block 1: mbconv k3 e3 -> 19 of 24 channels
    absent edges.0.candidates.1
    stem.0: weight = 6x1x3x3 of 8x1x3x3
    stem.1: weight bias running_mean running_var = 6 of 8

What stands after "#" is for people. There is a line per layer, by its name in the network before removal: its tensors
with their shapes, and after "of" those that they had. What else changed stands before the layers:

    absent PATH             the candidate of a mixed edge is gone
    chain PATH: a b.0       the block is its parts a and b.0, one after the other; without any, it is its input
    zero PATH: 3            the module gives zeros as the first of three results; without a number, as the only one
    first PATH: 3           the same with its input
    plain PATH              the layer no longer computes its weight
    number PATH name[1] 64 -> 48              what the module remembers (in a list: the second)
    number PATH view/3[1] call 0, 64 -> 48    the second of three numbers in its first call of view; also "each call",
                                              and "multiples of 64 -> 48"

It says how many channels stay, not which: a network without weights has no more to say. "." is the network.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from dnal.architecture.architecture import LONGEST, Architecture
from dnal.base.errors import UserError, all_names
from dnal.base.reading import content
from dnal.data.kinds import KINDS
from dnal.run.files import SHAPE
from dnal.run.limits import LARGEST, MOST_CLASSES, MOST_ENTRIES
from dnal.space.rules.products import whole_groups
from dnal.space.surgery.bake import baked
from dnal.space.surgery.bypass import HELPERS, Bypass, Replacement, apart
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.remove import Kept, removed
from dnal.space.surgery.running import call, in_eval
from dnal.space.surgery.sizes import CORRECTED, Argument, Attribute, Change
from dnal.space.surgery.tensors import named_tensors

HEAD = "dnal shape 1"
SMALL_EXAMPLE = 2**19
"""Numbers in an example on which a network is run that is known from a text only."""

_PATH = r"[\w.~%-]+"
_MODEL = re.compile(r"model (\S+), (\d{1,9}) (?:class|classes), (\w{1,40}) (\d{1,9}(?:x\d{1,9}){0,7})")
_CLOSED = re.compile(rf"(absent|chain|zero|first) ({_PATH})(?:: ({_PATH}(?: {_PATH})*))?")
_PLAIN = re.compile(rf"plain ({_PATH})")
_NUMBER = re.compile(
    rf"number ({_PATH}) ([^\W\d]\w*)(?:/(\d{{1,9}}))?(?:\[(\d{{1,9}})\])?(?: (?:call (\d{{1,9}})|(each call)),)?"
    r" (multiples of )?(-?\d{1,18}) -> (-?\d{1,18})"
)
_LAYER = re.compile(rf"({_PATH}): (.+)")
_SIZES = r"\d{1,18}(?:x\d{1,18}){0,63}"
_TENSORS = re.compile(rf"({_PATH}(?: {_PATH})*) = ({_SIZES})(?: of ({_SIZES}))?")


class Model(NamedTuple):
    """How a network is created by its name; ``input_shape``: the sizes of an example, as this kind of data has them."""

    name: str
    classes: int
    input_shape: tuple[int, ...]
    kind: str = "images"


class Shape(NamedTuple):
    """What a shape.txt says.

    ``numbers``: those of the network's code that change. ``tensors``: per name the sizes left and those before removal.
    """

    model: Model | None
    closed: list[Replacement]
    plain: list[str]
    numbers: list[Change]
    tensors: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]


def shape_of(architecture: Architecture, model: Model | None = None) -> Shape:
    """The shape of what an architecture leaves of its network; ``model``: of that network, if it has a name."""
    kept, shapes = architecture.kept, dict(architecture.shapes)
    for path in kept.baked:
        shapes = {n: s for n, s in shapes.items() if n.rpartition(".")[0] != path or n.endswith((".weight", ".bias"))}
        if f"{path}.bias" in kept:  # it may have computed that too
            shapes.setdefault(f"{path}.bias", shapes[f"{path}.weight"][:1])
    tensors = {}
    for name, whole in shapes.items():
        if whole and not kept.removes(name):
            tensors[name] = (kept.left(name, whole), whole)
    closed = [replacement for one in kept.bypasses for replacement in one.modules]
    return Shape(model, closed, list(kept.baked), list(kept.sizes), tensors)


def written(shape: Shape, remarks: Iterable[str] = ()) -> str:
    """The text of shape.txt; ``remarks``: lines for people, such as :func:`dnal.supernet.blocks`."""
    lines = [HEAD]
    if shape.model is not None:
        model = shape.model
        classes = f"{model.classes} {'classes' if model.classes > 1 else 'class'}"
        lines.append(f"model {model.name}, {classes}, {model.kind} {_times(model.input_shape)}")
    lines += [f"# {' '.join(remark.split())}" for remark in remarks]
    for path, kind, children, results in shape.closed:
        more = [_quoted(child) for child in children] or ([str(results)] if results else [])
        lines.append(f"{kind} {_quoted(path)}{': ' if more else ''}{' '.join(more)}")
    lines += [f"plain {_quoted(path)}" for path in shape.plain]
    lines += [_number_line(change) for change in shape.numbers]
    order = {path: place for place, path in enumerate(dict.fromkeys(_layer(name) for name in shape.tensors))}
    for path, names in groupby(sorted(shape.tensors, key=lambda name: order[_layer(name)]), key=_layer):
        alike: dict[str, list[str]] = {}
        for name in names:
            left, whole = shape.tensors[name]
            sizes = _times(left) + (f" of {_times(whole)}" if left != whole else "")
            alike.setdefault(sizes, []).append(_quoted(name.rpartition(".")[2]))
        pieces = [f"{' '.join(own)} = {sizes}" for sizes, own in alike.items()]
        lines.append(f"{_quoted(path)}: {', '.join(pieces)}")
    return "\n".join(lines) + "\n"


def read_shape(path: str | Path) -> Shape:
    """What :func:`written` wrote, or what was written by hand.

    Raises:
        UserError: naming the first line that cannot be understood.
    """
    path = Path(path)
    try:
        first, *lines = content(path, LARGEST[SHAPE]).decode().splitlines() or [""]
    except UnicodeDecodeError:
        first, lines = "", []
    if first.partition("#")[0].strip() != HEAD:
        raise UserError(f"'{path}' is no list of shapes: its first line is not '{HEAD}'.")
    shape = Shape(None, [], [], [], {})
    gone: set[str] = set()
    for number, line in enumerate(lines, start=2):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            shape = _with_line(shape, text)
            if len(shape.closed) > len(gone):
                gone.add(shape.closed[-1].path)
                if len(shape.closed) > len(gone):  # each would stand for the other
                    raise ValueError(f"'{shape.closed[-1].path}' is gone already")
            if len(shape.closed) + len(shape.plain) + len(shape.numbers) + len(shape.tensors) > MOST_ENTRIES:
                raise ValueError(f"no network has more than {MOST_ENTRIES:,} tensors and changes")
        except ValueError as error:
            reason = str(error) or "it is no line of a list of shapes"
            raise UserError(f"line {number} of '{path}', '{text[:80]}', cannot be read: {reason}.") from None
    return shape


def numbers_of(shape: Shape) -> int:
    """Numbers in the tensors of the network before removal, as far as the lines tell of them."""
    return sum(math.prod(whole) for _, whole in shape.tensors.values())


def built(shape: Shape, network: nn.Module) -> nn.Module:
    """The network of a shape: a copy of the whole ``network``, cut to it, with the first of its weights.

    Raises:
        UserError: the shape is of another network, or its sizes do not fit each other.
    """
    small = cut(shape, network)
    if shape.model is not None:
        try:
            _run(small, shape.model)
        except Exception as error:  # shapes that no method found may ask anything of the network's modules
            raise _misfit(error) from error
    return small


def cut(shape: Shape, network: nn.Module) -> nn.Module:
    """The same, of a network that may be without memory, and without trying whether it runs.

    Raises:
        UserError: the shape is of another network, or its sizes do not fit each other.
    """
    bypasses = [Bypass(r.path, (), (r,)) for r in shape.closed]
    network = baked(network, shape.plain) if shape.plain else network
    kept = Kept({}, shape.numbers, bypasses=bypasses)
    found = {n: tuple(t.shape) for n, t in named_tensors(network) if t.dim() and not kept.removes(n)}
    for name in [*shape.tensors, *found]:
        if name not in found:
            raise UserError(f"the shapes belong to another network: this one has no tensor '{name}' that stays.")
        if name not in shape.tensors:
            raise UserError(f"the shapes belong to another network: they lack '{name}'.")
        if shape.tensors[name][1] != found[name]:
            raise UserError(
                f"the shapes belong to another network: '{name}' has {_times(found[name])} here and "
                f"{_times(shape.tensors[name][1])} there."
            )
    for name, (left, whole) in shape.tensors.items():
        module = network.get_submodule(_layer(name))
        kept[name] = tuple(
            None if size == full else _first(module, name, dim, size, full)
            for dim, (size, full) in enumerate(zip(left, whole, strict=True))
        )
    try:
        return removed(network, kept)
    except UserError:
        raise
    except Exception as error:
        raise _misfit(error) from error


def _misfit(error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(f"the sizes do not fit each other, the network does not run with them: {reason}.")


def _first(module: nn.Module, name: str, dim: int, size: int, whole: int) -> Tensor:
    """The indices of the first channels, in as many groups as the layer may have with them."""
    groups, each = 1, False
    if isinstance(module, _ConvNd) and module.groups > 1 and dim == 0 and not module.transposed:
        groups, each = module.groups, not whole_groups(module.groups, module.weight.size(1))
    elif isinstance(module, nn.GroupNorm):
        groups = module.num_groups
    if size % (groups if each else whole // groups if groups > 1 else 1):
        raise UserError(f"{size} of {whole} in '{name}' are not the same in each of the layer's {groups} groups.")
    return torch.arange(whole).view(groups, -1)[:, : size // groups].flatten() if each else torch.arange(size)


def _run(network: nn.Module, model: Model) -> None:
    """One forward pass that leaves the network as it is: without memory, since the size of the example is the file's;
    with it only where the network cannot run so, and the example is small."""
    kind = KINDS[model.kind]

    def example() -> Inputs:
        return kind.example(model.input_shape)

    try:
        with torch.device("meta"), torch.inference_mode(), torch.random.fork_rng(devices=[]):
            call(copy.deepcopy(network).to("meta").eval(), example())
    except Exception:  # either the sizes do not fit each other, or it reckons with numbers in a tensor
        if kind.numbers(model.input_shape) > SMALL_EXAMPLE:
            raise
    else:
        return
    with in_eval(network), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        call(network, example())


def _with_line(shape: Shape, text: str) -> Shape:
    """The shape with one more line, which is added in place, except for the model's.

    Raises:
        ValueError: it cannot be understood; with the reason, if there is one to tell.
    """
    if found := _MODEL.fullmatch(text):
        if shape.model is not None:
            raise ValueError("there is a model already")
        return shape._replace(model=_model(found[1], int(found[2]), found[3], _numbers(found[4])))
    if found := _CLOSED.fullmatch(text):
        shape.closed.append(_replacement(found[1], found[2], (found[3] or "").split()))
    elif found := _PLAIN.fullmatch(text):
        shape.plain.append(_unquoted(found[1]))
    elif found := _NUMBER.fullmatch(text):
        shape.numbers.append(_change(*found.groups()))
    elif found := _LAYER.fullmatch(text):
        for name, left, whole in _tensors(_unquoted(found[1]), found[2]):
            if name in shape.tensors:
                raise ValueError(f"'{name}' was there before")
            shape.tensors[name] = left, whole
    else:
        raise ValueError
    return shape


def _tensors(layer: str, text: str) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Name and sizes, those left and those before removal, of each tensor of a layer."""
    for piece in text.split(", "):
        found = _TENSORS.fullmatch(piece)
        if found is None:
            raise ValueError(f"'{piece[:40]}' is no name and no shape")
        left, whole = _numbers(found[2]), _numbers(found[3] or found[2])
        if len(left) != len(whole) or not all(0 < size <= full for size, full in zip(left, whole, strict=True)):
            raise ValueError(f"{_times(left)} is nothing that can be left of {_times(whole)}")
        for own in found[1].split():
            yield (f"{layer}.{_unquoted(own)}" if layer else _unquoted(own)), left, whole


def _model(name: str, classes: int, kind: str, sizes: tuple[int, ...]) -> Model:
    if kind not in KINDS:
        raise ValueError(f"there is no kind of data '{kind}'{all_names(kind, list(KINDS))}")
    own = KINDS[kind]
    if min(sizes) < 1 or len(sizes) != len(own.sizes):
        raise ValueError(f"the sizes of {own.several} are {', '.join(own.sizes)}")
    if not 0 < classes <= MOST_CLASSES or own.numbers(sizes) > own.largest:
        raise ValueError(f"there are 1 to {MOST_CLASSES:,} classes, and 1 to {own.largest:,} numbers in {_a(own.one)}")
    own.check(sizes)
    return Model(name, classes, sizes, kind)


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _replacement(kind: str, path: str, more: list[str]) -> Replacement:
    if kind == "chain":
        children = tuple(_unquoted(child) for child in more)
        if not apart(children):
            raise ValueError("the children of a chain are names, each there once, and none in another")
        return Replacement(_unquoted(path), kind, children)
    if more and (kind not in HELPERS or len(more) > 1 or not re.fullmatch("[1-9][0-9]?", more[0])):
        raise ValueError("only a chain has children, and 'zero' and 'first' a number of results")
    return Replacement(_unquoted(path), kind, results=int(more[0]) if more else 0)


def _change(
    path: str,
    name: str,
    length: str | None,
    item: str | None,
    which: str | None,
    each: str | None,
    multiple: str | None,
    old: str,
    new: str,
) -> Change:
    before, after = int(old), int(new)
    if not 0 < abs(after) <= abs(before) or (before > 0) != (after > 0):
        raise ValueError("a number becomes a smaller one of the same sign")
    if length is None:
        if which is not None or each is not None or name.startswith("__"):
            raise ValueError("that is no attribute, and only a function has calls")
        return Change(
            _unquoted(path), Attribute(name, -1 if item is None else int(item)), before, after, bool(multiple)
        )
    if name not in CORRECTED or item is None or (which is None and each is None) or int(item) >= int(length):
        raise ValueError(f"a number of a call is such as view/3[1] call 0, of one of {', '.join(sorted(CORRECTED))}")
    target = Argument(name, int(length), int(item), -1 if which is None else int(which))
    return Change(_unquoted(path), target, before, after, bool(multiple))


def _number_line(change: Change) -> str:
    path, target, old, new, multiple = change
    if isinstance(target, Attribute):
        what = target.name + (f"[{target.item}]" if target.item >= 0 else "")
    else:
        call = "each call" if target.which < 0 else f"call {target.which}"
        what = f"{target.function}/{target.length}[{target.position}] {call},"
    return f"number {_quoted(path)} {what} {'multiples of ' if multiple else ''}{old} -> {new}"


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _quoted(path: str) -> str:
    """A path in letters that have no other meaning here."""
    return quote(path, safe="") if path else "."


def _unquoted(path: str) -> str:
    if len(path) > LONGEST:
        raise ValueError(f"a name has at most {LONGEST:,} characters")
    return "" if path == "." else unquote(path)


def _times(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))
