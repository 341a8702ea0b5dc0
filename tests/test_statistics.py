"""Intervals and tests, against scipy, against counting by hand, and by simulation."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit

from rtlab.metrics import scores
from rtlab.statistics import (
    Interval,
    accuracy_interval,
    deviation_interval,
    equal,
    holm,
    mcnemar,
    mean_interval,
    paired_difference,
    paired_f1_difference,
    ratio_of_times,
    seeds_to_tell,
)

BOTH = "sentences and seeds"


def right(accuracy, *, seeds=1, sentences=1066, random=None):
    random = random or np.random.default_rng((int(1000 * accuracy), seeds, sentences))
    return random.random((seeds, sentences)) < accuracy


def limits(interval):
    return interval.low, interval.high


def width(interval):
    return interval.high - interval.low


# What an interval lets one say


def test_limits_that_are_not_known_are_null_in_json():
    known = Interval(value=0.05, low=0.01, high=0.09, over=BOTH)
    assert known.to_json() == {"value": 0.05, "low": 0.01, "high": 0.09, "over": BOTH}
    for interval in (ratio_of_times([2.0], [1.0]), mean_interval([2.0])):
        assert interval.to_json() == {"value": 2.0, "low": None, "high": None, "over": "nothing"}


def test_a_figure_without_chance_is_over_nothing():
    assert Interval(value=2, low=2, high=2).over == "nothing"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.02, 0.02, "equal"),
        (0.001, 0.019, "equal"),  # 0 lies outside: a difference, but too small to matter
        (-0.021, 0.01, "not shown"),
        (-0.01, 0.021, "not shown"),
        (-0.05, 0.05, "not shown"),
        (0.01, 0.05, "not shown"),
        (0.02, 0.05, "not shown"),
        (0.021, 0.05, "not equal"),
        (-0.05, -0.021, "not equal"),
    ],
)
def test_equal_is_what_lies_within_the_margin_whole(low, high, verdict):
    difference = Interval(value=(low + high) / 2, low=low, high=high, over=BOTH)
    assert equal(difference) == verdict
    assert equal(dataclasses.replace(difference, over="sentences")) == "not shown"


def test_equality_depends_on_the_margin():
    difference = Interval(value=0, low=-0.03, high=0.03, over=BOTH)
    assert [equal(difference, margin=margin) for margin in (0.029, 0.03)] == ["not shown", "equal"]


# Accuracy


def test_the_value_is_the_mean_accuracy_over_seeds():
    correct = np.array([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=bool)
    assert accuracy_interval(correct).value == 0.5


@pytest.mark.parametrize("accuracy", [0.5, 0.8, 0.97])
def test_with_one_seed_the_interval_is_nearly_wilsons(accuracy):
    correct = right(accuracy)
    wilson = scipy.stats.binomtest(int(correct.sum()), 1066).proportion_ci(0.95, method="wilson")
    interval = accuracy_interval(correct)
    assert limits(interval) == pytest.approx((wilson.low, wilson.high), abs=0.001)
    assert interval.over == "sentences"


def test_with_one_seed_it_is_students_with_four_sentences_more():
    correct = right(0.7, sentences=30)
    more = np.append(correct[0], [True, True, False, False])
    student = scipy.stats.ttest_1samp(more.astype(float), 0).confidence_interval(0.95)
    assert limits(accuracy_interval(correct)) == pytest.approx((student.low, student.high))


def by_hand(sides, added):
    """Limits from a table of the analysis of variance, cell by cell: one method, or two whose difference is meant."""
    sentences = len(sides[0][0])
    means = [
        sum(sign * np.mean([row[n] for row in side]) for sign, side in zip((1, -1), sides, strict=False))
        for n in range(sentences)
    ]
    means += added
    parts = [(np.var(means, ddof=1) / len(means), len(means) - 1)]
    variance = parts[0][0]
    for side in sides:
        seeds, whole = len(side), np.mean(side)
        by_seed, by_sentence = (
            [np.mean(row) for row in side],
            [np.mean([row[n] for row in side]) for n in range(sentences)],
        )
        remainder = 0.0
        for s, n in itertools.product(range(seeds), range(sentences)):
            remainder += (side[s][n] - by_seed[s] - by_sentence[n] + whole) ** 2
        remainder /= (seeds - 1) * (sentences - 1)
        of_seeds = sentences * sum((one - whole) ** 2 for one in by_seed) / (seeds - 1)
        variance += max(0.0, of_seeds - remainder) / (seeds * sentences)
        parts.append((of_seeds / (seeds * sentences), seeds - 1))
    freedom = max(variance**2 / sum(part**2 / own for part, own in parts), min(own for _, own in parts))
    return np.clip(scipy.stats.t.interval(0.95, freedom, np.mean(means), np.sqrt(variance)), 1 - len(sides), 1)


@pytest.mark.parametrize("chance", ["seeds differ", "seeds differ less than they would by luck"])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_is_that_of_an_analysis_of_variance_by_hand(seeds, chance):
    spread = 0.1 if chance == "seeds differ" else 0.0
    random = np.random.default_rng(seeds)
    correct = np.vstack([right(0.6 + spread * seed, sentences=60, random=random) for seed in range(seeds)])
    if not spread:
        correct = np.stack([np.roll(correct[0], 7 * seed) for seed in range(seeds)])  # one accuracy, other sentences
    interval = accuracy_interval(correct)
    assert limits(interval) == pytest.approx(by_hand([correct], [1, 1, 0, 0]), rel=1e-9)
    assert interval.over == BOTH


def test_with_many_sentences_the_interval_is_students_over_seeds():
    correct = np.vstack([right(accuracy, sentences=20_000) for accuracy in (0.60, 0.70, 0.65)])
    student = scipy.stats.t.interval(0.95, 2, correct.mean(), scipy.stats.sem(correct.mean(axis=1)))
    assert limits(accuracy_interval(correct)) == pytest.approx(student, abs=0.003)


def test_seeds_that_agree_are_as_one():
    one = right(0.8)
    several = accuracy_interval(np.repeat(one, 5, axis=0))
    assert limits(several) == pytest.approx(limits(accuracy_interval(one)))
    assert several.over == BOTH


def test_what_has_no_chance_has_the_interval_of_its_sentences_and_covers_seeds():
    one = right(0.8)
    interval = accuracy_interval(one, chance=False)
    assert limits(interval) == limits(accuracy_interval(one))
    assert interval.over == BOTH


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("sentences", [1, 2, 20, 1066])
@pytest.mark.parametrize("always", [True, False])
def test_no_accuracy_is_known_for_sure(always, sentences, seeds):
    interval = accuracy_interval(np.full((seeds, sentences), always))
    assert interval.value == always
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert width(interval) > 3 / (sentences + 3)  # the rule of three: none wrong of n leaves 3 / n


def test_one_sentence_says_next_to_nothing():
    assert limits(accuracy_interval(np.array([[True], [False], [True]]))) == (0, 1)
    assert limits(paired_difference(np.array([[True]]), np.array([[False]]))) == (-1, 1)


# Differences


def test_a_difference_is_that_of_the_means():
    a = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], dtype=bool)
    b = np.array([[0, 1, 0, 0]], dtype=bool)
    assert paired_difference(a, b).value == 0.5
    assert paired_difference(b, a).value == -0.5


def test_two_that_agree_everywhere_may_still_differ():
    """As if one sentence in a thousand had told them apart."""
    one = right(0.8)
    interval = paired_difference(one, one)
    assert interval.value == 0
    assert interval.high == -interval.low == pytest.approx(1.96 / 1067, rel=0.01)


def test_one_pair_has_students_paired_interval():
    random = np.random.default_rng(1)
    a, b = right(0.8, random=random), right(0.75, random=random)
    interval = paired_difference(a, b)
    student = scipy.stats.ttest_rel(a[0].astype(float), b[0].astype(float)).confidence_interval(0.95)
    assert limits(interval) == pytest.approx((student.low, student.high), abs=0.0005)
    assert interval.over == "sentences"


@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(3, 3), (5, 2)])
def test_a_difference_has_the_interval_of_an_analysis_of_variance_by_hand(seeds_a, seeds_b):
    random = np.random.default_rng(seeds_a)
    a, b = (
        np.vstack([right(base + 0.08 * seed, sentences=50, random=random) for seed in range(seeds)])
        for base, seeds in ((0.5, seeds_a), (0.6, seeds_b))
    )
    wanted = by_hand([a, b], [math.sqrt(0.5), -math.sqrt(0.5)])
    interval = paired_difference(a, b)
    assert limits(interval) == pytest.approx(wanted, rel=1e-9)
    assert interval.over == BOTH
    assert limits(paired_difference(b, a)) == pytest.approx((-interval.high, -interval.low))


def test_pairing_makes_the_interval_narrower():
    """Two that err on the same sentences but for 20: apart, each has its sentences' chance for itself."""
    a = right(0.8)
    b = a.copy()
    b[0, :20] ^= True
    assert width(paired_difference(a, b)) < np.hypot(width(accuracy_interval(a)), width(accuracy_interval(b))) / 3


