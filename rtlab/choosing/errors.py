"""What a person should read of their data: the surest mistakes, and training labels that are probably wrong."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rtlab.choice import Mistake, Suspect
from rtlab.choosing.folds import folds_of_train
from rtlab.choosing.halving import ALL_OF_LEFT
from rtlab.choosing.results import FailedError
from rtlab.choosing.standing import Standing, score
from rtlab.choosing.trials import Trials
from rtlab.data import Splits
from rtlab.ending import StoppedError
from rtlab.records import Predictions, RunRecord
from rtlab.saved_models.calibrating import logits_of, validation_temperature


def find_mistakes(splits: Splits, record: RunRecord, number: int) -> tuple[Mistake, ...]:
    """The mistakes of a run on test of which it is surest, at most so many."""
    predictions = logits_of(record, "test")
    probabilities_NC = _probabilities(predictions, logits_of(record, "validation"))
    classes_N, rows_N = predictions.classes, np.arange(len(predictions.labels))
    wrong = rows_N[classes_N != predictions.labels]
    order = wrong[np.argsort(-probabilities_NC[wrong, classes_N[wrong]], kind="stable")]
    return tuple(
        Mistake(
            text=splits.test.texts[row],
            label=splits.label_names[int(predictions.labels[row])],
            predicted=splits.label_names[int(classes_N[row])],
            probability=float(probabilities_NC[row, classes_N[row]]),
        )
        for row in order[:number].tolist()
    )


def find_suspects(trials: Trials, standings: Sequence[Standing], number: int) -> tuple[Suspect, ...] | None:
    """Training sentences whose labels are probably wrong, the surest first, at most so many.

    The most accurate of the ways that are fitted labels each sentence after training on folds without it; `None` if
    there is no time for any. What is suspect then is confident learning's rule (`suspects`).
    """
    splits = trials.question.splits
    fitted = [one for one in standings if one.way.fitted and one.status == "finished"]
    for one in sorted(fitted, key=lambda one: -score(one.largest, "accuracy")):
        parts = folds_of_train(splits)
        cost = trials.cost_on(one.way, parts)
        if cost is None or cost > ALL_OF_LEFT * trials.left:
            continue
        try:
            found = trials.run_on(one.way, parts, seed=trials.question.usual.seed)
        except (FailedError, StoppedError):
            continue
        texts = [text for part in parts for text in part.splits.validation.texts]
        labels_N = found.held_out.labels
        probabilities_NC = _probabilities(found.held_out, found.held_out)
        return tuple(
            Suspect(
                text=texts[row],
                label=splits.label_names[int(labels_N[row])],
                probably=splits.label_names[label],
                probability=float(probabilities_NC[row, label]),
            )
            for row, label in suspects(probabilities_NC, labels_N)[:number]
        )
    return None


def suspects(probabilities_NC: NDArray[np.float64], labels_N: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Rows whose label is probably wrong, with what it probably is, the surest first.

    A class counts for a sentence where its probability is at least the mean that it has over the sentences labelled so;
    of those that count the most probable one is taken for true.

    Args:
        probabilities_NC: Of each class, by models that have not seen the sentence, (N, C).
        labels_N: What the sentences are labelled as, (N,).

    Source:
        Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", 2021; ranked by the
        normalised margin as there.
    """
    classes = probabilities_NC.shape[1]
    present = [label for label in range(classes) if (labels_N == label).any()]
    least_C = np.full(classes, np.inf)
    for label in present:
        least_C[label] = probabilities_NC[labels_N == label, label].mean()
    counting_NC = np.where(probabilities_NC >= least_C, probabilities_NC, -1.0)
    likely_N, rows_N = counting_NC.argmax(axis=1), np.arange(len(labels_N))
    margin_N = probabilities_NC[rows_N, likely_N] - probabilities_NC[rows_N, labels_N]
    found = rows_N[(counting_NC.max(axis=1) >= 0) & (likely_N != labels_N)]
    order = found[np.argsort(-margin_N[found], kind="stable")]
    return [(int(row), int(likely_N[row])) for row in order]


def _probabilities(of: Predictions, told_by: Predictions) -> NDArray[np.float64]:
    """Probabilities at the temperature that some sentences tell, (N, C)."""
    from scipy.special import softmax

    temperature = validation_temperature(told_by) or 1.0
    return np.asarray(softmax(of.logits.astype(np.float64) / temperature, axis=1))
