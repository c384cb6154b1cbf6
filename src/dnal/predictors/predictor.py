"""What all predictors share: scikit-learn's conventions, options in one home, labels as places, ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone

from dnal.base.errors import UserError
from dnal.base.options import Options, checked, option, options_of
from dnal.predictors.graph import Graph
from dnal.predictors.scale import Scale
from dnal.predictors.weights.chain import Chain

Architectures = Sequence[Graph] | Sequence[Chain] | NDArray[Any]
"""Graphs, rows of numbers (N, F) such as the widths of a Space, or trained networks with their weights."""
Arrays = Mapping[str, NDArray[Any]]
"""What one member of an ensemble has learnt, by name."""
MOST_LABELS = 2**20


def subset(architectures: Architectures, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Architectures:
    """Some of the architectures, in the order of ``rows``.

    Examples:
        >>> subset(np.array([[4, 8], [8, 8], [8, 16]]), [2, 0]).tolist()
        [[8, 16], [4, 8]]
    """
    if isinstance(architectures, np.ndarray):
        found: NDArray[Any] = architectures[np.asarray(rows, dtype=np.int64)]
        return found
    chosen: Any = [architectures[row] for row in rows]  # all of one kind, as they were given
    return chosen  # type: ignore[no-any-return]


@dataclass(eq=False, repr=False)
class Predictor(Options, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Learns a value of architectures from labelled ones.

    A subclass is a dataclass whose fields are its options, under the conventions of scikit-learn: ``get_params``,
    ``clone`` and ``cross_val_score`` work. What it has learnt is arrays by name, so that a file of it holds no code.

    Attributes:
        reads: "graphs", "graphs and numbers" where it also learns from rows of numbers, or "weights" of networks.
        learns_from_all: whether architectures without a value teach it too.
        knows_spread: whether one member alone knows how sure it is.

    Examples:
        >>> from dnal.predictors import Ridge
        >>> widths = np.array([[4, 8], [8, 8], [8, 16], [16, 16]])
        >>> found = Ridge().fit(widths, [60.0, 62.0, 65.0, 66.0]).predict([[8, 12]])
        >>> bool(60.0 < found[0] < 67.0)
        True
    """

    reads: ClassVar[str] = "graphs"
    learns_from_all: ClassVar[bool] = False
    knows_spread: ClassVar[bool] = False

    learns: Literal["ranks", "values"] = option(
        "ranks", "Labels as their ranks among each other, or as values; answers are values."
    )
    members: int = option(1, "Of an ensemble, each with another seed; ridge, boosting and such draw rows again.",
                          least=1, most=100)  # fmt: skip
    seed: int = option(0, "Of everything that is drawn.", least=0, most=2**31 - 1)

    scale_: Scale = field(init=False)
    members_: list[Arrays] = field(init=False)

    def fit(self, architectures: Architectures, values: ArrayLike, *, unlabelled: Architectures | None = None) -> Self:
        """Learns from labelled architectures.

        Args:
            architectures: N graphs, rows of numbers (N, F), or chains. values: (N,) what is predicted, finite.
            unlabelled: architectures without values, for those that learn from them too; others leave them aside.

        Returns:
            itself.

        Raises:
            UserError: not as many values as architectures, values that are all the same, or architectures that it does
                not read.
        """
        for one in options_of(type(self)):  # set_params sets without asking
            setattr(self, one.name, checked(one, getattr(self, one.name)))
        labels = np.asarray(values, dtype=np.float64)
        if labels.shape != (len(architectures),) or not 2 <= len(labels) <= MOST_LABELS:
            raise UserError(
                f"{len(architectures)} architectures and values {labels.shape}: give a value for each of at least two."
            )
        self.scale_ = Scale.of(labels, self.learns)
        aside = unlabelled if self.learns_from_all and unlabelled is not None and len(unlabelled) else None
        self._prepare(architectures, aside)
        encoded, places = self._encode(architectures), self.scale_.places_of(labels)
        extra = None if aside is None else self._encode(aside)
        self.members_ = []
        for member in range(self.members):
            rng = np.random.default_rng((self.seed, member))
            self.members_.append(self._learn(encoded, places, extra, rng))
        return self

    @overload
    def predict(self, architectures: Architectures, return_std: Literal[False] = False) -> NDArray[np.float64]: ...

    @overload
    def predict(
        self, architectures: Architectures, return_std: Literal[True]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    def predict(
        self, architectures: Architectures, return_std: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values of architectures.

        Args:
            architectures: N of the kind that it learnt from. return_std: also give how sure it is.

        Returns:
            (N,) values, the mean over its members; with ``return_std`` also their standard deviation over members, or
            what the model itself says of it.

        Raises:
            UserError: it has learnt nothing yet; architectures of another kind; ``return_std`` with one member that
                knows no spread.
        """
        self._check_fitted()
        encoded = self._encode(architectures)
        answers = self.scale_.values_of(np.stack([self._answer(arrays, encoded) for arrays in self.members_]))
        found: NDArray[np.float64] = answers.mean(0)
        return (found, self._spread(encoded, answers)) if return_std else found

    def check_reads(self, architectures: Architectures) -> None:
        """Refuses architectures of a kind that it does not read, by the first of them and before anything is learnt.

        Raises:
            UserError: saying what it reads.
        """
        first, another = subset(architectures, range(min(2, len(architectures)))), clone(self)
        another._prepare(first, None)
        another._encode(first)

    def _check_fitted(self) -> None:
        if not hasattr(self, "members_"):
            raise UserError(f"this {type(self).__name__} has learnt nothing yet; call fit first.")

    def _prepare(self, architectures: Architectures, unlabelled: Architectures | None) -> None:
        """Looks at all architectures before the first is encoded."""

    def _encode(self, architectures: Architectures) -> Any:
        """Architectures as the model reads them; ``encoded[rows]`` are some of them."""
        raise NotImplementedError

    def _learn(self, encoded: Any, places: NDArray[np.float64], unlabelled: Any, rng: np.random.Generator) -> Arrays:
        """What one member learns of places (N,) between 0 and 1."""
        raise NotImplementedError

    def _answer(self, arrays: Arrays, encoded: Any) -> NDArray[np.float64]:
        """The places (N,) that one member says."""
        raise NotImplementedError

    def _spread(self, encoded: Any, answers: NDArray[np.float64]) -> NDArray[np.float64]:
        """How unsure it is (N,), from the values (members, N)."""
        if len(answers) < 2:
            raise UserError("one member alone does not know how sure it is; give members=5, or more.")
        found: NDArray[np.float64] = answers.std(0, ddof=1)
        return found

    def _learnt(self) -> dict[str, Any]:
        """What else than scale and members a file holds, as plain values."""
        return {}

    def _restore(self, learnt: Any) -> None:
        """Takes what :meth:`_learnt` returned, before the members come.

        Raises:
            UserError: it is not that.
        """

    def _check_arrays(self, arrays: Arrays) -> None:
        """Refuses arrays that no member of this predictor can have learnt.

        Raises:
            UserError: naming the first.
        """
        raise NotImplementedError
