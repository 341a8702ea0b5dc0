"""What a way would score on many more sentences: by what it scored, and by how probable each of its labels is."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score

from rtlab.choosing.expecting import WORTH, estimate, expected_score, probabilities_of
from rtlab.records import Predictions


def of_margins(margins_N, labels_N, scale=1.0):
    """What a classifier of two classes says whose logits differ by so much."""
    logits_NC = scale * np.stack([-margins_N / 2, margins_N / 2], axis=1)
    return Predictions(labels=labels_N.astype(np.int32), logits=logits_NC.astype(np.float32))


def drawn(sentences, seed, sharpness=1.0):
    """Margins, and labels that are as probable as these say."""
    random = np.random.default_rng(seed)
    margins_N = sharpness * random.normal(size=sentences)
    return margins_N, (random.random(sentences) < expit(margins_N)).astype(np.int32)


@pytest.mark.parametrize("scale", [1e-6, 0.01, 1.0, 30.0, 1e6])
def test_probabilities_do_not_depend_on_how_large_logits_are(scale):
    margins_N, labels_N = drawn(5000, seed=1, sharpness=2.0)
    found = probabilities_of(of_margins(margins_N, labels_N, scale))[:, 1]
    np.testing.assert_allclose(found, expit(margins_N), atol=0.02)


def test_labels_that_are_all_right_are_sure():
    labels_N = np.array([0, 1, 1])
    said = of_margins(np.array([-0.1, 3.0, 0.2]), labels_N)
    np.testing.assert_array_equal(probabilities_of(said), np.eye(2)[labels_N])
    assert expected_score(labels_N, said.classes, probabilities_of(said), "accuracy") == 1.0


@pytest.mark.parametrize(("metric", "expected"), [("accuracy", 0.5), ("macro-f1", 1 / 3)])
def test_equal_logits_are_not_sure(metric, expected):
    """Though no label has a larger one than the right one."""
    labels_N = np.arange(40) % 2
    said = of_margins(np.zeros(40), labels_N)
    assert expected_score(labels_N, said.classes, probabilities_of(said), metric) == pytest.approx(expected)


def test_a_class_that_nobody_means_has_no_f1():
    probabilities_NC = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert expected_score(
        np.array([0, 1]), probabilities_NC.argmax(axis=1), probabilities_NC, "macro-f1"
    ) == pytest.approx(0.5)


def test_labels_no_better_than_chance_are_not_sure():
    random = np.random.default_rng(2)
    said = of_margins(random.normal(size=400), random.permutation(np.arange(400) % 2))
    assert expected_score(said.labels, said.classes, probabilities_of(said), "accuracy") == pytest.approx(0.5, abs=0.05)


def test_expected_accuracy_is_the_mean_probability_of_what_is_said():
    probabilities_NC = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
    assert expected_score(
        np.array([0, 1, 2]), probabilities_NC.argmax(axis=1), probabilities_NC, "accuracy"
    ) == pytest.approx(0.6)


def test_expected_macro_f1_is_that_of_labels_drawn_with_these_probabilities():
    random = np.random.default_rng(3)
    probabilities_NC = random.dirichlet((4.0, 1.0, 0.3), size=20_000)
    labels_N = np.array([random.choice(3, p=row) for row in probabilities_NC])
    found = expected_score(labels_N, probabilities_NC.argmax(axis=1), probabilities_NC, "macro-f1")
    assert found == pytest.approx(f1_score(labels_N, probabilities_NC.argmax(axis=1), average="macro"), abs=0.01)


def test_macro_f1_is_of_the_classes_that_occur():
    probabilities_NC = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    with_a_class_that_none_has = expected_score(
        np.array([0, 1]), probabilities_NC.argmax(axis=1), probabilities_NC, "macro-f1"
    )
    assert with_a_class_that_none_has == pytest.approx(2 * 0.8 / (1 + 0.9))


@pytest.mark.parametrize("metric", ["accuracy", "macro-f1"])
def test_classes_of_very_different_size_are_expected_to_be_what_they_are(metric):
    """Of a way that says the rare class too seldom one temperature alone would expect too much."""
    random = np.random.default_rng(4)
    margins_N = random.normal(size=20_000) - 3.0
    labels_N = (random.random(20_000) < expit(1.5 * (margins_N + 1.5))).astype(np.int32)
    said = of_margins(margins_N, labels_N)
    assert 0.05 < labels_N.mean() < 0.2
    found = expected_score(labels_N, said.classes, probabilities_of(said), metric)
    true = {
        "accuracy": (said.classes == labels_N).mean(),
        "macro-f1": f1_score(labels_N, said.classes, average="macro"),
    }
    assert found == pytest.approx(true[metric], abs=0.005)


def test_few_sentences_move_biases_little():
    """All of one class: the other may still be."""
    said = of_margins(np.full(20, 1.0), np.ones(20))
    said.logits[0] = said.logits[0][::-1]  # one is wrong
    assert 0.02 < probabilities_of(said)[1:, 0].min() < 0.2


def test_score_and_expectation_count_by_sentences():
    assert estimate(0.8, 0.7, WORTH) == 0.75
    assert estimate(0.8, 0.7, 1) == pytest.approx(0.7, abs=0.001)
    assert estimate(0.8, 0.7, 1000 * WORTH) == pytest.approx(0.8, abs=0.001)
    assert estimate(0.8, 0.80004, WORTH) == 0.8, "temperatures are known to no more"


def test_estimates_of_few_sentences_vary_less_than_their_scores():
    """By a tenth at least where probabilities are what they seem; and they are centred on the same."""
    scores, estimates = [], []
    for seed in range(300):
        margins_N, labels_N = drawn(112, seed, sharpness=2.0)
        said = of_margins(margins_N, labels_N)
        scores.append(float((said.classes == labels_N).mean()))
        expected = expected_score(labels_N, said.classes, probabilities_of(said), "accuracy")
        estimates.append(estimate(scores[-1], expected, len(labels_N)))
    assert np.std(estimates) < 0.9 * np.std(scores)
    assert np.mean(estimates) == pytest.approx(np.mean(scores), abs=0.01)
