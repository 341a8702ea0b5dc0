"""Accuracy, precision, recall and F1: pure functions of labels and predictions.

Written in numpy rather than taken from scikit-learn, so that tables can be rebuilt from records without it; the
tests hold them equal to scikit-learn's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one split, each in [0, 1]."""

    accuracy: float
    precision: float
    recall: float
    f1: float


def scores(labels: ArrayLike, predictions: ArrayLike, *, num_labels: int) -> Scores:
    """Scores of predicted classes against the true ones.

    With two classes, precision, recall and F1 are those of class 1; with more, the unweighted mean over classes
    (macro average). A score whose denominator is 0 is 0, as in scikit-learn with `zero_division=0`.

    Args:
        labels: True classes, (N,), each in 0 … num_labels - 1.
        predictions: Predicted classes, (N,), likewise.
        num_labels: Number of classes, at least 2.

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
    hits_CC = np.bincount(true_N * num_labels + predicted_N, minlength=num_labels**2).reshape(num_labels, num_labels)
    right_C = hits_CC.diagonal()
    precision_C = _ratio(right_C, hits_CC.sum(axis=0))
    recall_C = _ratio(right_C, hits_CC.sum(axis=1))
    f1_C = _ratio(2 * right_C, hits_CC.sum(axis=0) + hits_CC.sum(axis=1))
    classes = slice(1, 2) if num_labels == 2 else slice(None)
    return Scores(
        accuracy=float(right_C.sum() / true_N.size),
        precision=float(precision_C[classes].mean()),
        recall=float(recall_C[classes].mean()),
        f1=float(f1_C[classes].mean()),
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    ratio = np.zeros(len(numerator))
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
