"""Intervals and tests, against scipy, against counting by hand, and by simulation."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from rtlab import statistics
from rtlab.metrics import scores
from rtlab.statistics import (
    accuracy_interval,
    accuracy_intervals,
    holm,
    mcnemar,
    paired_difference,
    paired_f1_difference,
    ratio_of_times,
)


def right(accuracy, *, seeds=1, sentences=1066, random=None):
    random = random or np.random.default_rng((int(1000 * accuracy), seeds, sentences))
    return random.random((seeds, sentences)) < accuracy


def limits(interval):
    return interval.low, interval.high


# Accuracy


def test_the_value_is_the_mean_accuracy_over_seeds():
    correct = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=bool)
    assert accuracy_interval(correct).value == 0.5


@pytest.mark.parametrize("accuracy", [0.5, 0.8, 0.97])
def test_with_one_seed_the_interval_is_that_of_a_binomial_draw(accuracy):
    """Resampling N sentences, k of them right, draws from the binomial of N and k / N: known without drawing."""
    correct = right(accuracy)
    exact = scipy.stats.binom.ppf([0.025, 0.975], 1066, correct.mean()) / 1066
    assert limits(accuracy_interval(correct)) == pytest.approx(exact, abs=0.0025)


def test_seeds_are_resampled_with_the_sentences():
    """Two seeds, one always right and one always wrong: a resampling takes the one twice, the other twice, or both."""
    correct = np.repeat([[True], [False]], 50, axis=1)
    assert limits(accuracy_interval(correct)) == (0.0, 1.0)


def test_sentences_are_resampled_together_under_all_seeds():
    """Seeds that agree on every sentence add nothing: the interval is as wide as with one of them."""
    one = right(0.8)
    assert limits(accuracy_interval(np.repeat(one, 5, axis=0))) == pytest.approx(limits(accuracy_interval(one)))


def test_what_is_always_right_is_known_for_sure():
    interval = accuracy_interval(np.ones((3, 20), dtype=bool))
    assert (interval.value, *limits(interval)) == (1.0, 1.0, 1.0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Nominal 95 %; 4 standard deviations of 500 simulations below it is 91 %."""
    random = np.random.default_rng(0)
    simulated = [right(0.8, sentences=300, random=random) for _ in range(500)]
    covered = np.mean([low <= 0.8 <= high for low, high in map(limits, accuracy_intervals(simulated))])
    assert 0.91 <= covered <= 0.985


def test_several_intervals_at_once_are_those_one_by_one():
    several = [right(0.8, seeds=3), right(0.7, sentences=40), right(0.9), right(0.6, seeds=2, sentences=40)]
    assert accuracy_intervals(several) == [accuracy_interval(correct) for correct in several]
    assert accuracy_intervals([]) == []


def test_the_same_scores_have_the_same_interval_every_time(run_python):
    code = """
import numpy as np
from rtlab.statistics import accuracy_interval
print(accuracy_interval(np.arange(1000)[None] % 7 > 1))
"""
    first, second = run_python(code), run_python(code, OPENBLAS_NUM_THREADS="1")
    assert first.stdout == second.stdout
    assert first.stdout.startswith("Interval(value=0.714")


def test_weights_that_do_not_fit_into_one_block_are_drawn_in_several(monkeypatch):
    correct = right(0.8, seeds=2)
    whole = accuracy_interval(correct)
    monkeypatch.setattr(statistics, "_BLOCK", 1066 * 300)
    blocks = list(statistics._weights(1066))
    assert [len(block) for block in blocks] == [300] * 6 + [200]
    assert all((block.sum(axis=1) == 1066).all() for block in blocks)
    assert len({block[0].tobytes() for block in blocks}) == len(blocks)
    apart = accuracy_interval(correct)
    assert apart.value == whole.value
    assert limits(apart) == pytest.approx(limits(whole), abs=0.004)


# Differences


def test_a_difference_is_that_of_the_means():
    a = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], dtype=bool)
    b = np.array([[0, 1, 0, 0]], dtype=bool)
    assert paired_difference(a, b).value == 0.5
    assert paired_difference(b, a).value == -0.5


def test_nothing_differs_from_itself():
    one = right(0.8)
    interval = paired_difference(one, one)
    assert (interval.value, *limits(interval)) == (0.0, 0.0, 0.0)


