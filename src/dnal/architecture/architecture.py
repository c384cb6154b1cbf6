"""The Architecture: one on/off value per variable of a Space, as a small file that needs no trace to be used."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnal.base.atomic import write_text
from dnal.base.errors import UserError
from dnal.base.reading import given_json
from dnal.space.branches import settled
from dnal.space.space import Space
from dnal.space.surgery.bypass import KINDS, MOST_RESULTS, Bypass, Replacement, apart, outermost
from dnal.space.surgery.example import DIMENSIONS, Example, parsed
from dnal.space.surgery.norms import WEIGHTED, NormCall, OpenNorm
from dnal.space.surgery.remove import Kept, kept_indices
from dnal.space.surgery.sizes import CORRECTED, Argument, Attribute, Change
from dnal.space.surgery.tensors import named_tensors
from dnal.space.variables import Sources

FORMAT = 1
LARGEST = 2**62  # no tensor is that large, and its indices fit 64 bits
LARGEST_FILE = 2**26
"""Bytes of an architecture.json."""
LONGEST = 2**10
"""Characters of a name; each of the modules that it is in is looked for."""


@dataclass(frozen=True, eq=False)
class Architecture:
    """Which channels of a network stay.

    Attributes:
        open: bool tensor, one entry per variable of the Space (the channels, then the branches), True = stays. What
            stands in a closed branch is closed.
        kept: per tensor (parameter or buffer) and dimension the sorted indices that stay, or None where all do; and
            the numbers in the code that change with them (``kept.sizes``), the branches left out (``kept.bypasses``),
            the norms that run over channels of which some leave (``kept.norms``).
        readers: the (parameter, dimension) pairs at which closed channels are gated.
        shapes: the original shapes, so that another network is refused.
        example: the inputs on which the Space was found, described (``dnal.space.surgery.example``); None
            where unknown.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> space = dnal.Space.of(network, torch.randn(2, 3, 8, 8))
        >>> stays = torch.tensor([True, False, True, True, False, False, True, True])
        >>> architecture = dnal.Architecture.of(space, stays)
        >>> architecture.kept["0.weight"][0]
        tensor([0, 2, 3, 6, 7])
        >>> architecture == dnal.Architecture.full(space)
        False
    """

    open: Tensor
    kept: Kept
    readers: list[tuple[str, int]]
    shapes: dict[str, tuple[int, ...]]
    example: Example | None = None

    @staticmethod
    def of(space: Space, open_variables: Tensor) -> Architecture:
        """The architecture of a Space in which ``open_variables`` (bool, shape (num_gates,)) stay, except for what
        stands in closed branches.

        Raises:
            UserError: on another length, or where a group would lose its last channel.
        """
        open_variables = open_variables.detach().to("cpu", torch.bool).clone()
        if open_variables.shape != (space.num_gates,):
            raise UserError(
                f"an architecture of this space needs {space.num_gates} on/off values, not a tensor of shape "
                f"{tuple(open_variables.shape)}."
            )
        for choice in space.choices:
            if not bool(open_variables[choice].any()):
                names = [b.name for b in space.branches if b.variable in choice.tolist()]
                raise UserError(
                    f"an edge has no candidate left, or the network nothing that computes; keep at least one of "
                    f"{', '.join(names)}."
                )
        closed = [b.bypass for b in space.branches if not open_variables[b.variable]]
        for group in space.groups:
            gone = closed and all(any(b.removes(name) for b in closed) for name, _ in group.places)
            if not gone and not bool(open_variables[group.variables].any()):
                raise UserError(f"the group of '{group.name}' has no channel left; keep at least one of {group.width}.")
        sources = Sources({**space.sources, **space.buffer_sources}, space.norms)
        open_variables = settled(space.branches, sources, open_variables, space.num_variables)
        kept = kept_indices(sources, open_variables, space.sizes, outermost(closed))
        kept.baked = [path for path in space.baked if not kept.removes(path)]
        return Architecture(open_variables, kept, list(space.gates), dict(space.shapes), space.example)

    @staticmethod
    def full(space: Space) -> Architecture:
        """Every channel stays."""
        return Architecture.of(space, torch.ones(space.num_gates, dtype=torch.bool))

    @staticmethod
    def random(space: Space, keep: float, seed: int = 0, branches: float = 1.0) -> Architecture:
        """Each group keeps round(keep * width) channels, at least 1, at random positions.

        Args:
            keep: share of each group's channels, 0 to 1.
            branches: share of the branches that stay, 0 to 1.
            seed: of the positions; the global random state is not touched.
        """
        for name, share in (("keep", keep), ("branches", branches)):
            if not 0 <= share <= 1:
                raise UserError(f"{name} is a share between 0 and 1, not {share}.")
        generator = torch.Generator().manual_seed(seed)
        open_variables = torch.zeros(space.num_gates, dtype=torch.bool)
        for group in space.groups:
            count = max(1, round(keep * group.width))
            open_variables[group.variables[torch.randperm(group.width, generator=generator)[:count]]] = True
        staying = torch.randperm(space.num_branches, generator=generator)[: round(branches * space.num_branches)]
        open_variables[space.num_variables + staying] = True
        for choice in space.choices:
            if not bool(open_variables[choice].any()):
                open_variables[choice[torch.randint(len(choice), (), generator=generator)]] = True
        return Architecture.of(space, open_variables)

    def __eq__(self, other: object) -> bool:
        """The same channels of the same network."""
        if not isinstance(other, Architecture):
            return NotImplemented
        return (
            self.shapes == other.shapes
            and self.readers == other.readers
            and torch.equal(self.open, other.open)
            and _lists(self) == _lists(other)
            and self.kept.sizes == other.kept.sizes
            and self.kept.baked == other.kept.baked
            and self.kept.bypasses == other.kept.bypasses
            and _written_norms(self.kept.norms) == _written_norms(other.kept.norms)
        )

    def __hash__(self) -> int:
        return hash((self.fingerprint, tuple(self.open.tolist())))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the original network's tensor names and shapes."""
        return fingerprint(self.shapes)

    def check(self, network: nn.Module) -> None:
        """Refuses a network that is not the one this architecture was made for.

        Raises:
            UserError: naming the first tensor that differs.
        """
        check_shapes(network, self.shapes, "the architecture")

    def save(self, path: str | Path) -> None:
        """Writes architecture.json: variables, kept indices per tensor and dimension, fingerprint. No time, no path.

        Raises:
            UserError: where the disk refuses.
        """
        write_text(Path(path), self.text())

    def text(self) -> str:
        """What :meth:`save` writes."""
        return json.dumps(self.document(), separators=(",", ":")) + "\n"

    def document(self) -> dict[str, Any]:
        """What the file holds: plain values."""
        lists, sizes = _lists(self), self.kept.sizes
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "open": "".join("1" if o else "0" for o in self.open.tolist()),
            "readers": [list(place) for place in self.readers],
            **({"sizes": [[c.path, list(c.target), c.old, c.new, c.multiple] for c in sizes]} if sizes else {}),
            **({"baked": self.kept.baked} if self.kept.baked else {}),
            **({"bypasses": _written(self.kept.bypasses)} if self.kept.bypasses else {}),
            **({"norms": _written_norms(self.kept.norms)} if self.kept.norms else {}),
            **({"example": self.example} if self.example is not None else {}),
            "tensors": {
                name: {
                    "shape": list(shape),
                    **({"kept": lists[name]} if name in lists else {}),
                }
                for name, shape in self.shapes.items()
            },
        }

    @staticmethod
    def load(path: str | Path) -> Architecture:
        """Reads what :meth:`save` wrote.

        Raises:
            UserError: if the file is missing or is no architecture.
        """
        path = Path(path)
        document = given_json(path, LARGEST_FILE, "the architecture", "is not an architecture")
        try:
            return Architecture.of_document(document)
        except UserError as error:
            raise UserError(f"'{path}' is not an architecture: {error}") from None

    @staticmethod
    def of_document(document: Any) -> Architecture:
        """Reads what :meth:`document` returned.

        Raises:
            UserError: it tells of no architecture.
        """
        try:
            return _parsed(document)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise UserError(f"it lacks or garbles {error}.") from None


