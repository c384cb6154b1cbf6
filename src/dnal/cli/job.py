"""What `dnal learn` was asked to do, checked as far as it goes without network and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from dnal.base.errors import UserError
from dnal.base.names import possible
from dnal.budget import Budget
from dnal.cli import options
from dnal.plan import DEFAULT_BUDGET, INITS, PRECISIONS, RECIPES

KEYS = {"input_": "input", "budget": "budgets"}
"""Parameters of the command whose field has another name."""


@dataclass(frozen=True)
class Job:
    """The options of the command, under the names of :func:`dnal.learn` where it knows them.

    Attributes:
        budgets: one per run; none stands for the recipe's default.
        threads: of torch; None leaves them as they are. latency: the file of a latency model to reuse.
        checkpoint_every: steps between checkpoints.
    """

    model: str
    weights: str | None
    input: options.Shape | None
    classes: int | None
    data: str
    root: str | None
    budgets: list[str]
    method: str
    init: str | None
    recipe: str
    lambda_: float | None
    least: int | float
    multiple: int | Literal["auto"] | None
    depth: bool | None
    deploy_batch: int
    backend: str
    epochs: int | tuple[int, int, int] | None
    lr: float | None
    batch_size: int
    workers: int
    include: list[str]
    exclude: list[str]
    seed: int
    limit_train: int | None
    precision: str
    distil: bool | None
    steps: str = "joint"
    memory_format: str = "auto"
    threads: int | None = None
    latency: Path | None = None
    checkpoint_every: int = 200

    @staticmethod
    def of(parameters: Mapping[str, Any]) -> Job:
        """The job that the parsed parameters of `dnal learn` ask for; those that are no field of it are left aside.

        Raises:
            UserError: naming the option that cannot be read.
        """
        values = {KEYS.get(name, name): value for name, value in parameters.items()}
        values |= {name: list(values[name] or []) for name in ("budgets", "include", "exclude")}
        values |= {
            "input": options.input_shape(values["input"]),
            "least": options.least(values["least"]),
            "multiple": options.multiple(values["multiple"]),
            "epochs": options.epochs(values["epochs"]),
        }
        return Job(**{field.name: values[field.name] for field in fields(Job) if field.name in values})

    def check(self) -> None:
        """Refuses what cannot work with any network and any data.

        Raises:
            UserError: naming the option.
        """
        from dnal.methods import method_of

        method_of(self.method)
        if self.init is not None:
            options.one_of("init", self.init, INITS)
        options.one_of("recipe", self.recipe, RECIPES)
        options.one_of("precision", self.precision, ("auto", *PRECISIONS))
        options.one_of("backend", self.backend, options.BACKENDS)
        options.whole("--classes", self.classes, 2, options.MOST_CLASSES)
        options.whole("--batch-size", self.batch_size)
        options.whole("--workers", self.workers, 0, options.MOST_WORKERS)
        options.whole("--seed", self.seed, 0, options.MOST_SEED)
        options.whole("--limit-train", self.limit_train)
        options.whole("--deploy-batch", self.deploy_batch, most=options.MOST_DEPLOY_BATCH)
        options.whole("--checkpoint-every", self.checkpoint_every)
        options.positive("--lr", self.lr)
        options.positive("--lambda", self.lambda_)
        if self.lambda_ is not None and self.recipe != "paper":
            raise UserError("--lambda belongs to --recipe paper; the recipe budget follows --budget alone.")
        if (
            self.weights is not None
            and self.weights != "pretrained"
            and not possible(self.weights, "path of the weights").is_file()
        ):
            raise UserError(f"there is no weights file '{self.weights}'; give 'pretrained' or a .safetensors file.")
        for budget in self.budgets:
            Budget.parse(budget)

    @property
    def bounds(self) -> list[str | None]:
        """The budget of each run."""
        return [*self.budgets] or [DEFAULT_BUDGET if self.recipe == "budget" else None]

    def learning(self) -> dict[str, Any]:
        """Those options that :func:`dnal.trade_off` takes by name."""
        names = (
            "method", "init", "recipe", "lambda_", "least", "multiple", "depth", "deploy_batch", "backend", "epochs",
            "lr", "include", "exclude", "seed", "precision", "memory_format", "distil", "steps", "latency",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}