def test_one_pair_has_the_interval_of_a_paired_bootstrap_by_hand():
    random = np.random.default_rng(1)
    a, b = right(0.8, random=random), right(0.75, random=random)
    drawn = random.integers(1066, size=(4000, 1066))
    by_hand = np.quantile(a[0][drawn].mean(axis=1) - b[0][drawn].mean(axis=1), [0.025, 0.975])
    assert limits(paired_difference(a, b)) == pytest.approx(by_hand, abs=0.005)


def test_pairing_makes_the_interval_narrower():
    """Two that err on the same sentences but for 20: apart, each has its sentences' chance for itself."""
    a = right(0.8)
    b = a.copy()
    b[0, :20] ^= True
    low, high = limits(paired_difference(a, b))
    (low_a, high_a), (low_b, high_b) = limits(accuracy_interval(a)), limits(accuracy_interval(b))
    unpaired = np.hypot(high_a - low_a, high_b - low_b)
    assert high - low < unpaired / 3


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        hard = random.random((1, 200)) < 0.3  # what makes the two alike: a third of the sentences is hard for both
        a, b = (np.where(hard, right(0.5, sentences=200, random=random), random.random((1, 200)) < p) for p in (0.9, 1))
        low, high = limits(paired_difference(a, b))
        covered += low <= -0.07 <= high
    assert 0.91 <= covered / 400 <= 0.985


def test_seeds_of_the_two_are_resampled_apart():
    """One seed in two is always right, for both; resampled together there would be no difference at all."""
    halves = np.repeat([[True], [False]], 30, axis=1)
    assert limits(paired_difference(halves, halves)) == (-1.0, 1.0)


@pytest.mark.parametrize("compare", [paired_difference, mcnemar])
def test_other_sentences_are_refused(compare):
    with pytest.raises(ValueError, match=r"^both must be measured on the same sentences; got 5 and 6$"):
        compare(np.ones((1, 5), dtype=bool), np.ones((1, 6), dtype=bool))


# F1


@pytest.mark.parametrize("classes", [2, 3])
def test_the_difference_of_f1_is_that_of_the_metrics(classes):
    random = np.random.default_rng(4)
    labels, a, b = (random.integers(classes, size=shape) for shape in (60, (3, 60), (2, 60)))
    wanted = [np.mean([scores(labels, row, num_labels=classes).f1 for row in side]) for side in (a, b)]
    interval = paired_f1_difference(labels, a, b, num_labels=classes)
    assert interval.value == pytest.approx(wanted[0] - wanted[1], abs=1e-12)
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize("classes", [2, 3])
def test_the_difference_of_f1_has_the_interval_of_a_paired_bootstrap_by_hand(classes):
    random = np.random.default_rng(3)
    labels = random.integers(classes, size=150)
    a, b = (np.where(random.random(150) < p, labels, random.integers(classes, size=150)) for p in (0.8, 0.6))
    drawn = random.integers(150, size=(2000, 150))

    def f1(predicted):
        return np.array([scores(labels[rows], predicted[rows], num_labels=classes).f1 for rows in drawn])

    by_hand = np.quantile(f1(a) - f1(b), [0.025, 0.975])
    assert limits(paired_f1_difference(labels, a[None], b[None], num_labels=classes)) == pytest.approx(
        by_hand, abs=0.01
    )


def test_a_class_that_nobody_means_counts_as_0():
    labels, none = np.zeros(10, dtype=int), np.zeros((1, 10), dtype=int)
    interval = paired_f1_difference(labels, none, none, num_labels=2)
    assert (interval.value, *limits(interval)) == (0.0, 0.0, 0.0)


def test_f1_of_other_sentences_is_refused():
    with pytest.raises(ValueError, match="got 4 and 5"):
        paired_f1_difference(np.zeros(5), np.zeros((1, 4)), np.zeros((1, 4)), num_labels=2)


# McNemar


def discordant(only_a, only_b, both=7, neither=3):
    """Two classifiers, one seed each."""
    a = np.repeat([True, False, True, False], [only_a, only_b, both, neither])
    b = np.repeat([False, True, True, False], [only_a, only_b, both, neither])
    return a, b


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (5, 5), (3, 9), (12, 0), (121, 59), (40, 400), (900, 1300)])
def test_with_one_seed_it_is_the_binomial_test(only_a, only_b):
    exact = scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
    assert mcnemar(*discordant(only_a, only_b)) == pytest.approx(exact, rel=1e-9)


