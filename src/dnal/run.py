"""The Run: a folder that holds everything of one job, and needs no pickle.

    config.yaml              what was asked for and what was decided automatically; written first
    latency.json             the latency model, if the latency is bounded; before the first step too
    log.jsonl                one line per epoch
    checkpoint.safetensors   the last good state, while training (its header repeats checkpoint.json)
    checkpoint.json          where that was
    architecture.json        which channels stay
    model.safetensors        the compact network's tensors
    result.json              base and compact network in figures; written last, so a run that has it is finished

architecture.json and model.safetensors hold no time, path or host: equal jobs write equal bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

import dnal
from dnal import data as dnal_data
from dnal import models
from dnal.architecture import Architecture
from dnal.deployment import Deployment, params
from dnal.errors import UserError
from dnal.space.remove import removed
from dnal.space.space import macs
from dnal.train.listener import Listener

if TYPE_CHECKING:
    from dnal.latency import LatencyModel
    from dnal.learning import Learned

CONFIG = "config.yaml"
LATENCY = "latency.json"
LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_PROGRESS = "checkpoint.json"
ARCHITECTURE = "architecture.json"
MODEL = "model.safetensors"
RESULT = "result.json"
FILES = (CONFIG, LATENCY, LOG, CHECKPOINT, CHECKPOINT_PROGRESS, ARCHITECTURE, MODEL, RESULT)

Size = Annotated[int, Field(ge=1)]


class Config(BaseModel):
    """config.yaml: the job, with everything that was decided automatically.

    The fields below are what a run needs to be reloaded and evaluated; what learning decided (budget, recipe, epochs
    per phase, learning rates, precision, ...) stands beside them under its own names.
    """

    model_config = ConfigDict(extra="allow")

    dnal: str
    torch: str
    model: str
    weights: str | None = None
    input: tuple[Size, Size, Size]
    classes: Size
    data: str
    root: str | None = None
    limit_train: Size | None = None
    batch_size: Size
    workers: Annotated[int, Field(ge=0)] = 0
    seed: int
    include: list[str] = []
    exclude: list[str] = []
    deploy_batch: Size = 1
    backend: str = "auto"


C = TypeVar("C", bound=Config)


class RunWriter(Listener):
    """Writes a run folder while :func:`dnal.learn` works.

    Nothing exists before ``start``, which is called when everything has been checked: bad input leaves no folder.

    Args:
        path: the folder.
        job: the fields of :class:`Config` that ``learn`` does not know (model, input, classes, data, ...).
        overwrite: replace an earlier run at this path.

    Raises:
        UserError: where :func:`check_free` refuses the path.
    """

    def __init__(self, path: str | Path, job: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self._job = dict(job)
        self._overwrite = overwrite
        check_free(self.path, overwrite=overwrite)

    def start(self, settings: dict[str, Any]) -> None:
        """Makes the folder and writes config.yaml.

        Raises:
            UserError: the folder cannot be written; nothing is left behind.
        """
        versions = {"dnal": dnal.__version__, "torch": str(torch.__version__)}
        document = {**versions, **self._job, **{k: v for k, v in settings.items() if k not in self._job}}
        config = validated(Config, document, "the settings of this run")
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        check_free(self.path, overwrite=self._overwrite)  # again: another job may have come first
        made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # result.json leaves first: were this interrupted, what remained would not pass for a finished run.
            for name in reversed(FILES):
                (self.path / name).unlink(missing_ok=True)
                _temporary(self.path / name).unlink(missing_ok=True)
            _write_text(self.path / CONFIG, text)
        except OSError as error:
            if made and self.path.is_dir():
                self.path.rmdir()
            raise UserError(
                f"the run folder '{self.path}' cannot be written ({error.strerror}); choose another with --out."
            ) from None

    def latency(self, model: LatencyModel) -> None:
        _atomic(self.path / LATENCY, model.save)

    def epoch(self, record: dict[str, Any]) -> None:
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def checkpoint(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        text = json.dumps(progress, indent=1)
        # The progress travels in the file of tensors too: one rename keeps the two together whenever a job is killed.
        _write_tensors(self.path / CHECKPOINT, tensors, {"progress": text})
        _write_text(self.path / CHECKPOINT_PROGRESS, text + "\n")

    def finish(self, learned: Learned) -> None:
        """Writes architecture, compact network and result, and removes the checkpoint."""
        config = read_config(self.path)
        settings = learned.settings
        result = {
            "base": learned.base,
            "compact": learned.compact,
            "budget": settings.get("budget", ",".join(c["bound"] for c in learned.constraints)),
            "constraints": learned.constraints,
            "recipe": settings.get("recipe"),
            "method": learned.method,
            "seed": config.seed,
            "input_shape": list(config.input),
            "seconds": learned.seconds,
        }
        _atomic(self.path / ARCHITECTURE, learned.architecture.save)
        _write_tensors(self.path / MODEL, learned.network.state_dict())
        _write_text(self.path / RESULT, json.dumps(result, indent=1) + "\n")
        for name in (CHECKPOINT, CHECKPOINT_PROGRESS):
            (self.path / name).unlink(missing_ok=True)


def check_free(path: str | Path, *, overwrite: bool = False) -> None:
    """Refuses a path where no run can be written. An empty folder is free.

    Overwriting replaces a folder that holds a run's files and nothing else.

    Raises:
        UserError: saying what stands there, or why nothing can.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise UserError(f"'{path}' is a link to nothing; choose another folder with --out.")
    if path.exists() and not path.is_dir():
        raise UserError(f"'{path}' is a file; choose a folder for the run with --out.")
    ancestor = path
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir():
        raise UserError(f"'{ancestor}' is a file, so '{path}' cannot be a folder in it; choose another with --out.")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise UserError(f"nothing may be written in '{ancestor}'; choose another folder for the run with --out.")
    if ancestor != path:
        return
    entries = {entry.name for entry in path.iterdir()}
    if not entries:
        return
    # A run that was killed may hold the temporary file of an unfinished write.
    own = {name for file in FILES for name in (file, _temporary(Path(file)).name)}
    foreign = sorted(entries - own)
    if CONFIG not in entries:
        raise UserError(f"the folder '{path}' exists and is no run; choose another with --out.")
    if not overwrite:
        raise UserError(f"the run '{path}' exists; choose another folder with --out, or replace it with --overwrite.")
    if foreign:
        raise UserError(
            f"the run '{path}' also holds '{foreign[0]}', which no run writes; move it away before --overwrite."
        )


