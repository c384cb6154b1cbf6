"""Budgets: what is understood, what is refused and how."""

import pytest

from dnal import Budget, UserError
from dnal.budget import Bound

FULL = {"macs": 2_000_000.0, "params": 10_000.0}
LEAST = {"macs": 20_000.0, "params": 500.0}


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("macs<=30%", [Bound("macs", 30, True)]),
        ("macs <= 30 %", [Bound("macs", 30, True)]),
        ("  MACs<=12.5%  ", [Bound("macs", 12.5, True)]),
        ("params<=1.2M", [Bound("params", 1.2e6, False)]),
        ("params<=1200k", [Bound("params", 1.2e6, False)]),
        ("params<=1200000", [Bound("params", 1.2e6, False)]),
        ("params<=1.2e6", [Bound("params", 1.2e6, False)]),
        ("macs<=4G", [Bound("macs", 4e9, False)]),
        ("macs<=.5m", [Bound("macs", 5e5, False)]),
        ("macs<=30%,params<=1M", [Bound("macs", 30, True), Bound("params", 1e6, False)]),
        (" params<=9k , macs<=+15% ", [Bound("params", 9e3, False), Bound("macs", 15, True)]),
    ],
)
def test_parses(text: str, bounds: list[Bound]) -> None:
    budget = Budget.parse(text)
    assert budget == Budget(tuple(bounds))
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    "text", ["macs<=33.3333333%", "macs<=1234567", "params<=999", "macs<=0.001%", "params<=1.5", "macs<=2000000001"]
)
def test_printing_loses_nothing(text: str) -> None:
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


MALFORMED = [
    "", " ", ",", "macs", "macs<=", "<=30%", "30%", "macs=30%", "macs<30%", "macs>=30%", "macs<=30%%", "macs<=30T",
    "macs<=thirty", "macs<=1.2.3", "macs<=.", "macs<=1e", "macs<=30%,", ",macs<=30%", "macs<=30%;params<=1M",
    "macs<=30% params<=1M", "macs<=0", "macs<=0%", "macs<=-5%", "macs<=-1M", "macs<=nan", "macs<=inf", "macs<=1e999",
    "latency<=3", "flops<=30%", "macs<=30%,macs<=20%", "MACS<=1M,macs<=20%", "macs<=30%\nparams<=1M", "macs<=٣٠%",
    "macs<=1e400%", "macs<=30k%", "macs<==30%", "macs<=0x10", "macs<=1_000",
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_budgets_get_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as error:
        Budget.parse(text)
    assert str(error.value).endswith(".")
    assert len(str(error.value).strip().split(". ")) == 1


def test_other_costs_can_be_named() -> None:
    assert Budget.parse("latency_ms<=3", costs=("latency_ms",)).bounds == (Bound("latency_ms", 3, False),)
    with pytest.raises(UserError, match="known are macs, params"):
        Budget.parse("latency_ms<=3")


def test_limits_are_in_the_costs_own_units() -> None:
    limits = Budget.parse("macs<=30%,params<=2k").limits(FULL)
    assert limits == {"macs": pytest.approx(600_000), "params": 2000}


@pytest.mark.parametrize("text", ["macs<=99%", "macs<=1%", "macs<=20k", "params<=500", "macs<=50%,params<=100%"])
def test_what_can_be_reached_passes(text: str) -> None:
    Budget.parse(text).check(FULL, LEAST)


@pytest.mark.parametrize("text", ["macs<=0.9%", "macs<=19999", "params<=499", "macs<=50%,params<=1%"])
def test_below_the_least_possible_names_the_least(text: str) -> None:
    with pytest.raises(UserError, match="below the least possible") as error:
        Budget.parse(text).check(FULL, LEAST)
    least = "500 (5 %)" if "params" in text else "20 k (1 %)"
    assert least in str(error.value)


@pytest.mark.parametrize(
    "text", ["macs<=100%", "macs<=2M", "macs<=101%", "params<=10001", "macs<=50%,params<=1M", "macs<=100%,params<=100%"]
)
def test_what_asks_nothing_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not below the base network"):
        Budget.parse(text).check(FULL, LEAST)
