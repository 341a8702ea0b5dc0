"""What a way would score on many more sentences than it was compared on.

On 112 sentences what is right and wrong tells two ways apart to within four points. How far a sentence is from another
label tells more. Logits, divided by the one temperature that fits these sentences best, say how probably each label is
right, and so what the metric should come to. That varies less from one draw of sentences to another, but is off by
about a point however many there are. So both count: what was scored as much as there are sentences, what is to be
expected as much as `WORTH` of them. On recorded runs that comes nearer to the difference of two ways than the score
alone where sentences are few, and as near where there are a thousand (bench/test_choosing.py).

Shapes: N sentences, C classes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from rtlab.recipe import ChoiceMetric
from rtlab.records import Predictions
from rtlab.saved_models.calibrating import validation_temperature

WORTH = 500  # sentences


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
    """How probable each label is, (N, C), at the temperature that fits these sentences best.

    Where all are labelled rightly, that is sure; of equal logits each is as probable.
    """
    largest = said.logits.max(axis=1, keepdims=True)
    scale = float((largest - said.logits).mean()) or 1.0  # a temperature is looked for in the range of usual logits
    scaled = Predictions(labels=said.labels, logits=((said.logits - largest) / scale).astype(np.float32))
    temperature = validation_temperature(scaled)
    if temperature is None:
        top = said.logits == largest
        return np.asarray(top / top.sum(axis=1, keepdims=True))
    return np.asarray(softmax(scaled.logits.astype(np.float64) / temperature, axis=1))


def expected_score(labels_N: NDArray[np.integer], probabilities_NC: NDArray[np.float64], metric: ChoiceMetric) -> float:
    """What the metric comes to if each label is as probable as that.

    Args:
        labels_N: Classes, of which macro-F1 takes those that occur.
        probabilities_NC: As of `probabilities_of`.
        metric: What is counted.
    """
    if metric == "accuracy":
        return float(probabilities_NC.max(axis=1).mean())
    classes_N = probabilities_NC.argmax(axis=1)
    f1 = []
    for label in np.unique(labels_N):
        meant = (classes_N == label).sum() + probabilities_NC[:, label].sum()
        f1.append(2 * probabilities_NC[classes_N == label, label].sum() / (meant or 1.0))  # 0 if nobody means it
    return float(np.mean(f1))