def load(run: str | Path) -> nn.Module:
    """The compact network of a finished run, in eval mode, on the CPU. Needs no trace and no data.

    The network is created by its name, loses the channels that architecture.json closes, and gets the tensors of
    model.safetensors.

    Raises:
        UserError: no folder, no run, an unfinished one, or files that do not fit each other (naming the first tensor).
    """
    config = read_config(run)
    _check_finished(Path(run))
    network = _base(config)
    architecture = Architecture.load(Path(run) / ARCHITECTURE)
    architecture.check(network)
    compact = removed(network, architecture.kept)
    models.load_weights(compact, Path(run) / MODEL)
    return compact.eval()


def read_config(run: str | Path) -> Config:
    """config.yaml of a run.

    Raises:
        UserError: no folder, no config.yaml, or one that lacks or garbles a field.
    """
    return validated(Config, read_yaml(run), f"'{Path(run) / CONFIG}'")


def read_yaml(run: str | Path) -> object:
    """config.yaml of a run, as it stands there.

    Raises:
        UserError: no folder, no config.yaml, or one that is no YAML.
    """
    path = Path(run)
    if not path.is_dir():
        raise UserError(f"there is no run '{path}'; give the folder that `dnal learn` wrote.")
    if not (path / CONFIG).is_file():
        raise UserError(f"'{path}' is no run: it has no {CONFIG}; give the folder that `dnal learn` wrote.")
    try:
        return yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise UserError(f"'{path / CONFIG}' cannot be read as YAML; restore it or run `dnal learn` again.") from None


