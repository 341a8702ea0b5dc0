"""Scores, held against scikit-learn's."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from rtlab.metrics import ClassScores, Scores, expected_calibration_error, scores


@st.composite
def labelled(draw, most=6):
    """Number of classes, labels and predictions; classes may be missing from either."""
    classes = draw(st.integers(2, most))
    pairs = draw(st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=50))
    return classes, [label for label, _ in pairs], [prediction for _, prediction in pairs]


def reference(num_labels, labels, predictions):
    """scikit-learn's scores: of class 1 with two classes, the mean over all classes with more."""
    kind = {"labels": [1]} if num_labels == 2 else {"labels": list(range(num_labels))}
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predictions, average="macro", zero_division=0, **kind
    )
    return {"accuracy": accuracy_score(labels, predictions), "precision": precision, "recall": recall, "f1": f1}


@given(labelled())
@example((2, [0, 0], [0, 0]))  # neither true nor predicted
@example((2, [0, 0], [1, 1]))  # never right
@example((2, [1], [1]))
@example((3, [0, 1], [1, 0]))  # a class in neither
@example((4, [0, 1, 2, 2], [0, 1, 2, 2]))  # all right, one class missing
def test_scores_are_scikit_learns(drawn):
    num_labels, labels, predictions = drawn
    ours = scores(labels, predictions, num_labels=num_labels)
    theirs = reference(num_labels, labels, predictions)
    assert {name: getattr(ours, name) for name in theirs} == pytest.approx(theirs, abs=1e-12)


@given(labelled())
@example((2, [0, 0], [1, 1]))
@example((3, [0, 1], [1, 0]))  # a class in neither
def test_scores_by_class_are_scikit_learns_and_follow_from_the_confusion_matrix(drawn):
    num_labels, labels, predictions = drawn
    ours, every = scores(labels, predictions, num_labels=num_labels), list(range(num_labels))
    theirs = precision_recall_fscore_support(labels, predictions, labels=every, zero_division=0)
    assert [dataclasses.astuple(of_class) for of_class in ours.by_class] == [
        pytest.approx(row, abs=1e-12) for row in zip(*theirs, strict=True)
    ]
    assert ours.macro_f1 == pytest.approx(np.mean(theirs[2]), abs=1e-12)
    assert np.array_equal(ours.confusion, confusion_matrix(labels, predictions, labels=every))


@given(labelled(most=2))
def test_two_classes_are_scored_as_scikit_learns_binary_average(drawn):
    _, labels, predictions = drawn
    ours = scores(labels, predictions, num_labels=2)
    theirs = precision_recall_fscore_support(labels, predictions, average="binary", zero_division=0)
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx(theirs[:3], abs=1e-12)


def test_scores_of_a_small_case():
    found = scores([1, 1, 1, 0, 0], [1, 0, 0, 1, 0], num_labels=2)
    assert vars(found) == vars(
        Scores(
            accuracy=0.4,
            precision=0.5,
            recall=1 / 3,
            f1=0.4,
            macro_f1=0.4,
            by_class=(
                ClassScores(precision=1 / 3, recall=0.5, f1=0.4, support=2),
                ClassScores(precision=0.5, recall=1 / 3, f1=0.4, support=3),
            ),
            confusion=((1, 1), (2, 1)),
        )
    )


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda values: np.array(values, dtype=np.int8)])
def test_any_sequence_will_do_and_scores_are_plain_floats(kind):
    many = [0, 1, 15, 15] * 10  # 16 classes: 8 bits do not hold the square of their number
    found = scores(kind(many), kind(many[::-1]), num_labels=16)
    assert found == scores(many, many[::-1], num_labels=16)
    assert {type(value) for name, value in vars(found).items() if name not in ("by_class", "confusion")} == {float}
    assert {type(value) for of_class in found.by_class for value in dataclasses.astuple(of_class)} == {float, int}
    assert {type(count) for row in found.confusion for count in row} == {int}


