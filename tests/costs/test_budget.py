"""Budgets: what is understood, what is refused and how."""

import math
import random
import subprocess
import sys

import pytest

from dnal import Budget, UserError
from dnal.costs.budget import Bound, amount
from dnal.costs.cost import BOUNDED, COSTS

FULL = {"macs": 2_000_000.0, "params": 10_000.0, "memory": 2_345_678.0, "latency": 12.3456}
LEAST = {"macs": 20_000.0, "params": 500.0, "memory": 654_321.0, "latency": 1.23456}


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
        ("memory<=2MB", [Bound("memory", 2e6, False)]),
        ("memory<=1.5 kB", [Bound("memory", 1500, False)]),
        ("memory<=2gb", [Bound("memory", 2e9, False)]),
        ("memory<=512KiB", [Bound("memory", 512 * 1024, False)]),
        ("memory<=2 MiB", [Bound("memory", 2 * 1024**2, False)]),
        ("memory<=.5gib", [Bound("memory", 1024**3 / 2, False)]),
        ("memory<=4096B", [Bound("memory", 4096, False)]),
        ("memory<=4096", [Bound("memory", 4096, False)]),
        ("memory<=40%", [Bound("memory", 40, True)]),
        ("latency<=3ms", [Bound("latency", 3, False)]),
        ("latency<=3", [Bound("latency", 3, False)]),
        ("latency<=250us", [Bound("latency", 0.25, False)]),
        ("latency<=0.5 S", [Bound("latency", 500, False)]),
        ("latency<=1e-3s", [Bound("latency", 1, False)]),
        ("latency<=60%", [Bound("latency", 60, True)]),
        (
            "macs<=40%, params<=1.5M, latency<=3ms, memory<=2MB",
            [
                Bound("macs", 40, True),
                Bound("params", 1.5e6, False),
                Bound("latency", 3, False),
                Bound("memory", 2e6, False),
            ],
        ),
    ],
)
def test_parses(text: str, bounds: list[Bound]) -> None:
    budget = Budget.parse(text)
    assert budget == Budget(tuple(bounds))
    assert Budget.parse(str(budget)) == budget
    assert budget.costs == tuple(bound.cost for bound in bounds)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("macs<=1.50M", "macs<=1.5M"),
        ("params<=1200000", "params<=1.2M"),
        ("params<=999", "params<=999"),
        ("macs<=30.0%", "macs<=30%"),
        ("memory<=2000000B", "memory<=2MB"),
        ("memory<=100", "memory<=100B"),
        ("memory<=1KiB", "memory<=1.024kB"),
        ("latency<=3", "latency<=3ms"),
        ("latency<=0.25", "latency<=250us"),
        ("latency<=1500", "latency<=1.5s"),
        (" macs <= 40 % ,latency<=3ms", "macs<=40%,latency<=3ms"),
    ],
)
def test_prints_with_a_unit_that_people_read(text: str, printed: str) -> None:
    assert str(Budget.parse(text)) == printed


@pytest.mark.parametrize(
    "text", ["macs<=33.3333333%", "macs<=1234567", "params<=999", "macs<=0.001%", "params<=1.5", "macs<=2000000001"]
)
def test_printing_loses_nothing(text: str) -> None:
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


@pytest.mark.parametrize("cost", BOUNDED)
def test_printing_loses_nothing_of_any_number(cost: str) -> None:
    draw = random.Random(cost)
    for _ in range(300):
        number = draw.choice([1.0, 10.0, 2.0**10]) ** draw.uniform(-12, 20) * draw.random() or 1.0
        for bound in (
            Bound(cost, number, False),
            Bound(cost, float(math.ceil(number)), False),
            Bound(cost, number, True),
        ):
            assert Budget.parse(str(bound)).bounds == (bound,)


