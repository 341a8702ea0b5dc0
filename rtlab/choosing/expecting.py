"""What a way would score on many more sentences than it was compared on.

On 112 sentences what is right and wrong tells two ways apart to within four points. How far a sentence is from another
label tells more. Logits, divided by one temperature and moved by a bias for each class, those that fit these sentences
best, say how probably each label is right, and so what the metric should come to. That varies less from one draw of
sentences to another, but is off by about a point however many there are. So both count: what was scored as much as
there are sentences, what is to be expected as much as `WORTH` of them. On recorded runs that comes nearer to the
difference of two ways than the score alone where sentences are few, and about as near where there are a thousand
(bench/test_choosing.py).

Shapes: N sentences, C classes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from rtlab.recipe import ChoiceMetric
from rtlab.records import Predictions

WORTH = 500  # sentences
LARGEST = 8.0  # logarithm of a factor, and bias


def estimate(score: float, expected: float, sentences: int) -> float:
    """What a way scored, and what it is expected to, weighed against each other; to a hundredth of a point.

    Temperatures are found to less than that, so what is closer is equal.

    Args:
        score: The metric on some sentences.
        expected: What it should be on these, as `expected_score`.
        sentences: Their number.
    """
    return round((sentences * score + WORTH * expected) / (sentences + WORTH), 4)


def probabilities_of(said: Predictions) -> NDArray[np.float64]:
    """How probable each label is, (N, C), at the temperature and the biases that fit these sentences best.

    Where all are labelled rightly, that is sure; of equal logits each is as probable. Large biases count against a fit,
    by a normal distribution of them about 0, so that few sentences move them little.

    Source:
        Alexandari, Kundaje and Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label
        shift adaptation", 2020: without a bias, classes of very different size are expected to be what they are not.
    """
    largest = said.logits.max(axis=1, keepdims=True)
    below_NC = (said.logits - largest).astype(np.float64)
    below_NC /= -below_NC.mean() or 1.0  # whatever the size of logits
    rows, labels_N, (many, classes) = np.arange(len(said.labels)), said.labels, below_NC.shape
    if not below_NC[rows, labels_N].any():
        top_NC = below_NC == 0
        return np.asarray(top_NC / top_NC.sum(axis=1, keepdims=True))

    def log_loss(of: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """And its gradient, by the logarithm of what logits are multiplied by, and by all biases but the first."""
        factor, biases = np.exp(of[0]), of[1:]
        log_NC = log_softmax(factor * below_NC + np.append(0.0, biases), axis=1)
        by_NC = np.exp(log_NC)
        by_NC[rows, labels_N] -= 1
        loss = -log_NC[rows, labels_N].sum() + np.vdot(biases, biases) / 2
        gradient = np.append(factor * np.vdot(by_NC, below_NC), by_NC.sum(axis=0)[1:] + biases)
        return float(loss / many), gradient / many

    found = minimize(log_loss, np.zeros(classes), jac=True, bounds=[(-LARGEST, LARGEST)] * classes).x
    return np.asarray(softmax(np.exp(found[0]) * below_NC + np.append(0.0, found[1:]), axis=1))


def expected_score(
    labels_N: NDArray[np.integer],
    said_N: NDArray[np.integer],
    probabilities_NC: NDArray[np.float64],
    metric: ChoiceMetric,
) -> float:
    """What the metric comes to if each label is as probable as that.

    Args:
        labels_N: Classes, of which macro-F1 takes those that occur.
        said_N: What the way says they are.
        probabilities_NC: As of `probabilities_of`.
        metric: What is counted.
    """
    if metric == "accuracy":
        return float(probabilities_NC[np.arange(len(said_N)), said_N].mean())
    f1 = []
    for label in np.unique(labels_N):
        meant = (said_N == label).sum() + probabilities_NC[:, label].sum()
        f1.append(2 * probabilities_NC[said_N == label, label].sum() / (meant or 1.0))  # 0 if nobody means it
    return float(np.mean(f1))
