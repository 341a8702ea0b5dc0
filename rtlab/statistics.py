"""How sure a number is: bootstrap intervals, exact McNemar, Welch's interval for ratios, Holm; scipy does the work.

A score has two sources of chance, the sentences that it was measured on and the seed that it was trained with, and
the intervals here resample both. Accuracy and F1 are functions of sums over sentences, and a resampling of sentences
is a weighting of them; so all resamplings of any number of scores are one matrix product. The weights depend on the
number of sentences alone and are kept, so scores of one split are resampled alike, which pairs them.

Shapes: S seeds, N sentences, R resamplings, F features summed over sentences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtrit  # not scipy.stats, whose import takes as long as building the tables

DRAWS = 2000  # Efron and Tibshirani (1993), section 14.2: an interval wants 1,000 or more
CONFIDENCE = 0.95

_BLOCK = 2**22  # weights computed at once: 16 MB


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


def accuracy_interval(correct_SN: NDArray[np.bool_]) -> Interval:
    """Mean accuracy over seeds with a percentile bootstrap interval over sentences and seeds.

    Args:
        correct_SN: Whether each of N sentences was labelled rightly, under each of S seeds.

    Source:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    return accuracy_intervals([correct_SN])[0]


def accuracy_intervals(several: Sequence[NDArray[np.bool_]]) -> list[Interval]:
    """`accuracy_interval` of each of several (S, N), in one matrix product for each N.

    400 intervals over 1,066 sentences and 5 seeds take 0.15 to 0.6 s together, 4.3 to 6.7 s one by one (2 CPU cores,
    busy with other work, n = 10): so small a product gains nothing from threads that have to wait for each other.
    """
    found: dict[int, Interval] = {}
    for sentences in {correct_SN.shape[1] for correct_SN in several}:
        chosen = [number for number, correct_SN in enumerate(several) if correct_SN.shape[1] == sentences]
        accuracies = _accuracies(np.vstack([several[number] for number in chosen]))
        ends = np.cumsum([len(several[number]) for number in chosen])
        for number, accuracies_RS in zip(chosen, np.split(accuracies, ends[:-1], axis=1), strict=True):
            found[number] = _interval(_over_seeds(accuracies_RS))
    return [found[number] for number in range(len(several))]


def paired_difference(a_SN: NDArray[np.bool_], b_SN: NDArray[np.bool_]) -> Interval:
    """Difference of mean accuracies, a - b, on the same sentences; both are resampled with the same sentences.

    Args:
        a_SN: Whether each sentence was labelled rightly by `a`, (S_a, N).
        b_SN: The same by `b`, (S_b, N); the numbers of seeds may differ, and seeds are resampled independently.

    Raises:
        ValueError: If the two were not measured on the same number of sentences.

    Source:
        Berg-Kirkpatrick, Burkett and Klein, "An Empirical Investigation of Statistical Significance in NLP", 2012.
    """
    _same_sentences(a_SN, b_SN)
    return _interval(_over_seeds(_accuracies(a_SN)) - _over_seeds(_accuracies(b_SN), stream=1))


def paired_f1_difference(
    labels_N: NDArray[np.integer], a_SN: NDArray[np.integer], b_SN: NDArray[np.integer], *, num_labels: int
) -> Interval:
    """Difference of mean F1, a - b, on the same sentences, resampled as in `paired_difference`.

    F1 is that of `rtlab.metrics.scores`: of class 1 with two classes, the mean over classes with more.

    Args:
        labels_N: True classes, (N,).
        a_SN: Classes that `a` predicts under each of its seeds, (S_a, N).
        b_SN: The same of `b`, (S_b, N).
        num_labels: Number of classes, at least 2.

    Raises:
        ValueError: If they are not of the same number of sentences.

    Source:
        As of `paired_difference`.
    """
    _same_sentences(a_SN, b_SN)
    _same_sentences(a_SN, labels_N[None])
    draws_R = _over_seeds(_f1s(labels_N, a_SN, num_labels)) - _over_seeds(_f1s(labels_N, b_SN, num_labels), stream=1)
    return _interval(draws_R)


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value that two classifiers err equally often on the same N sentences.

    With one seed each, McNemar's test in its exact, binomial form. With several, its generalisation by randomisation:
    were `a` and `b` exchangeable, each sentence's difference in the share of seeds that label it rightly would be as
    likely with the opposite sign, and p is the share of all 2^N choices of signs whose sum lies as far from 0 as the
    one seen, counted exactly. A majority vote over seeds would test another thing, the ensemble, and would need a rule
    for ties. Seeds stand as they are; `paired_difference` resamples them too.

    Args:
        a: Whether each sentence was labelled rightly by `a`, (N,) or, with seeds, (S_a, N).
        b: The same by `b`, (N,) or (S_b, N).

    Raises:
        ValueError: If the two were not measured on the same number of sentences.

    Source:
        McNemar, "Note on the sampling error of the difference between correlated proportions", 1947; Fisher, "The
        Design of Experiments", 1935, section 21; for NLP: Dror et al., "The Hitchhiker's Guide to Testing Statistical
        Significance in Natural Language Processing", 2018.
    """
    a_SN, b_SN = np.atleast_2d(a), np.atleast_2d(b)
    _same_sentences(a_SN, b_SN)
    gains_N = len(b_SN) * a_SN.sum(axis=0, dtype=np.int64) - len(a_SN) * b_SN.sum(axis=0, dtype=np.int64)
    unit = max(1, int(np.gcd.reduce(gains_N)))
    sizes, counts = np.unique(np.abs(gains_N[gains_N != 0]) // unit, return_counts=True)
    chances = np.ones(1)  # of every sum of signed sizes so far, from the least to the greatest
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        sums = np.zeros(2 * size * count + 1)
        sums[:: 2 * size] = _coins(count)
        chances = np.convolve(chances, sums)
    distances = np.abs(np.arange(len(chances)) - len(chances) // 2)
    return min(1.0, float(chances[distances >= abs(int(gains_N.sum())) // unit].sum()))


def ratio_of_times(a_s: Sequence[float], b_s: Sequence[float]) -> Interval:
    """Ratio of geometric mean times, a / b, with Welch's t interval on the logarithms.

    With fewer than two times on either side there is no interval: it is then infinite downwards and upwards, as
    (0, inf).

    Args:
        a_s: Times of independent runs, each above 0.
        b_s: The same.

    Raises:
        ValueError: If there is no time on a side, or one that is not above 0.

    Source:
        Welch, "The generalization of 'Student's' problem when several different population variances are involved",
        1947; on logarithms, because a ratio of times is a difference of theirs.
    """
    if not a_s or not b_s or min(*a_s, *b_s) <= 0:
        raise ValueError(f"times must be above 0, and one at least on each side; got {list(a_s)} and {list(b_s)}")
    a, b = np.log(np.asarray(a_s)), np.log(np.asarray(b_s))
    value = float(np.exp(a.mean() - b.mean()))
    if min(len(a), len(b)) < 2:
        return Interval(value=value, low=0.0, high=float("inf"))
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return Interval(value=value, low=value, high=value)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    reach = float(np.exp(stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(va + vb)))
    return Interval(value=value, low=value / reach, high=value * reach)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the same order.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(np.minimum(1.0, p[order] * (len(p) - np.arange(len(p)))))
    result = np.empty(len(p))
    result[order] = adjusted
    return [float(value) for value in result]


def _accuracies(correct_SN: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Accuracy of every seed, first as measured, then under every resampling of the sentences: (1 + R, S)."""
    return np.asarray(_sums(correct_SN.astype(np.float32)) / correct_SN.shape[1])