MALFORMED = [
    "", " ", ",", "macs", "macs<=", "<=30%", "30%", "macs=30%", "macs<30%", "macs>=30%", "macs<=30%%", "macs<=30T",
    "macs<=thirty", "macs<=1.2.3", "macs<=.", "macs<=1e", "macs<=30%,", ",macs<=30%", "macs<=30%;params<=1M",
    "macs<=30% params<=1M", "macs<=0", "macs<=0%", "macs<=-5%", "macs<=-1M", "macs<=nan", "macs<=inf", "macs<=1e999",
    "flops<=30%", "latency_ms<=3", "macs<=30%,macs<=20%", "MACS<=1M,macs<=20%", "macs<=30%\nparams<=1M", "macs<=٣٠%",
    "macs<=1e400%", "macs<=30k%", "macs<==30%", "macs<=0x10", "macs<=1_000", "latency<=0ms", "latency<=-1s",
    "latency<=5e-324us", "macs<=1e308G", "latency<=3m s", "memory<=MB", "latency<=3ms,latency<=50%", "memory<=1,5MB",
    "latency<=1m3s", "macs<=1\u212a",
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_budgets_get_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as error:
        Budget.parse(text)
    assert str(error.value).endswith((".", "?"))
    assert len(str(error.value).strip().split(". ")) == 1
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("macs<=3MB", "k, M, G or %"),
        ("params<=3ms", "k, M, G or %"),
        ("macs<=3T", "k, M, G or %"),
        ("memory<=2M", "B, kB, MB, GB, KiB, MiB, GiB or %"),
        ("memory<=2k", "B, kB, MB, GB, KiB, MiB, GiB or %"),
        ("memory<=2ms", "B, kB, MB, GB, KiB, MiB, GiB or %"),
        ("latency<=3M", "us, ms, s or %"),
        ("latency<=3 sec", "us, ms, s or %"),
        ("latency<=3min", "us, ms, s or %"),
        ("macs<=40%,latency<=3kB", "us, ms, s or %"),
    ],
)
def test_a_wrong_unit_names_the_right_ones(text: str, units: str) -> None:
    with pytest.raises(UserError) as error:
        Budget.parse(text)
    cost = text.split(",")[-1].partition("<")[0]
    assert f"is no unit of {cost}; write {units}." in str(error.value)


def test_an_unknown_cost_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="known are macs, params, memory, latency, bops"):
        Budget.parse("joules<=30%")
    with pytest.raises(UserError, match="did you mean 'macs'"):
        Budget.parse("flops<=30%")


def test_limits_are_in_the_costs_own_units() -> None:
    limits = Budget.parse("macs<=30%,params<=2k,latency<=50%,memory<=1MB").limits(FULL)
    assert limits == {
        "macs": pytest.approx(600_000),
        "params": 2000,
        "latency": pytest.approx(6.1728),
        "memory": 1_000_000,
    }


def test_a_cost_that_nobody_counted_is_named() -> None:
    counted = {"macs": 1.0, "params": 1.0}
    for text in ("latency<=3ms", "macs<=30%,memory<=50%"):
        with pytest.raises(UserError, match="does not state; it states macs, params") as error:
            Budget.parse(text).limits(counted)
        assert text.split(",")[-1] in str(error.value)
        with pytest.raises(UserError, match="does not state"):
            Budget.parse(text).check(counted, {"macs": 0.0, "params": 0.0})


@pytest.mark.parametrize(
    "text",
    [
        "macs<=99%", "macs<=1%", "macs<=20k", "params<=500", "macs<=50%,params<=100%", "latency<=1.3ms",
        "memory<=655kB", "macs<=40%,params<=9k,latency<=3ms,memory<=2MB",
    ],
)  # fmt: skip
def test_what_can_be_reached_passes(text: str) -> None:
    Budget.parse(text).check(FULL, LEAST)


@pytest.mark.parametrize(
    "text",
    [
        "macs<=0.9%",
        "macs<=19999",
        "params<=499",
        "macs<=50%,params<=1%",
        "memory<=654kB",
        "latency<=1ms",
        "latency<=9%",
    ],
)
def test_below_the_least_possible_names_the_least(text: str) -> None:
    least = {
        "macs": "from 20 k (1 %) to 2 M (100 %)",
        "params": "from 500 (5 %) to 10 k (100 %)",
        "memory": "from 654.4 kB (28 %) to 2.345 MB (100 %)",
        "latency": "from 1.235 ms (10 %) to 12.34 ms (100 %)",
    }
    with pytest.raises(UserError, match="below the least possible") as error:
        Budget.parse(text).check(FULL, LEAST)
    assert least[text.split(",")[-1].partition("<")[0]] in str(error.value)


