"""Cora, CiteSeer and PubMed with Planetoid's public split: as .npz files, or through torch_geometric."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import tempfile
from pathlib import Path

from dnal.base.atomic import write_bytes
from dnal.base.errors import UserError, reason_of
from dnal.data.graphs.files import read_graph
from dnal.data.graphs.raw import RawGraph
from dnal.data.images.torchvision_sets import DEFAULT_ROOT

EXTRA = "pip install 'dnal[graphs]'"


def read_cora(root: Path | None, download: bool = True) -> RawGraph:
    """2,708 papers on machine learning in 7 classes, 1,433 words, 5,278 citations."""
    return _read("Cora", root, download)


def read_citeseer(root: Path | None, download: bool = True) -> RawGraph:
    """3,327 papers on computer science in 6 classes, 3,703 words, 4,552 citations."""
    return _read("CiteSeer", root, download)


def read_pubmed(root: Path | None, download: bool = True) -> RawGraph:
    """19,717 papers on diabetes in 3 classes, 500 words, 44,324 citations."""
    return _read("PubMed", root, download)


def _read(name: str, root: Path | None, download: bool) -> RawGraph:
    """From ``cora.npz`` in the folder. Where there is none, torch_geometric downloads the set to a folder of its own,
    since its files are pickles, which are read from no folder that somebody names; and the .npz file is written."""
    if root is not None and not root.is_dir():
        raise UserError(
            f"there is no folder {str(root)!r} for the data; create it, or leave the root away for {DEFAULT_ROOT}"
        )
    folder = root or DEFAULT_ROOT.expanduser()
    file = folder / f"{name.lower()}.npz"
    if not file.is_file():
        if not download:
            raise UserError(
                f"{name} is not in {str(folder)!r} as {file.name}, and it is fetched only on request; say with --root "
                "(root=) in which folder it is, or shall be"
            )
        if importlib.util.find_spec("torch_geometric") is None:
            raise UserError(
                f"{name} is downloaded by torch_geometric, which is not installed: {EXTRA}; or put {file.name} into "
                f"{str(folder)!r}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(file, _downloaded(name, str(folder)))
    return read_graph(file)


def _downloaded(name: str, folder: str) -> bytes:
    """The set as the bytes of an .npz file, its features as rows of a sparse matrix."""
    import numpy as np
    from scipy.sparse import csr_matrix
    from torch_geometric.datasets import Planetoid

    try:
        with (
            tempfile.TemporaryDirectory() as own,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            found = Planetoid(own, name)[0]
    except Exception as error:  # a connection, or what torch_geometric makes of a damaged file
        raise UserError(
            f"{name} is not in {folder!r} and could not be downloaded ({reason_of(error)}); check the network "
            f"connection, or put {name.lower()}.npz there"
        ) from error
    rows = csr_matrix(found.x.numpy())
    content = io.BytesIO()
    np.savez_compressed(
        content, indices=rows.indices, indptr=rows.indptr, shape=np.array(rows.shape), data=rows.data,
        edge_index=found.edge_index.numpy(), y=found.y.numpy(), train=found.train_mask.numpy(),
        val=found.val_mask.numpy(), test=found.test_mask.numpy(),
    )  # fmt: skip
    return content.getvalue()