def read_result(run: str | Path) -> dict[str, Any]:
    """result.json of a finished run.

    Raises:
        UserError: no finished run, or a file that is no result.
    """
    path = Path(run)
    read_config(path)
    _check_finished(path)
    try:
        result = json.loads((path / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        result = None
    if not isinstance(result, dict) or not all(isinstance(result.get(key), dict) for key in ("base", "compact")):
        raise UserError(f"'{path / RESULT}' is no result; run `dnal learn` again.")
    return result


def evaluate(run: str | Path, *, data: str | None = None, root: str | Path | None = None) -> dict[str, Any]:
    """Recomputes a run's figures from its saved network, and compares them with result.json.

    Of the base network only what its name tells is recomputed (MACs and parameters); its weights are not kept.

    Args:
        run: the folder.
        data: where the data are now, if they moved; None means as recorded.
        root: the same for the folder of downloaded sets.

    Returns:
        "base": macs, params; "compact": macs, params, accuracy (0 to 1, test data), latency_ms (of the run's
        deploy_batch on its backend), and memory (bytes) if the run bounded it; "input_shape"; "deploy_batch",
        "backend"; "differs": a sentence per figure that is not result.json's (empty: all agree; latency is measured
        anew and not compared).

    Raises:
        UserError: as :func:`load` and :func:`dnal.data.load`.
    """
    from lightning.fabric import Fabric

    from dnal.train.evaluate import accuracy

    config, result = read_config(run), read_result(run)
    network, base = load(run), _base(config)
    dataset = dnal_data.load(
        data or config.data,
        root=root or config.root,
        input_shape=config.input,
        classes=config.classes,
        # The images are normalised by the training images' mean and deviation, so these must be the same ones.
        limit_train=config.limit_train,
        seed=config.seed,
    )
    test = dnal_data.loaders(dataset, config.batch_size, workers=config.workers).test
    device = Fabric(accelerator="auto", devices=1).device  # where `learn` measured
    example = torch.zeros(1, *config.input, device=device)
    network.to(device)
    deployment = Deployment.of(config.deploy_batch, config.backend)
    (compact,) = deployment.figures([network], example, result["compact"])
    found: dict[str, Any] = {
        "base": {"macs": macs(base, example.cpu()), "params": params(base)},
        "compact": {**compact, "accuracy": accuracy(network, test)},
    }
    # Another device or library version may round two nearly equal logits the other way: one image, never many.
    tolerance = {"accuracy": max(0.001, 1.5 / max(1, len(dataset.test)))}
    differs = [
        f"{part} {key} is {value}, {RESULT} says {result[part].get(key)}"
        for part, figures in found.items()
        for key, value in figures.items()
        if key != "latency_ms" and not _close(value, result[part].get(key), tolerance.get(key, 0))
    ]
    return {
        **found,
        "input_shape": list(config.input),
        "deploy_batch": deployment.batch,
        "backend": deployment.backend,
        "differs": differs,
    }


def _close(found: float, said: object, tolerance: float) -> bool:
    return isinstance(said, int | float) and abs(found - said) <= tolerance


def _base(config: Config) -> nn.Module:
    # The fresh weights are overwritten or not looked at; the user's random state is not theirs to move.
    with torch.random.fork_rng(devices=[]):
        return models.create(config.model, classes=config.classes, input_shape=config.input)


def _check_finished(path: Path) -> None:
    for name in (RESULT, ARCHITECTURE, MODEL):
        if not (path / name).is_file():
            raise UserError(f"the run '{path}' is not finished: it has no {name}; run `dnal learn` again.")


def validated(kind: type[C], document: object, what: str) -> C:
    """A configuration of this kind.

    Raises:
        UserError: naming the first key that does not fit.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise UserError(f"{what} is not a run's configuration: {where}: {first['msg'].lower()}.") from None


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")


def _atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Lets ``write`` fill a temporary file, and puts that in the place of ``path`` once it is on the disk."""
    temporary = _temporary(path)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(mode)  # safetensors makes files for their owner alone; a run's files are like any other
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_text(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    _atomic(path, write)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    # safetensors refuses tensors that share memory: every name gets its own copy, and every name is in the file.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    _atomic(path, lambda temporary: save_file(copies, temporary, metadata))