@pytest.mark.parametrize("cost", BOUNDED)
def test_the_range_that_is_named_can_be_asked_for(cost: str) -> None:
    draw = random.Random(cost)
    for _ in range(100):
        high = 10 ** draw.uniform(1, 9)
        low = high * draw.choice([draw.uniform(0.001, 0.99), 1 - 10 ** draw.uniform(-8, -2)])  # close ends too
        with pytest.raises(UserError) as error:
            Budget((Bound(cost, low / 2, False),)).check({cost: high}, {cost: low})
        told = str(error.value)
        least = told.partition("from ")[2].partition(" (")[0]
        share = told.partition("(")[2].partition(" %")[0]
        most = told.partition("to ")[2].partition(" (")[0]
        for bound in (f"{cost}<={least}", f"{cost}<={share}%", f"{cost}<={most}"):
            limit = Budget.parse(bound).limits({cost: high})[cost]
            assert low <= limit * (1 + 1e-11)
            assert limit <= high * (1 + 1e-11)
        assert float(share) < 100
        assert Budget.parse(f"{cost}<={least}").bounds[0].number < Budget.parse(f"{cost}<={most}").bounds[0].number


@pytest.mark.parametrize("text", ["macs<=50%", "macs<=43k", "macs<=100%", "macs<=1M"])
def test_where_nothing_can_shrink_no_range_is_told(text: str) -> None:
    with pytest.raises(UserError, match=r"this network has 43.24 k; allow narrower widths \(min_width, divisor\), or"):
        Budget.parse(text).check({"macs": 43_236.0}, {"macs": 43_236.0})


@pytest.mark.parametrize(
    "text",
    [
        "macs<=100%", "macs<=2M", "macs<=101%", "params<=10001", "macs<=50%,params<=1M", "macs<=100%,params<=100%",
        "latency<=1s", "latency<=100%", "memory<=1GiB",
    ],
)  # fmt: skip
def test_what_asks_nothing_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not below the base network"):
        Budget.parse(text).check(FULL, LEAST)


@pytest.mark.parametrize(
    ("cost", "value", "shown"),
    [
        ("macs", 313_464_832, "313.5 M"),
        ("macs", 86, "86"),
        ("macs", 0, "0"),
        ("params", 999_999, "1 M"),
        ("params", 1_800_000_000, "1.8 G"),
        ("params", 270_896, "270.9 k"),
        ("macs", 12_346e9, "12350 G"),
        ("memory", 1_200_000, "1.2 MB"),
        ("memory", 802_816, "802.8 kB"),
        ("memory", 512, "512 B"),
        ("memory", 3_000_000_000, "3 GB"),
        ("latency", 12.3, "12.3 ms"),
        ("latency", 0.0314, "31.4 us"),
        ("latency", 1234.5, "1.234 s"),
        ("latency", 999.99, "1 s"),
        ("latency", 1e-7, "0.0001 us"),
    ],
)
def test_amounts_are_written_for_people(cost: str, value: float, shown: str) -> None:
    assert amount(cost, value) == shown


def test_amounts_have_as_many_digits_as_asked_for() -> None:
    assert [amount("latency", 12.3456, digits) for digits in (1, 2, 3, 6)] == [
        "10 ms",
        "12 ms",
        "12.3 ms",
        "12.3456 ms",
    ]


@pytest.mark.parametrize("cost", BOUNDED)
def test_an_amount_is_a_bound_that_parses(cost: str) -> None:
    for exponent in range(-2, 12):
        value = 1.234 * 10.0**exponent
        (bound,) = Budget.parse(f"{cost}<={amount(cost, value)}").bounds
        assert bound.number == pytest.approx(value, rel=1e-3)


def test_budgets_need_no_torch() -> None:
    program = (
        "import sys; from dnal.costs.budget import Budget; Budget.parse('macs<=3%'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("cost", [name for name in COSTS if name not in BOUNDED])
def test_what_tells_of_zeros_is_no_bound(cost: str) -> None:
    with pytest.raises(UserError, match=f"unknown cost '{cost}'"):
        Budget.parse(f"{cost}<=30%")
