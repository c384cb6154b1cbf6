"""Statistics against scipy, scikit-learn and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from dnal.base.statistics import (
    ahead_or_behind,
    auroc,
    differences,
    equivalence,
    kendall,
    mean,
    paired,
    paired_examples,
    share,
    spearman,
)

GENERATOR = np.random.default_rng(3)
OURS = np.array([64.6, 65.1, 63.9, 66.0])
THEIRS = np.array([62.0, 64.8, 63.0, 63.1])
X = GENERATOR.normal(size=40)
Y = X + GENERATOR.normal(size=40)


def test_a_mean_has_students_interval() -> None:
    found = mean(list(OURS), 0.9)
    low, high = stats.t.interval(0.9, 3, OURS.mean(), stats.sem(OURS))
    assert (found.value, found.low, found.high) == pytest.approx((OURS.mean(), low, high))
    assert (found.number, found.confidence) == (4, 0.9)


def test_pairs_are_those_of_equal_keys_and_the_test_is_the_paired_one() -> None:
    ours, theirs = dict(enumerate(OURS)), dict(enumerate(THEIRS)) | {9: 0.0}
    found, test = paired(ours | {7: 1.0}, theirs), stats.ttest_rel(OURS, THEIRS)
    ends = test.confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx(((OURS - THEIRS).mean(), ends.low, ends.high))
    assert sorted(differences(ours, theirs)) == pytest.approx(sorted(OURS - THEIRS))


@pytest.mark.parametrize("margin", [0.5, 1.7, 3.0, 6.0])
def test_two_one_sided_tests(margin: float) -> None:
    """Against scipy's, and as the interval of 90 % within the margin."""
    gaps = OURS - THEIRS
    above = stats.ttest_1samp(gaps, margin, alternative="less").pvalue
    below = stats.ttest_1samp(gaps, -margin, alternative="greater").pvalue
    assert equivalence(list(gaps), margin) == pytest.approx(max(above, below))
    found = mean(list(gaps), 0.9)
    assert (equivalence(list(gaps), margin) < 0.05) == (-margin < found.low and found.high < margin)


def test_equal_differences_are_equivalent_or_not() -> None:
    assert (equivalence([0.5, 0.5], 1.0), equivalence([2.0, 2.0], 1.0)) == (0.0, 1.0)
    assert math.isnan(equivalence([0.5], 1.0))


def test_a_share_has_the_exact_interval() -> None:
    found = share(12, 12)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 12))  # the p at which 12 of 12 has a chance of 2.5 %
    assert math.isnan(share(0, 0).value)


def test_rank_correlations_are_scipys_and_lie_in_their_interval() -> None:
    for ours, theirs in ((kendall, stats.kendalltau), (spearman, stats.spearmanr)):
        found = ours(list(X), list(Y))
        assert found.value == pytest.approx(theirs(X, Y).statistic)
        assert found.low < found.value < found.high
        assert found == ours(list(X), list(Y)), "the same draws every time"
        assert ours(list(X), list(np.exp(X))).value == pytest.approx(1)
        assert ours([1, 2, 2, 3], [1, 2, 3, 3]).value == pytest.approx(theirs([1, 2, 2, 3], [1, 2, 3, 3]).statistic)
        test = stats.bootstrap((X, Y), lambda a, b, t=theirs: t(a, b).statistic, paired=True, vectorized=False,
                               n_resamples=300, method="percentile", random_state=np.random.default_rng(1))  # fmt: skip
        ends = test.confidence_interval
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.06)