def test_seeds_of_the_two_are_not_paired():
    """One seed in two is always right, for both; paired by seed there would be no difference at all."""
    halves = np.repeat([[True], [False]], 30, axis=1)
    assert limits(paired_difference(halves, halves)) == (-1.0, 1.0)


def test_two_with_seeds_far_apart_from_each_other_stay_within_what_is_possible():
    a, b = right(0.99, seeds=2, sentences=20), right(0.02, seeds=2, sentences=20)
    assert paired_difference(a, b).high == 1
    assert paired_difference(b, a).low == -1


@pytest.mark.parametrize(
    ("seeds_a", "a_chance", "seeds_b", "b_chance", "over"),
    [
        (5, True, 5, True, BOTH),
        (2, True, 5, True, BOTH),
        (5, True, 1, False, BOTH),
        (1, False, 5, True, BOTH),
        (1, False, 1, False, BOTH),
        (1, True, 5, True, "sentences"),
        (5, True, 1, True, "sentences"),
        (1, True, 1, False, "sentences"),
    ],
)
def test_it_says_whether_the_seeds_are_covered(seeds_a, a_chance, seeds_b, b_chance, over):
    a, b = right(0.9, seeds=seeds_a), right(0.5, seeds=seeds_b)
    interval = paired_difference(a, b, a_chance=a_chance, b_chance=b_chance)
    assert interval.over == over
    assert (
        paired_f1_difference(np.ones(1066, dtype=int), a, b, num_labels=2, a_chance=a_chance, b_chance=b_chance).over
        == over
    )