def _parsed(document: Mapping[str, Any]) -> Architecture:
    if document["format"] != FORMAT:
        raise UserError(f"its format is {document['format']}, this version reads {FORMAT}.")
    shapes: dict[str, tuple[int, ...]] = {}
    kept: dict[str, tuple[Tensor | None, ...]] = {}
    for name, entry in document["tensors"].items():
        shape = entry["shape"]
        if len(name) > LONGEST:
            raise UserError(f"a name of {len(name):,} characters is no tensor's.")
        if not _numbers(shape) or len(shape) > DIMENSIONS or not all(0 <= n <= LARGEST for n in shape):
            raise UserError(f"the shape of '{name}' is no list of sizes.")
        shapes[name] = tuple(shape)
        dims = entry.get("kept", [None] * len(shape))
        if not isinstance(dims, list) or len(dims) != len(shape):
            raise UserError(f"'{name}' has {len(shape)} dimensions but not as many lists of kept indices.")
        for size, indices in zip(shape, dims, strict=True):
            if indices is not None and not (
                _numbers(indices)
                and indices
                and indices == sorted(set(indices))
                and 0 <= indices[0] <= indices[-1] < size
            ):
                raise UserError(f"the kept indices of '{name}' are not one or more ascending numbers below {size}.")
        kept[name] = tuple(None if i is None else torch.tensor(i, dtype=torch.long) for i in dims)
    if fingerprint(shapes) != document["fingerprint"]:
        raise UserError("its fingerprint does not match its shapes.")
    flags = document["open"]
    if not isinstance(flags, str) or set(flags) - {"0", "1"}:
        raise UserError("its variables are not written in 0 and 1.")
    bypasses = _bypasses(document.get("bypasses", []), shapes)
    if ("0" in flags) != (bool(bypasses) or any(i is not None for dims in kept.values() for i in dims)):
        raise UserError("its variables and its kept indices do not agree.")
    readers = []
    for name, dim in document["readers"]:
        if not isinstance(name, str) or type(dim) is not int or not 0 <= dim < len(shapes.get(name, ())):
            raise UserError(f"its reader {[name, dim]} is no dimension of one of its tensors.")
        readers.append((name, dim))
    open_variables = torch.tensor([flag == "1" for flag in flags], dtype=torch.bool)
    baked = document.get("baked", [])
    if not isinstance(baked, list) or not all(isinstance(path, str) and path for path in baked):
        raise UserError("its baked layers are no list of names.")
    example = parsed(document["example"]) if "example" in document else None
    norms = _norms(document.get("norms", []), shapes)
    kept_with_sizes = Kept(kept, _sizes(document.get("sizes", [])), baked, bypasses, norms)
    return Architecture(open_variables, kept_with_sizes, readers, shapes, example)


