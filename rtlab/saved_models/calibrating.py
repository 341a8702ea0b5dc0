"""How far a model's probabilities can be believed: a temperature out of validation, and what it does to their error.

Dividing logits by one temperature moves no label (Guo et al., "On Calibration of Modern Neural Networks", 2017).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rtlab.engines.linear import fit_temperature
from rtlab.metrics import expected_calibration_error
from rtlab.records import Predictions, RunRecord


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The temperature of a model, and its expected calibration error with and without it.

    Attributes:
        temperature: What its logits are divided by.
        told: Whether validation tells one; if not, it is 1.
        sentences: Of validation, which it was fitted on.
        before: Split to error of the probabilities at temperature 1.
        after: The same at this one.
    """

    temperature: float
    told: bool
    sentences: int
    before: Mapping[str, float]
    after: Mapping[str, float]


def calibrated(record: RunRecord) -> Calibration:
    """The temperature for the model of a run with a result, fitted on its validation split."""
    splits = {split: logits_of(record, split) for split in record.predictions}
    found = validation_temperature(splits["validation"])
    temperature = 1.0 if found is None else found
    before, after = (
        {split: expected_calibration_error(one.labels, one.logits, temperature=by) for split, one in splits.items()}
        for by in (1.0, temperature)
    )
    return Calibration(
        temperature=temperature,
        told=found is not None,
        sentences=len(splits["validation"].labels),
        before=before,
        after=after,
    )


def logits_of(record: RunRecord, split: str) -> Predictions:
    """What a run's own record says of a split."""
    found = record.predictions[split]
    assert isinstance(found, Predictions), "a run's own record has its logits"
    return found


def validation_temperature(predictions: Predictions) -> float | None:
    """The temperature of least log loss on these sentences, as `fit_temperature`; `None` where there is none.

    Where all are labelled rightly, each smaller temperature is better, and would promise a certainty that no number of
    sentences shows. Where labels are no better than chance, it is `fit_temperature`'s largest: then no class is sure.
    """
    logits_NC, labels_N = predictions.logits, predictions.labels
    if (logits_NC[range(len(labels_N)), labels_N] == logits_NC.max(axis=1)).all():
        return None
    return fit_temperature(logits_NC, labels_N.astype("int64"))