def test_what_is_without_chance_adds_no_seeds():
    a, svm = np.vstack([right(accuracy) for accuracy in (0.80, 0.85, 0.75)]), right(0.7)
    shaky = np.vstack([svm, right(0.6), right(0.8)])
    assert width(paired_difference(a, svm, b_chance=False)) < width(paired_difference(a, shaky))
    assert width(paired_difference(a, svm)) < width(paired_difference(a, svm, b_chance=False)) / 2


@pytest.mark.parametrize("compare", [paired_difference, mcnemar])
def test_other_sentences_are_refused(compare):
    with pytest.raises(ValueError, match=r"^both must be measured on the same sentences; got 5 and 6$"):
        compare(np.ones((1, 5), dtype=bool), np.ones((1, 6), dtype=bool))


# Coverage, by simulation


MODELS = {  # of b beside a: how hard a sentence is, how alike for both, and the accuracy of b
    "one method": {"hardness": 9.5},
    "one method, sentences alike": {"hardness": 0.0},
    "two methods": {"hardness": 9.5, "alike": 0.95, "other": 0.79},
    "twice one method": {"hardness": 9.5, "alike": 1.0, "other": 0.8},
    "two methods, sentences alike": {"hardness": 0.0, "other": 0.79},
    "a method and one without chance": {"hardness": 9.5, "alike": 0.6, "other": 0.76, "other_chance": False},
}
NORMAL = scipy.stats.norm()
GRID = np.linspace(-8, 8, 3201)  # of a standard normal variable, for expectations