def _f1s(labels_N: NDArray[np.integer], predicted_SN: NDArray[np.integer], num_labels: int) -> NDArray[np.float64]:
    """F1 of every seed, first as measured, then under every resampling of the sentences: (1 + R, S)."""
    classes = [1] if num_labels == 2 else range(num_labels)
    total = np.zeros((1 + DRAWS, len(predicted_SN)))
    for label in classes:
        true_N, said_SN = labels_N == label, predicted_SN == label
        sums = _sums(np.vstack([true_N[None], said_SN, said_SN & true_N]).astype(np.float32))
        true, said, right = np.split(sums, [1, 1 + len(said_SN)], axis=1)
        total += np.divide(2 * right, true + said, out=np.zeros_like(right), where=true + said > 0)
    return total / len(classes)


def _sums(features_FN: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of each feature over the sentences as measured, then over every resampling: (1 + R, F).

    Exact for features of 0 and 1: fp32 holds every whole number up to 2^24.
    """
    features_NF = np.ascontiguousarray(features_FN.T)
    parts = [weights @ features_NF for weights in _weights(len(features_NF))]
    return np.concatenate([features_NF.sum(axis=0, keepdims=True), *parts]).astype(np.float64)


def _weights(sentences: int) -> Iterator[NDArray[np.float32]]:
    """How often each sentence is drawn when as many are drawn with replacement, `DRAWS` times: blocks of (r, N)."""
    rows = max(1, _BLOCK // sentences)
    for start in range(0, DRAWS, rows):
        yield _block(sentences, start, min(rows, DRAWS - start))


@lru_cache(maxsize=4)  # validation and test of two data sets, at 16 MB each
def _block(sentences: int, start: int, rows: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng((sentences, start)).integers(sentences, size=(rows, sentences))
    cells = (drawn + sentences * np.arange(rows)[:, None]).ravel()
    return np.bincount(cells, minlength=rows * sentences).reshape(rows, sentences).astype(np.float32)


def _over_seeds(scores_RS: NDArray[np.float64], stream: int = 0) -> NDArray[np.float64]:
    """Mean over the seeds as they are, then over as many drawn with replacement, anew for each resampling: (1 + R,)."""
    means_R: NDArray[np.float64] = np.einsum("rs,rs->r", scores_RS, _seed_shares(scores_RS.shape[1], stream))
    return means_R


@lru_cache(maxsize=16)
def _seed_shares(seeds: int, stream: int) -> NDArray[np.float64]:
    counts = np.random.default_rng((seeds, stream)).multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    return np.asarray(np.concatenate([np.ones((1, seeds)), counts]) / seeds)


def _interval(draws_R: NDArray[np.float64]) -> Interval:
    """Percentile interval of draws behind the first, which is the score as measured."""
    low, high = np.quantile(draws_R[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=float(draws_R[0]), low=float(low), high=float(high))


def _coins(count: int) -> NDArray[np.float64]:
    """Chance of each number of heads in `count` throws of a fair coin, (count + 1,)."""
    heads = np.arange(count + 1)
    logarithms = gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1) - count * np.log(2)
    return np.asarray(np.exp(logarithms))


def _same_sentences(a_SN: NDArray[np.generic], b_SN: NDArray[np.generic]) -> None:
    if a_SN.shape[1] != b_SN.shape[1]:
        raise ValueError(f"both must be measured on the same sentences; got {a_SN.shape[1]} and {b_SN.shape[1]}")
