"""A study: a claim of the field and how it is tested again."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from dnal.base.errors import UserError, all_names
from dnal.base.options import Options, from_values
from dnal.studies.check import Check

if TYPE_CHECKING:
    from dnal.report.figure import Figure

Value = str | int | float
Row = dict[str, Value]
"""A row: the setting, ``seed``, what :meth:`Study.row` gave, seconds and versions."""
Setting = Mapping[str, Value]


@dataclass(frozen=True)
class Source:
    """Where a claim is from.

    Attributes:
        title: of the paper, with authors and year. arxiv: its number, or "". facts: which facts about the paper were
            verified with its text, and which are recalled.
    """

    title: str
    arxiv: str
    facts: str


@dataclass(frozen=True)
class Size:
    """How much of a study is done.

    Attributes:
        seeds: how many. costs: time on two cores, in words. options: those of the study that are not as by default.
    """

    seeds: int
    costs: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Sizes(NamedTuple):
    """The three sizes of a study."""

    tiny: Size
    small: Size
    paper: Size

    def of(self, name: str) -> Size:
        """The size of this name.

        Raises:
            UserError: there is none.
        """
        if name not in self._fields:
            raise UserError(f"unknown size '{name}'{all_names(name, self._fields)}")
        found: Size = getattr(self, name)
        return found


@dataclass(frozen=True)
class Study(Options):
    """A claim and how it is tested. A subclass is a frozen dataclass: its fields are its options, and the first line
    of its docstring is the claim in our words.

    Attributes:
        claim: in the paper's words, or a short paraphrase. source: the paper.
        needs: the data, and where a user gets them. differs: what is otherwise than in the paper.
        sizes: "tiny" (seconds), "small" (its rows are committed) and "paper".
    """

    claim: ClassVar[str]
    source: ClassVar[Source]
    needs: ClassVar[str]
    differs: ClassVar[str]
    sizes: ClassVar[Sizes]

    @classmethod
    def ours(cls) -> str:
        """The claim in our words: the first line of the docstring."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]

    @classmethod
    def told(cls) -> str:
        """The rest of the docstring."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[2].strip()

    def settings(self) -> Sequence[Setting]:
        """What is compared, as the arguments of :meth:`row`, with the same names in each; together with the seed they
        say which row it is."""
        raise NotImplementedError

    def rows(self, seeds: int) -> list[tuple[Setting, int]]:
        """All rows of so many seeds: every setting with each, the settings of a seed after one another."""
        return [(setting, seed) for seed in range(seeds) for setting in self.settings()]

    def row(self, *args: Any, **setting: Any) -> Mapping[str, Value]:
        """Makes a row, from ``seed`` and the values of its setting by name: what came out, as plain values. It sets its
        own random seeds.

        Raises:
            UserError: it cannot be made. Rows of other processes are made all the same (:meth:`together`).
        """
        raise NotImplementedError

    def together(self, setting: Setting, seed: int) -> Hashable:
        """Rows with the same value here are made in one process, one after another, as :meth:`rows` has them; so what
        they share can be computed once. By default every row is on its own."""
        return (*setting.items(), seed)

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        """What the rows say; with few rows also "cannot be told"."""
        raise NotImplementedError

    def figure(self, rows: Sequence[Row]) -> Figure:
        """All rows, as a chart."""
        raise NotImplementedError

    def imagined(self, row: Row, holds: bool) -> Row:
        """A row as it would be if every check held, or if none did; tests hold the checks to it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sized:
    """A study at a size: with what options, and how many seeds."""

    study: Study
    size: str
    seeds: int

    def rows(self) -> list[tuple[Setting, int]]:
        return self.study.rows(self.seeds)


def sized(kind: type[Study], size: str, given: Mapping[str, Any] | None = None, seeds: int | None = None) -> Sized:
    """A study at a size.

    Args:
        given: options that were asked for, which go before those of the size. seeds: another number of them.

    Raises:
        UserError: there is no such size or option.
    """
    own = kind.sizes.of(size)
    study = from_values(kind, {**own.options, **(given or {})}, f"the study '{kind.__name__}'")
    return Sized(study, size, own.seeds if seeds is None else seeds)