def expected(function, location, scale):
    return np.average(function(location + scale * GRID), weights=NORMAL.pdf(GRID))


class Method:
    """Whether a sentence is labelled rightly: logit-normal hardness of sentences, a normal shift by seed."""

    def __init__(self, accuracy, hardness, seed_deviation):
        self.location = brentq(lambda at: expected(expit, at, hardness) - accuracy, -40, 40)
        self.hardness = hardness
        slope = expected(lambda logit: expit(logit) * expit(-logit), self.location, hardness)
        self.shift = seed_deviation / slope
        self.accuracy = expected(expit, self.location, np.hypot(hardness, self.shift))

    def runs(self, hardness_RN, seeds, random):
        shift_RS1 = self.shift * random.standard_normal((len(hardness_RN), seeds, 1))
        chance_RSN = expit((self.location + self.hardness * hardness_RN[:, None] + shift_RS1).astype(np.float32))
        return random.random(chance_RSN.shape, dtype=np.float32) < chance_RSN


def coverage(seeds, deviation, draws, *, hardness, alike=0.0, other=None, other_chance=True, sentences=1066):
    """Share of the intervals that hold the expected accuracy, or difference, on new sentences under new seeds."""
    random = np.random.default_rng((seeds, int(1000 * deviation), draws))
    a = Method(0.8, hardness, deviation)
    b = None if other is None else Method(other, hardness, deviation if other_chance else 0.0)
    truth = a.accuracy - (b.accuracy if b else 0)
    covered = 0
    for _ in range(draws // 50):
        hard_RN = random.standard_normal((50, sentences))
        runs = [(one,) for one in a.runs(hard_RN, seeds, random)]
        if b:
            hard_RN = alike * hard_RN + np.sqrt(1 - alike**2) * random.standard_normal(hard_RN.shape)
            both = b.runs(hard_RN, seeds if other_chance else 1, random)
            runs = [(*one, two) for one, two in zip(runs, both, strict=True)]
        for run in runs:
            interval = paired_difference(*run, b_chance=other_chance) if b else accuracy_interval(*run)
            covered += interval.low <= truth <= interval.high
    return covered / draws


def test_the_simulated_runs_are_like_real_ones():
    """Seeds disagree on 12 % of the sentences of five runs, and their accuracies differ as they are told to."""
    random = np.random.default_rng(0)
    runs = Method(0.8, 9.5, 0.015).runs(random.standard_normal((200, 1066)), 5, random)
    assert (runs.any(axis=1) & ~runs.all(axis=1)).mean() == pytest.approx(0.12, abs=0.01)
    assert runs.mean() == pytest.approx(0.8, abs=0.01)
    assert runs.mean(axis=2).std(axis=1, ddof=1).mean() / 0.94 == pytest.approx(0.016, abs=0.002)  # 0.94: of n = 5


@pytest.mark.parametrize("model", ["one method", "twice one method"])
def test_five_seeds_cover_the_truth_as_often_as_they_say(model):
    """4 standard deviations of 600 simulations on either side of 94 to 98.5 % would be 90 and 100 %."""
    assert 0.91 <= coverage(5, 0.015, 600, **MODELS[model]) <= 0.99


@pytest.mark.thorough
@pytest.mark.parametrize("deviation", [0.0, 0.005, 0.015])
@pytest.mark.parametrize(("seeds", "least", "most"), [(5, 0.94, 0.985), (3, 0.92, 1.0)])
@pytest.mark.parametrize("model", MODELS)
def test_intervals_cover_the_truth_as_often_as_they_say(model, seeds, least, most, deviation):
    covered = coverage(seeds, deviation, 5000, **MODELS[model])
    assert least <= covered <= most


@pytest.mark.parametrize("sentences", [100, 1066])
@pytest.mark.parametrize("accuracy", [0.5, 0.8, 0.97, 0.99, 0.998])
def test_one_seed_covers_its_accuracy_near_1_too(accuracy, sentences):
    """Exactly, over all numbers of right sentences that count; an interval without added sentences falls to 18 %."""
    rights = np.arange(sentences + 1)
    chances = scipy.stats.binom.pmf(rights, sentences, accuracy)
    covered = 0.0
    for k in rights[chances > 1e-6]:
        low, high = limits(accuracy_interval((np.arange(sentences) < k)[None]))
        covered += chances[k] * (low <= accuracy <= high)
    assert covered >= 0.94


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
def test_one_pair_has_the_interval_of_a_paired_bootstrap_of_f1(classes):
    """Over sentences alone, a bootstrap of a thousand of them is right, and shares nothing with the influences."""
    random = np.random.default_rng(3)
    labels = random.integers(classes, size=500)
    a, b = (np.where(random.random(500) < p, labels, random.integers(classes, size=500)) for p in (0.8, 0.6))
    drawn = random.integers(500, size=(1000, 500))

    def f1(predicted):
        return np.array([scores(labels[rows], predicted[rows], num_labels=classes).f1 for rows in drawn])

    bootstrap = np.quantile(f1(a) - f1(b), [0.025, 0.975])
    interval = paired_f1_difference(labels, a[None], b[None], num_labels=classes)
    assert limits(interval) == pytest.approx(bootstrap, abs=0.01)


def test_of_f1_too_the_seeds_are_covered():
    """Seeds that differ by 20 points and more leave an interval that is Student's over seeds."""
    random = np.random.default_rng(6)
    labels = random.integers(2, size=5000)
    a, b = (
        np.stack([np.where(random.random(5000) < p, labels, 1 - labels) for p in side])
        for side in ((0.6, 0.8, 0.95), (0.5, 0.7, 0.9))
    )
    f1s = [[scores(labels, row, num_labels=2).f1 for row in side] for side in (a, b)]
    student = scipy.stats.ttest_ind(*f1s, equal_var=False).confidence_interval(0.95)
    assert limits(paired_f1_difference(labels, a, b, num_labels=2)) == pytest.approx(
        (student.low, student.high), abs=0.02
    )


def test_a_class_that_nobody_means_counts_as_0():
    labels, none = np.zeros(10, dtype=int), np.zeros((1, 10), dtype=int)
    assert paired_f1_difference(labels, none, none, num_labels=2).value == 0
    assert paired_f1_difference(labels, none, none, num_labels=3).value == 0


@pytest.mark.parametrize(("a", "b"), [(4, 4), (5, 4), (4, 5)])
def test_f1_of_other_sentences_is_refused(a, b):
    with pytest.raises(ValueError, match=r"^both must be measured on the same sentences; got "):
        paired_f1_difference(np.zeros(5), np.zeros((1, a)), np.zeros((1, b)), num_labels=2)


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


def test_seeds_that_agree_are_tested_as_one():
    a, b = discordant(12, 4)
    assert mcnemar(np.tile(a, (5, 1)), np.tile(b, (3, 1))) == pytest.approx(mcnemar(a, b), rel=1e-9)


def test_under_no_difference_small_p_values_are_as_rare_as_they_say():
    random = np.random.default_rng(5)
    p = [mcnemar(right(0.8, seeds=2, random=random), right(0.8, seeds=2, random=random)) for _ in range(400)]
    assert 0.005 < np.mean(np.array(p) <= 0.05) < 0.09


# Means and ratios of times


@pytest.mark.parametrize("values", [[1.0, 2.0], [3.0, 5.0, 4.0, 9.0]])
def test_a_mean_has_students_interval(values):
    interval = mean_interval(values)
    assert interval.value == np.mean(values)
    student = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert limits(interval) == pytest.approx(student)
    assert interval.over == "seeds"


def test_one_value_gives_no_interval():
    assert dataclasses.astuple(mean_interval([3.0])) == (3, -math.inf, math.inf, "nothing", 0)


def test_a_ratio_is_that_of_geometric_means_with_welchs_interval():
    a, b = [100.0, 110.0, 95.0], [20.0, 21.0, 24.0, 19.0]
    test = scipy.stats.ttest_ind(np.log(a), np.log(b), equal_var=False).confidence_interval(0.95)
    interval = ratio_of_times(a, b)
    assert interval.value == pytest.approx(scipy.stats.gmean(a) / scipy.stats.gmean(b))
    assert limits(interval) == pytest.approx((np.exp(test.low), np.exp(test.high)))
    assert interval.over == "seeds"


@pytest.mark.parametrize(("a", "b"), [([6.0], [2.0]), ([6.0], [2.0, 2.0]), ([3.0, 12.0], [2.0])])
def test_one_time_gives_no_interval(a, b):
    interval = ratio_of_times(a, b)
    assert interval.value == pytest.approx(3)
    assert limits(interval) == (0, np.inf)


def test_times_without_spread_give_a_point():
    assert dataclasses.astuple(ratio_of_times([4.0, 4.0], [2.0, 2.0])) == (2.0, 2.0, 2.0, "seeds", 0)


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


# How many seeds would tell


def test_the_seeds_that_would_tell_are_those_of_an_interval_that_just_fits():
    """Seeds contribute 0.03 of the reach at five, sentences 0.01: at 20 seeds what seeds contribute is half."""
    found = Interval(value=0.0, low=-math.hypot(0.03, 0.01), high=math.hypot(0.03, 0.01), over="seeds", remains=0.01)
    edge = math.hypot(0.015, 0.01)
    assert seeds_to_tell(found, -edge - 1e-9, edge + 1e-9, 5) in (20, 21)
    assert seeds_to_tell(found, -edge - 1e-9, 1, 5) in (20, 21)
    assert seeds_to_tell(found, -0.0101, 1, 5) > 1000
    assert seeds_to_tell(found, -0.01, 1, 5) is None  # sentences alone reach that far
    assert seeds_to_tell(found, 0.0, 1, 5) is None  # it lies on the edge itself


def test_an_estimate_outside_the_range_has_to_come_away_from_it():
    found = Interval(value=0.03, low=0.01, high=0.05, over="seeds")
    assert seeds_to_tell(found, -0.02, 0.02, 5) == 5 * 4 + 1
    below = Interval(value=-0.03, low=-0.05, high=-0.01, over="seeds")
    assert seeds_to_tell(below, -0.02, 0.02, 5) == 5 * 4 + 1


@pytest.mark.parametrize("seeds", [2, 5])
def test_what_remains_with_any_number_of_seeds_is_the_reach_over_sentences(seeds):
    """Where all seeds say the same, it is the whole reach; where sentences differ by seed alone, a small part."""
    random = np.random.default_rng(0)
    once = random.random((1, 1066)) < 0.8
    same = accuracy_interval(np.repeat(once, seeds, axis=0))
    assert same.remains == pytest.approx((same.high - same.low) / 2, rel=1e-6)
    restless = accuracy_interval(random.random((seeds, 1066)) < 0.8)
    assert restless.remains < 0.6 * (restless.high - restless.low) / 2


def test_a_deviation_has_the_chi_squared_interval():
    values = [[0.80, 0.81, 0.83], [0.70, 0.72, 0.71], [0.9]]
    found = deviation_interval(values)
    variance = (2 * np.var(values[0], ddof=1) + 2 * np.var(values[1], ddof=1)) / 4
    low, high = 4 * variance / scipy.stats.chi2.ppf([0.975, 0.025], 4)
    assert (found.value**2, found.low**2, found.high**2) == pytest.approx((variance, low, high))
    assert deviation_interval([[0.9], [0.8]]) is None
