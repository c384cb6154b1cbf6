import pytest

from dnal.train.schedule import cosine


def test_rises_then_falls_to_the_floor() -> None:
    assert cosine(0.05, 1.0, warmup=0.1) == pytest.approx(0.5)
    assert cosine(0.1, 1.0, warmup=0.1) == pytest.approx(1.0)
    assert cosine(0.55, 1.0, warmup=0.1) == pytest.approx(0.5)
    assert cosine(1.0, 1.0, warmup=0.1, floor=0.01) == pytest.approx(0.01)
    values = [cosine(p / 100, 0.3) for p in range(101)]
    assert values == sorted(values, reverse=True)