def test_one_pair_is_counted_by_hand():
    """21 sentences against 9: as many ways to throw 9 heads or fewer in 30, twice, of 2^30."""
    assert mcnemar(*discordant(21, 9)) == pytest.approx(2 * sum(math.comb(30, heads) for heads in range(10)) / 2**30)


def test_no_disagreement_is_no_evidence():
    assert mcnemar(*discordant(0, 0)) == 1.0


def test_it_is_symmetric():
    a, b = right(0.8, seeds=3), right(0.7, seeds=2)
    assert mcnemar(a, b) == pytest.approx(mcnemar(b, a), rel=1e-9)


@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(1, 1), (2, 2), (3, 3), (1, 3), (2, 3)])
def test_with_seeds_it_counts_all_choices_of_signs(seeds_a, seeds_b):
    random = np.random.default_rng(seeds_a * 10 + seeds_b)
    for _ in range(5):
        a, b = (
            right(0.8, seeds=seeds_a, sentences=9, random=random),
            right(0.4, seeds=seeds_b, sentences=9, random=random),
        )
        gains = np.rint((a.mean(axis=0) - b.mean(axis=0)) * seeds_a * seeds_b)
        signs = np.array(list(itertools.product((-1, 1), repeat=9)))
        by_hand = np.mean(np.abs(signs @ gains) >= abs(gains.sum()))
        assert mcnemar(a, b) == pytest.approx(by_hand, abs=1e-12)


def test_seeds_that_agree_are_as_one():
    a, b = discordant(12, 4)
    assert mcnemar(np.tile(a, (5, 1)), np.tile(b, (3, 1))) == pytest.approx(mcnemar(a, b), rel=1e-9)


def test_under_no_difference_small_p_values_are_as_rare_as_they_say():
    random = np.random.default_rng(5)
    p = [mcnemar(right(0.8, seeds=2, random=random), right(0.8, seeds=2, random=random)) for _ in range(400)]
    assert 0.005 < np.mean(np.array(p) <= 0.05) < 0.09


# Ratios of times


def test_a_ratio_is_that_of_geometric_means_with_welchs_interval():
    a, b = [100.0, 110.0, 95.0], [20.0, 21.0, 24.0, 19.0]
    test = scipy.stats.ttest_ind(np.log(a), np.log(b), equal_var=False).confidence_interval(0.95)
    interval = ratio_of_times(a, b)
    assert interval.value == pytest.approx(scipy.stats.gmean(a) / scipy.stats.gmean(b))
    assert limits(interval) == pytest.approx((np.exp(test.low), np.exp(test.high)))


@pytest.mark.parametrize(("a", "b"), [([6.0], [2.0]), ([6.0], [2.0, 2.0]), ([3.0, 12.0], [2.0])])
def test_one_time_gives_no_interval(a, b):
    interval = ratio_of_times(a, b)
    assert interval.value == pytest.approx(3)
    assert limits(interval) == (0, np.inf)


def test_times_without_spread_give_a_point():
    assert limits(ratio_of_times([4.0, 4.0], [2.0, 2.0])) == (2.0, 2.0)


@pytest.mark.parametrize(("a", "b"), [([], [1.0]), ([1.0], []), ([0.0], [1.0]), ([1.0], [2.0, -1.0])])
def test_what_is_no_time_is_refused(a, b):
    with pytest.raises(ValueError, match=r"^times must be above 0, and one at least on each side; got \["):
        ratio_of_times(a, b)


# Holm


def test_holm_on_a_known_example():
    """Holm's step-down by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, then no smaller than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_order_and_lies_between_the_raw_and_bonferroni(p_values):
    adjusted = holm(p_values)
    assert all(p <= q <= min(1, p * len(p_values)) + 1e-12 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values)
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_holm_keeps_the_familywise_error():
    """Of 5 true hypotheses, any is rejected at 0.05 in at most 5 % of the trials (4 standard deviations: 7 %)."""
    random = np.random.default_rng(8)
    rejected = [min(holm(random.random(5).tolist())) <= 0.05 for _ in range(2000)]
    assert 0.03 < np.mean(rejected) < 0.07
