import pytest

from dnal.base.errors import UserError
from dnal.settings import SCHEDULES
from dnal.train.schedule import cosine, schedule_of


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_every_one_reaches_its_peak_and_never_more(name: str, warmup: float) -> None:
    rates = [schedule_of(name)(step / 1000, 0.3, warmup) for step in range(1001)]
    assert max(rates) == pytest.approx(0.3, rel=1e-3)
    assert all(0 <= rate <= 0.3 + 1e-12 for rate in rates)


def test_the_users_own_is_taken_as_it_is_and_unknown_names_are_refused() -> None:
    def own(progress: float, peak: float, warmup: float) -> float:
        return peak

    assert schedule_of(own) is own
    with pytest.raises(UserError, match="did you mean 'cosine'"):
        schedule_of("cosin")


def test_rises_then_falls_to_the_floor() -> None:
    assert cosine(0.05, 1.0, warmup=0.1) == pytest.approx(0.5)
    assert cosine(0.1, 1.0, warmup=0.1) == pytest.approx(1.0)
    assert cosine(0.55, 1.0, warmup=0.1) == pytest.approx(0.5)
    assert cosine(1.0, 1.0, warmup=0.1, floor=0.01) == pytest.approx(0.01)
    values = [cosine(p / 100, 0.3) for p in range(101)]
    assert values == sorted(values, reverse=True)