def test_many_pairs_are_no_other_than_few(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = list(X.round(1)), list(Y.round(1))  # with ties
    few = kendall(x, y)
    monkeypatch.setattr("dnal.base.statistics.FEW", 3)
    many = kendall(x, y)
    assert many[:3] == pytest.approx(few[:3])


def test_no_interval_without_pairs_or_differences() -> None:
    assert all(math.isnan(kendall(x, y).low) for x, y in (([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3])))
    with pytest.raises(ValueError, match="no pairs"):
        spearman([1, 2, 3], [1, 2])


def test_the_area_is_how_often_a_positive_has_the_larger_score() -> None:
    scores, positive = [0.1, 0.4, 0.35, 0.8, 0.4], [False, False, True, True, True]
    by_hand = (1 + 0 + 1 + 1 + 1 + 0.5) / 6  # .35 > .1, .35 < .4, .8 twice, .4 > .1, .4 = .4
    assert auroc(scores, positive).value == pytest.approx(by_hand)
    assert auroc(scores, positive).value == pytest.approx(roc_auc_score(positive, scores))
    assert math.isnan(auroc([1.0], [True]).value)


def test_the_interval_of_the_area_is_delongs() -> None:
    """Components written out as in the paper, pair by pair."""
    positive = GENERATOR.random(60) < 0.4
    scores = np.round(GENERATOR.normal(size=60) + positive, 1)  # with ties
    ours, others = scores[positive], scores[~positive]
    wins = (ours[:, None] > others) + 0.5 * (ours[:, None] == others)
    error = math.sqrt(wins.mean(1).var(ddof=1) / len(ours) + wins.mean(0).var(ddof=1) / len(others))
    found = auroc(list(scores), list(positive))
    assert found.value == pytest.approx(roc_auc_score(positive, scores))
    assert (found.low, found.high) == pytest.approx((found.value - 1.959964 * error, found.value + 1.959964 * error))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 200 drawn samples; the chance of fewer than 180 is below 0.1 % at 95 %."""
    draw = np.random.default_rng(5)
    held = {"mean": 0, "auroc": 0}
    for _ in range(200):
        found = mean(list(draw.normal(2.0, size=5)))
        held["mean"] += found.low <= 2.0 <= found.high
        positive = np.arange(100) < 40
        area = auroc(list(draw.normal(size=100) + positive), list(positive))
        held["auroc"] += area.low <= stats.norm.cdf(1 / math.sqrt(2)) <= area.high
    assert all(179 < count <= 200 for count in held.values()), held


def test_examples_that_are_graded_have_the_interval_of_the_paired_test() -> None:
    found, test = paired_examples(list(X), list(Y)), stats.ttest_rel(X, Y)
    ends = test.confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx(((X - Y).mean(), ends.low, ends.high))
    assert (found.number, ahead_or_behind(found.low, found.high)) == (40, "ahead" if ends.low > 0 else "cannot be told")
    swapped = paired_examples(list(Y), list(X))
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize(("only_ours", "only_theirs"), [(0.0, 0.0), (0.02, 0.02), (0.1, 0.02), (0.3, 0.2)])
def test_examples_that_are_right_or_wrong_have_an_interval_that_keeps_its_confidence(
    only_ours: float, only_theirs: float
) -> None:
    """Exactly: over all that may come of 30 examples. Student's interval covers far less where few pairs differ."""
    number, covered = 30, 0.0
    for ours in range(number + 1):
        for theirs in range(number + 1 - ours):
            same = number - ours - theirs
            chance = stats.multinomial.pmf(
                [ours, theirs, same], number, [only_ours, only_theirs, 1 - only_ours - only_theirs]
            )
            if chance < 1e-9:
                continue
            found = paired_examples([1] * ours + [0] * theirs + [1] * same, [0] * ours + [1] * theirs + [1] * same)
            assert found.value == pytest.approx((ours - theirs) / number)
            covered += chance * (found.low <= only_ours - only_theirs <= found.high)
    assert covered >= 0.94


def test_examples_without_an_interval() -> None:
    assert math.isnan(paired_examples([1], [0]).low)
    assert math.isnan(paired_examples([0.5], [0.1]).low)
    assert math.isnan(paired_examples([], []).value)
    assert ahead_or_behind(*paired_examples([1], [0])[1:3]) == "cannot be told"
    assert ahead_or_behind(*paired_examples([0] * 90, [1] * 90)[1:3]) == "behind"
    with pytest.raises(ValueError, match="no pairs"):
        paired_examples([1], [1, 0])