def _sizes(entries: Any) -> list[Change]:
    """The changed numbers of a document; numbers and names only, never code."""
    changes = []
    for entry in entries:
        try:
            path, target, old, new, multiple = entry
            name, *places = target
        except (TypeError, ValueError):
            raise UserError(f"its size {entry} is no path, place, old and new number, and true or false.") from None
        fits = isinstance(path, str) and isinstance(name, str) and type(multiple) is bool
        fits = fits and _numbers([*places, old, new]) and 0 < abs(new) <= abs(old) <= LARGEST and (old > 0) == (new > 0)
        of_call = len(places) == 3 and name in CORRECTED
        if not fits or not (of_call or (len(places) == 1 and name.isidentifier() and not name.startswith("__"))):
            raise UserError(f"its size {entry} is no path, place, old and new number, and true or false.")
        changes.append(
            Change(path, Argument(name, *places) if of_call else Attribute(name, *places), old, new, multiple)
        )
    return changes


def _written_norms(norms: list[OpenNorm]) -> list[Any]:
    return [[*call, size, stays.tolist()] for call, size, stays in norms]


def _norms(entries: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[OpenNorm]:
    """The norms of a document that run over channels of which some leave."""
    found: dict[NormCall, OpenNorm] = {}
    most = sum(math.prod(shape) for shape in shapes.values())
    for entry in entries:
        wrong = UserError(f"its norm {entry} is no path, function, two numbers, and size and indices of what stays.")
        try:
            path, function, which, dim, size, stays = entry
        except (TypeError, ValueError):
            raise wrong from None
        fits = isinstance(path, str) and len(path) <= LONGEST and isinstance(function, str)
        fits = fits and function in WEIGHTED and _numbers([which, dim, size])
        fits = fits and 0 <= which <= LARGEST and -DIMENSIONS <= dim < 0 and 0 < size <= most and _numbers(stays)
        if not fits or not stays or stays != sorted(set(stays)) or not 0 <= stays[0] <= stays[-1] < size:
            raise wrong
        call = NormCall(path, function, which, dim)
        if call in found:
            raise wrong
        found[call] = OpenNorm(call, size, torch.tensor(stays, dtype=torch.long))
    return list(found.values())


def _written(bypasses: list[Bypass]) -> list[Any]:
    return [
        [b.name, list(b.places), [[r.path, r.kind, list(r.children), r.results] for r in b.modules]] for b in bypasses
    ]


def _bypasses(entries: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[Bypass]:
    """The closed branches of a document."""
    found: list[Bypass] = []
    gone: set[str] = set()
    for entry in entries:
        wrong = UserError(f"its branch {entry} is no name, list of tensors, and list of replaced modules.")
        try:
            name, places, modules = entry
            replacements = [(path, kind, children, results) for path, kind, children, results in modules]
        except (TypeError, ValueError):
            raise wrong from None
        fits = isinstance(name, str) and _names(places) and bool(places) and all(p in shapes for p in places)
        for path, kind, children, results in replacements:
            fits = fits and isinstance(path, str) and bool(path) and kind in KINDS and _names(children)
            # Two at one place would each stand for the other; a place is looked for module by module.
            fits = fits and path not in gone and len(path) <= LONGEST
            gone.add(path)
            fits = fits and type(results) is int and 0 <= results <= MOST_RESULTS
            fits = fits and apart(children) and all(len(child) <= LONGEST for child in children)
        if not fits or not replacements:
            raise wrong
        found.append(Bypass(name, tuple(places), tuple(Replacement(p, k, tuple(c), n) for p, k, c, n in replacements)))
    return found


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(i) is int for i in value)  # True is no number


def _lists(architecture: Architecture) -> dict[str, list[list[int] | None]]:
    """The kept indices of the tensors that lose any, as lists."""
    kept = architecture.kept.items()
    return {
        name: [None if i is None else i.tolist() for i in dims]
        for name, dims in kept
        if any(i is not None for i in dims)
    }


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter and buffer by name."""
    return {name: tuple(tensor.shape) for name, tensor in named_tensors(network)}


def check_shapes(network: nn.Module, shapes: Mapping[str, tuple[int, ...]], made: str) -> None:
    """Refuses a network whose tensors do not have these ``shapes``, for which something was ``made``.

    Raises:
        UserError: naming the first tensor that differs.
    """
    found = shapes_of(network)
    for name, shape in shapes.items():
        if name not in found:
            raise UserError(f"{made} belongs to another network: this one has no tensor '{name}'.")
        if found[name] != shape:
            raise UserError(
                f"{made} belongs to another network: '{name}' has the shape {found[name]} here and {shape} there."
            )
    for name in found:
        if name not in shapes:
            raise UserError(f"{made} belongs to another network: '{name}' is not in it.")


def fingerprint(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """SHA-256 of names and shapes in sorted order."""
    text = json.dumps(sorted((name, list(shape)) for name, shape in shapes.items()), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