@pytest.mark.parametrize(
    ("labels", "predictions", "shapes"),
    [
        ([], [], r"\(0,\) and \(0,\)"),
        ([1], [1, 0], r"\(1,\) and \(2,\)"),
        ([0, 1], [1], r"\(2,\) and \(1,\)"),
        ([[0, 1]], [[0, 1]], r"\(1, 2\) and \(1, 2\)"),
        (1, 1, r"\(\) and \(\)"),
    ],
)
def test_labels_and_predictions_are_sequences_of_one_length(labels, predictions, shapes):
    with pytest.raises(
        ValueError, match=rf"^labels and predictions must be .* one length above 0; got shapes {shapes}$"
    ):
        scores(labels, predictions, num_labels=2)


@pytest.mark.parametrize(
    ("labels", "predictions", "num_labels"),
    [([0, 2], [0, 1], 2), ([0, 1], [0, 2], 2), ([-1, 0], [0, 0], 3), ([0, 0], [0, -1], 3), ([0], [0], 1)],
)
def test_classes_are_among_those_there_are(labels, predictions, num_labels):
    with pytest.raises(ValueError, match=rf"^classes must lie in 0 … .* at least 2; got num_labels={num_labels}$"):
        scores(labels, predictions, num_labels=num_labels)


# Calibration


def slow_calibration_error(labels, logits, temperature):
    """Sentence by sentence, and bin by bin."""
    surest, right = [], []
    for label, row in zip(labels, logits, strict=True):
        shares = np.exp([(value - max(row)) / temperature for value in row])
        surest.append(max(shares) / sum(shares))
        right.append(row.index(max(row)) == label)
    error = 0.0
    for number in range(15):
        inside = [n for n, one in enumerate(surest) if number / 15 < one <= (number + 1) / 15]
        if inside:
            of_bin = np.mean([right[n] for n in inside]) - np.mean([surest[n] for n in inside])
            error += len(inside) / len(labels) * abs(of_bin)
    return error


@st.composite
def scored(draw):
    """Labels, and logits of up to 5 classes, ties among them."""
    classes = draw(st.integers(2, 5))
    rows = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=classes, max_size=classes)
    pairs = draw(st.lists(st.tuples(st.integers(0, classes - 1), rows), min_size=1, max_size=40))
    return [label for label, _ in pairs], [row for _, row in pairs]


@given(scored(), st.sampled_from([0.007, 0.5, 1.0, 3.0, 140.0]))
def test_the_calibration_error_is_that_of_a_loop_over_bins(drawn, temperature):
    labels, logits = drawn
    found = expected_calibration_error(labels, logits, temperature=temperature)
    assert found == pytest.approx(slow_calibration_error(labels, logits, temperature), abs=1e-12)


def test_the_calibration_error_of_known_probabilities():
    """Of four sentences at 3/4 three are right: none. Sure and always wrong: all. Two bins count by their sentences."""
    three_to_one = [[np.log(3.0), 0.0]]
    assert expected_calibration_error([0, 0, 0, 1], three_to_one * 4) == pytest.approx(0)
    assert expected_calibration_error([1, 1], [[1e4, -1e4]] * 2) == 1
    assert expected_calibration_error([0, 1, 1], [*three_to_one, [0, 1e4], [0, 1e4]]) == pytest.approx(0.25 / 3)
    assert expected_calibration_error([0], three_to_one) == pytest.approx(0.25)


def test_a_probability_at_the_edge_of_two_bins_is_of_the_lower():
    """A fifth, which is right, and a quarter, which is wrong: in one bin they would make up for each other."""
    fifth, quarter = [0.0] * 5, [np.log(4 / 3), 0.0, 0.0, 0.0, 0.0]
    assert expected_calibration_error([0, 1], [fifth, quarter]) == pytest.approx((0.8 + 0.25) / 2)


def test_at_a_tiny_temperature_all_are_sure_and_labels_are_the_same():
    draws = np.random.default_rng(0)
    labels_N, logits_NC = draws.integers(0, 3, size=50), draws.normal(size=(50, 3))
    wrong = np.mean(logits_NC.argmax(axis=1) != labels_N)
    assert expected_calibration_error(labels_N, logits_NC, temperature=1e-9) == pytest.approx(wrong)
