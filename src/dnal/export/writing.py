"""Writing a network into a file, checked against the network before the file takes its place."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dnal.base.atomic import write_bytes
from dnal.base.errors import UserError
from dnal.base.version import VERSION
from dnal.export.format import Format, Run
from dnal.export.formats import format_of
from dnal.export.inputs import varied
from dnal.export.program import first_line, program_of
from dnal.export.quiet import quiet
from dnal.export.sizes import Free, free_sizes
from dnal.space.surgery.inputs import Inputs, batch_size
from dnal.space.surgery.running import call, copied, evaluating, undisturbed

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest difference to the network, relative to the largest number of each output."""

BATCHES = (1, 3, 8)
"""At which a file is checked; it was exported at another one."""


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked.

    Attributes:
        path: the file.
        differences: per batch size the largest difference to the network, relative to the largest output.
        sizes: the names of the free sizes besides the batch ("height", "width", "length"), at two of which the file was
            checked too, with the largest difference there.
    """

    path: Path
    differences: dict[int, float]
    sizes: dict[str, float] = field(default_factory=dict)

    @property
    def difference(self) -> float:
        """The largest of them."""
        return max(*self.differences.values(), *self.sizes.values())


def to_onnx(
    network: nn.Module, example: Inputs, path: str | Path, *, metadata: Mapping[str, str] | None = None
) -> Exported:
    """Writes a network as ONNX; see :func:`export`. The metadata become the model's ``metadata_props``."""
    return export(network, example, path, "onnx", metadata=metadata)


def to_pt2(
    network: nn.Module, example: Inputs, path: str | Path, *, metadata: Mapping[str, str] | None = None
) -> Exported:
    """Writes a network as a torch.export program; see :func:`export`. The metadata become the extra file
    ``metadata.json``."""
    return export(network, example, path, "pt2", metadata=metadata)


def export(
    network: nn.Module,
    example: Inputs,
    path: str | Path,
    to: str,
    *,
    metadata: Mapping[str, str] | None = None,
    resizable: bool = True,
) -> Exported:
    """Writes any network in eval mode as one file with a free batch, and checks the file against the network.

    Height and width of images, and the length of sequences, are free too where the network computes at other sizes and
    PyTorch can export it so; the metadata name them under "free_sizes". A file that was there is replaced, once the new
    one is whole and right; else it stays. The network, its mode and its device stay as they are.

    Args:
        network: any nn.Module that torch.export can follow.
        example: a tensor, a tuple of positional or a dict of keyword arguments; dimension 0 is the batch.
        path: the file, with the ending of the format.
        to: a name of ``FORMATS``.
        metadata: what the file says about itself, beside the version of dnal.
        resizable: False leaves the batch free alone; everything else is as in the example.

    Raises:
        UserError: an unknown format, packages that are missing, a place that cannot be written, a network that PyTorch
            cannot export, or a file that computes something else than the network.
    """
    kind, path = format_of(to), Path(path)
    check_place(path, kind)
    with undisturbed(example), quiet():
        twin = copied(network).cpu()
        with evaluating(twin):
            inputs = varied(example, batch_size(example))
            free = free_sizes(twin, inputs) if resizable else None
            try:
                contents, exported = _written(kind, twin, example, path, metadata or {}, free or Free())
            except UserError as error:
                if free is None:
                    raise
                logger.debug("the sizes stay as in the example: %s", error)
                contents, exported = _written(kind, twin, example, path, metadata or {}, Free())
    write_bytes(path, contents)
    return exported


def _written(
    kind: Format, network: nn.Module, example: Inputs, path: Path, metadata: Mapping[str, str], free: Free
) -> tuple[bytes, Exported]:
    """The bytes of a file with these sizes free, and their check."""
    texts = {"dnal": VERSION, **metadata, "free_sizes": ", ".join(["batch", *free.sizes])}
    contents = kind.contents(program_of(network, example, free), texts, free)
    run = kind.runner(contents)
    found = checked(network, example, run, kind.runtime)
    elsewhere = [
        checked(network, free.larger(example, which), run, kind.runtime, batches=BATCHES[:2])
        for which in (0, 1)
        if free.sizes
    ]
    worst = max((value for one in elsewhere for value in one.values()), default=0.0)
    return contents, Exported(path, found, dict.fromkeys(free.sizes, worst))


def checked(
    network: nn.Module, example: Inputs, run: Run, runtime: str, batches: Sequence[int] = BATCHES
) -> dict[int, float]:
    """The largest relative difference of a file to its network per batch size.

    Raises:
        UserError: above the tolerance, or where the file does not run.
    """
    found = {}
    for batch in batches:
        expected = [t for t in tree_leaves(call(network, varied(example, batch))) if isinstance(t, Tensor)]
        try:
            got = run(varied(example, batch))
        except Exception as error:  # whatever the runtime says
            raise UserError(
                f"the exported network does not run in {runtime} at a batch of {batch} ({first_line(error)}); "
                "no file was written, try another format."
            ) from error
        found[batch] = difference(expected, got)
        if not found[batch] <= TOLERANCE:
            raise UserError(
                f"the exported network computes something else in {runtime} at a batch of {batch}: the difference is "
                f"{found[batch]:.1e} of the largest output; no file was written, try another format."
            )
    return found


def difference(expected: list[Tensor], got: list[Tensor]) -> float:
    """The largest difference, relative to the largest number of each expected tensor; infinite for other shapes and
    for what is not finite in one of the two alone."""
    if [t.shape for t in expected] != [t.shape for t in got]:
        return float("inf")
    return max((_apart(a.double(), b.double()) for a, b in zip(expected, got, strict=True)), default=float("inf"))


def _apart(expected: Tensor, got: Tensor) -> float:
    if not expected.numel() or torch.equal(expected, got):
        return 0.0
    value = float((expected - got).abs().max() / expected.abs().max())
    return value if value == value else float("inf")


def check_place(path: Path, kind: Format) -> None:
    """Refuses a path where no file of this format can be written.

    Raises:
        UserError: another ending (which may be another file of the user's), a folder, or no place to write.
    """
    if path.suffix != kind.suffix:
        raise UserError(f"a file of the format {kind.name} ends in {kind.suffix}, '{path}' does not; rename it.")
    if path.is_dir():
        raise UserError(f"'{path}' is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder '{path.parent}' for '{path.name}'; make it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"nothing may be written in '{path.parent}'; choose another place.")
