"""The folder of a search: claimed by one process, with a line for each network as it ends; a run in the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnal.base import claim
from dnal.base.atomic import append_text, temporary_files, write_text
from dnal.base.errors import UserError
from dnal.base.reading import json_of
from dnal.base.version import VERSION
from dnal.changes import Found
from dnal.data import Dataset, fingerprint
from dnal.run import config as settings_file
from dnal.run.change import write_change
from dnal.run.files import (
    CANDIDATES,
    CONFIG,
    FILES,
    GENOME,
    MANIFEST,
    MEASURED,
    MODEL,
    OF_SEARCH,
    RESULT,
    SEARCH,
    write_tensors,
)
from dnal.run.manifest import manifest_of
from dnal.run.searched import LARGEST_ASKED, Line, cut, read_lines
from dnal.run.writer import check_free
from dnal.search.bounds import Known
from dnal.search.course import Candidate
from dnal.search.training import Evaluation
from dnal.settings import Searches


def check_folder(folder: Path, document: Mapping[str, Any]) -> None:
    """Refuses a folder that holds anything but this search.

    Raises:
        UserError: saying what stands there.
    """
    if os.path.lexists(folder / SEARCH):
        begun = json_of(folder / SEARCH, LARGEST_ASKED, remedy="choose another folder with --out")
        if begun != json.loads(json.dumps(document)):
            raise UserError(
                f"'{folder}' holds another search, or this one with other options or data; choose another with --out."
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"the folder '{folder}' exists and holds no search; choose another with --out.")
    else:
        check_free(folder)


def claimed(folder: Path, document: Mapping[str, Any]) -> AbstractContextManager[None]:
    """The folder of a search, ours until the end; see :func:`dnal.base.claim.claimed`."""
    return claim.claimed(folder, SEARCH, json.dumps(document, indent=1) + "\n", "dnal search")


def known(folder: Path) -> dict[str, Evaluation]:
    """What networks are worth that were trained before, by name; what a kill left half written is removed.

    Raises:
        UserError: the file of them is damaged.
    """
    for left in list(temporary_files(folder, (*OF_SEARCH, *FILES))):
        left.unlink(missing_ok=True)
    cut(folder)
    return {line.model: evaluation_of(line) for line in read_lines(folder)}


def ended(folder: Path) -> list[Candidate]:
    """The networks that were trained before, in the order in which they ended.

    Raises:
        UserError: the file of them is damaged.
    """
    return [
        Candidate(line.model, line.round, line.costs, evaluation_of(line), line.predicted)
        for line in read_lines(folder)
    ]


def evaluation_of(line: Line) -> Evaluation:
    """What a line says that came of training."""
    return Evaluation(line.fitness, line.why, line.curve, line.stopped)


def line_of(candidate: Candidate) -> str:
    """The line of a network that was trained."""
    one = candidate.evaluation or Evaluation(None)
    found: dict[str, Any] = {
        "model": candidate.model, "round": candidate.round, "costs": dict(candidate.costs), "fitness": one.fitness,
    }  # fmt: skip
    found |= {"why": one.why} if one.why else {}
    found |= {} if candidate.predicted is None else {"predicted": candidate.predicted}
    found |= {"curve": list(one.curve)} if one.curve else {}
    found |= {"stopped": True} if one.stopped else {}
    return json.dumps(found) + "\n"


def keep(folder: Path, candidate: Candidate) -> None:
    """Adds a network that has ended."""
    append_text(folder / CANDIDATES, line_of(candidate))


def keep_measured(folder: Path, model: str, costs: Known) -> None:
    """Adds what was measured of a network by a clock."""
    append_text(folder / MEASURED, json.dumps({"model": model, "costs": dict(costs)}) + "\n")


def write_candidates(folder: Path, candidates: Iterable[Candidate]) -> None:
    """Writes the lines again, in the order in which the networks were asked for, which has nothing of which ended
    first."""
    write_text(folder / CANDIDATES, "".join(line_of(one) for one in candidates if one.evaluation is not None))


def finish(
    folder: Path,
    asked: Searches,
    dataset: Dataset,
    best: Candidate,
    network: nn.Module,
    *,
    evaluations: int,
    budget: str,
    figures: Mapping[str, Any],
    constraints: list[dict[str, Any]],
    sampler: str,
    seconds: Mapping[str, float],
) -> None:
    """Makes a finished run of the folder: :func:`dnal.load` and all commands that take a run read it.

    Args:
        figures: of the network on the test data, by their names in a result. constraints: a row per bound.
    """
    change = Found.of(network, evaluations)
    write_text(folder / GENOME, best.model + "\n")
    document = {
        "dnal": VERSION, "torch": str(torch.__version__), "model": best.model, "weights": None, "kind": dataset.kind,
        "objective": dataset.objective.name, "input": list(dataset.input_shape), "classes": dataset.classes,
        "data": asked.data, "data_sha256": fingerprint(dataset), "class_names": list(dataset.class_names),
        "mean": list(dataset.mean), "std": list(dataset.std), "target_mean": list(dataset.target_mean),
        "target_std": list(dataset.target_std), "root": asked.root, "limit_train": asked.limit_train,
        "batch_size": asked.batch_size, "workers": 0, "seed": asked.seed,
        "deploy_batch_size": asked.deploy_batch_size, "backend": asked.backend,
    }  # fmt: skip
    write_change(folder, change)
    write_tensors(folder / MODEL, network.state_dict())
    write_text(folder / CONFIG, settings_file.written(document))
    write_text(folder / MANIFEST, manifest_of(folder))
    result = {
        "base": dict(figures), "compact": dict(figures), "budget": budget, "constraints": constraints,
        "method": f"search by {sampler}", "remarks": change.remarks(), "seed": asked.seed,
        "input_shape": list(dataset.input_shape), "seconds": dict(seconds),
    }  # fmt: skip
    write_text(folder / RESULT, json.dumps(result, indent=1) + "\n")
