"""The temperature that a model is handed over with, and what becomes of the error of its probabilities."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from rtlab.engines.linear import fit_temperature
from rtlab.metrics import expected_calibration_error, log_loss
from rtlab.records import Predictions
from rtlab.saved_models.calibrating import calibrated, validation_temperature


def overconfident(seed, count=3000, classes=3, scale=3.0):
    """Labels drawn from a softmax, and its logits times a scale."""
    draws = np.random.default_rng(seed)
    logits_NC = draws.normal(size=(count, classes)) * 1.5
    labels_N = np.array([draws.choice(classes, p=row) for row in softmax(logits_NC, axis=1)], dtype=np.int32)
    return Predictions(labels=labels_N, logits=(logits_NC * scale).astype(np.float32))


def of(logits, labels):
    return Predictions(labels=np.array(labels, dtype=np.int32), logits=np.array(logits, dtype=np.float32))


def record(validation, test):
    return SimpleNamespace(predictions={"validation": validation, "test": test})


def test_a_temperature_of_validation_repairs_test():
    validation, test = overconfident(1), overconfident(2)
    found = calibrated(record(validation, test))
    assert (found.told, found.sentences) == (True, 3000)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.temperature == fit_temperature(validation.logits, validation.labels.astype(np.int64))
    for split, one in (("validation", validation), ("test", test)):
        before = expected_calibration_error(one.labels, one.logits)
        after = expected_calibration_error(one.labels, one.logits, temperature=found.temperature)
        assert (found.before[split], found.after[split]) == (before, after)
        assert (before > 0.1, after < 0.03) == (True, True)


UNTOLD = {
    "all of one class, and right": of([[3, -1], [2, 0], [9, 1]], [0, 0, 0]),
    "all right": of([[3, -1], [-2, 0]], [0, 1]),
    "one sentence, right": of([[0.1, 0]], [0]),
    "logits that are all the same": of([[1, 1], [1, 1]], [0, 1]),
    "logits of which all but one underflow": of([[1e4, -1e4], [-1e4, 1e4]], [0, 1]),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_where_validation_tells_no_temperature_logits_stay(name):
    found = calibrated(record(UNTOLD[name], overconfident(3)))
    assert (found.temperature, found.told) == (1, False)
    assert found.after == found.before
    assert all(0 <= error <= 1 for error in found.before.values())


CHANCE = {
    "one sentence, wrong": of([[0.1, 0]], [1]),
    "all wrong": of([[3, -1], [-2, 0]], [1, 0]),
    "no better than chance": of([[9, 0], [9, 0]], [0, 1]),
}


@pytest.mark.parametrize("name", CHANCE)
def test_where_labels_are_no_better_than_chance_nothing_is_sure(name):
    found = calibrated(record(CHANCE[name], CHANCE[name]))
    assert found.told
    assert found.temperature == pytest.approx(np.exp(5), rel=1e-3)
    surest = softmax(CHANCE[name].logits / found.temperature, axis=1).max()
    assert 0.5 <= surest < 0.52


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3)),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_the_logits_the_temperature_is_finite_and_no_worse_than_none(drawn):
    predictions = of([row for _, row in drawn], [label for label, _ in drawn])
    found = validation_temperature(predictions)
    if found is None:
        return
    assert np.exp(-5) <= found <= np.exp(5)
    logits_NC = predictions.logits.astype(np.float64)
    before, after = log_loss(predictions.labels, logits_NC), log_loss(predictions.labels, logits_NC / found)
    assert after <= before + 1e-6 * max(1, before)
