"""Accuracy, precision, recall, F1 and what they come from: pure functions of labels and predictions.

Written in numpy rather than taken from scikit-learn, so that tables can be rebuilt from records without it; the
tests hold them equal to scikit-learn's.
"""

from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
from numpy.typing import ArrayLike, NDArray

CALIBRATION_BINS = 15


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of one class against all others, each in [0, 1], and its support: the sentences that are of it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one split, each in [0, 1].

    Attributes:
        accuracy: Share of the sentences that were labelled rightly.
        precision: Of class 1 with two classes, the unweighted mean over classes with more (macro average).
        recall: Likewise.
        f1: Likewise.
        macro_f1: Mean of the classes' F1, with two classes too: where one of them is rare, it says more than accuracy.
        by_class: Scores of each class; empty where a record was read without its logits.
        confusion: How many sentences of each class (a row) were taken for each class, C × C; empty likewise.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    macro_f1: float | None = None
    by_class: tuple[ClassScores, ...] = field(default=(), compare=False)  # they follow from the predictions
    confusion: tuple[tuple[int, ...], ...] = field(default=(), compare=False)


def confusion(labels: ArrayLike, predictions: ArrayLike, *, num_labels: int) -> NDArray[np.int64]:
    """How many sentences of each class (a row) were taken for each class (a column), (C, C).

    Args:
        labels: True classes, (N,), each in 0 … num_labels - 1.
        predictions: Predicted classes, (N,), likewise.
        num_labels: Number of classes, C, at least 2.

    Raises:
        ValueError: If the two differ in length, are empty, or hold a class that is not there.
    """
    true_N = np.asarray(labels, dtype=np.int64)
    predicted_N = np.asarray(predictions, dtype=np.int64)
    if true_N.ndim != 1 or true_N.shape != predicted_N.shape or true_N.size == 0:
        raise ValueError(
            f"labels and predictions must be two sequences of one length above 0; "
            f"got shapes {true_N.shape} and {predicted_N.shape}"
        )
    if num_labels < 2 or min(true_N.min(), predicted_N.min()) < 0 or max(true_N.max(), predicted_N.max()) >= num_labels:
        raise ValueError(f"classes must lie in 0 … num_labels - 1 with num_labels at least 2; got {num_labels=}")
    return np.bincount(true_N * num_labels + predicted_N, minlength=num_labels**2).reshape(num_labels, num_labels)


def scores(labels: ArrayLike, predictions: ArrayLike, *, num_labels: int) -> Scores:
    """Scores of predicted classes against the true ones.

    A score whose denominator is 0 is 0, as in scikit-learn with `zero_division=0`. For the arguments and for what is
    raised see `confusion`.
    """
    hits_CC = confusion(labels, predictions, num_labels=num_labels)
    precision_C, recall_C, f1_C = class_scores(hits_CC)
    overall = itemgetter(1) if num_labels == 2 else np.mean
    by_class = zip(precision_C.tolist(), recall_C.tolist(), f1_C.tolist(), hits_CC.sum(axis=1).tolist(), strict=True)
    return Scores(
        accuracy=float(hits_CC.trace() / hits_CC.sum()),
        precision=float(overall(precision_C)),
        recall=float(overall(recall_C)),
        f1=float(overall(f1_C)),
        macro_f1=float(f1_C.mean()),
        by_class=tuple(ClassScores(precision=p, recall=r, f1=f, support=n) for p, r, f, n in by_class),
        confusion=tuple(map(tuple, hits_CC.tolist())),
    )


def log_loss(labels: ArrayLike, logits: ArrayLike) -> float:
    """Mean cross-entropy of logits, (N, C), at the true classes, (N,), in nats."""
    logits_NC = np.asarray(logits, dtype=np.float64)
    beyond_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    true_N = np.take_along_axis(beyond_NC, np.asarray(labels, dtype=np.int64)[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(beyond_NC).sum(axis=1)) - true_N).mean())


def expected_calibration_error(labels: ArrayLike, logits: ArrayLike, *, temperature: float = 1.0) -> float:
    """How far a model's probabilities are from what they promise: in the mean, |share that is right - probability|.

    Sentences are put in 15 bins of equal width by the probability of their most probable class, (0, 1/15] to
    (14/15, 1]; the mean of each bin's difference counts as often as it has sentences.

    Args:
        labels: True classes, (N,), one at least.
        logits: One score per class, (N, C), of which softmax makes probabilities.
        temperature: What they are divided by before; above 0.

    Returns:
        From 0, where each probability is the share that is right, to 1.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
    """
    logits_NC = np.asarray(logits, dtype=np.float64)
    beyond_NC = (logits_NC - logits_NC.max(axis=1, keepdims=True)) / temperature
    surest_N = 1 / np.exp(beyond_NC).sum(axis=1)
    right_N = logits_NC.argmax(axis=1) == np.asarray(labels, dtype=np.int64)
    bins_N = np.digitize(surest_N, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS, right=True)
    return float(np.abs(np.bincount(bins_N, weights=right_N - surest_N)).sum() / len(right_N))


def class_scores(hits_CC: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1 of each class, (C,) each, out of a confusion matrix; 0 where a denominator is 0."""
    right_C, true_C, said_C = hits_CC.diagonal(), hits_CC.sum(axis=1), hits_CC.sum(axis=0)
    return _ratio(right_C, said_C), _ratio(right_C, true_C), _ratio(2 * right_C, said_C + true_C)


def _ratio(numerator_C: NDArray[np.int64], denominator_C: NDArray[np.int64]) -> NDArray[np.float64]:
    return numerator_C / np.maximum(denominator_C, 1)  # where the denominator is 0, the numerator is so too
