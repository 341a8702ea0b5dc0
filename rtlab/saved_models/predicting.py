"""Labels and probabilities for sentences, from whatever `rtlab` has trained and saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtlab.saved_models.opening import LoadedModel, load_model
from rtlab.values import one_line, shown

WINDOW = 1024  # sentences that are computed at once, those of similar length together
NONE_GIVEN = "sentences must hold at least one; got none: give them as arguments, with --file, or on --file -"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one sentence.

    Attributes:
        text: The sentence.
        label: Name of the most probable class.
        probabilities: Name of each class to its probability; they add up to 1.
    """

    text: str
    label: str
    probabilities: Mapping[str, float]


class NotFiniteError(ArithmeticError):
    """A model's scores of a sentence are NaN or infinite: it has no label."""


def predict(model_dir: Path | str, sentences: Sequence[str], *, device: str | None = None) -> tuple[Prediction, ...]:
    """Label sentences with a saved model: words, an SVM, a fine-tuned encoder or an adapter.

    Args:
        model_dir: A directory that `rtlab` saved a model to.
        sentences: What to label.
        device: `cpu` or `cuda`; CUDA where there is one by default.

    Returns:
        One prediction per sentence, in order. Probabilities of an SVM, and of any model that `rtlab choose` saved,
        come from temperature scaling on its validation split (`rtlab.engines.linear.fit_temperature`).

    Raises:
        ValueError: If a sentence is no text, or the directory holds no such model, a damaged one, or its encoder is
            gone or another than it was trained on.
        NotFiniteError: If the model's scores of a sentence are NaN or infinite; the message names the first.
    """
    if isinstance(sentences, str):
        raise ValueError(f"sentences must be a list of texts; got one text, {shown(sentences)}")
    if not sentences:
        raise ValueError(NONE_GIVEN)
    for number, text in enumerate(sentences, start=1):
        check_text(f"sentences must be texts of valid Unicode; got for sentence {number}", text)
    found = []
    for number, (text, one) in enumerate(
        zip(sentences, label(load_model(model_dir, device=device), sentences), strict=True), start=1
    ):
        if one is None:
            raise not_finite(f"sentence {number}", text)
        found.append(one)
    return tuple(found)


def check_text(refusal: str, text: object) -> None:
    """Refuse (`ValueError`) what no tokenizer can read: no text, or one with half of a surrogate pair."""
    if not isinstance(text, str) or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError(f"{refusal} {shown(text)}")


def label(model: LoadedModel, sentences: Sequence[str]) -> tuple[Prediction | None, ...]:
    """Label sentences with a loaded model, a window of them at a time.

    Returns:
        One prediction per sentence, in order; `None` where the model's scores are NaN or infinite.
    """
    return tuple(
        _prediction(text, logits_C, model.description.label_names)
        for start in range(0, len(sentences), WINDOW)
        for text, logits_C in zip(
            sentences[start : start + WINDOW], model.logits(sentences[start : start + WINDOW]), strict=True
        )
    )


def not_finite(place: str, text: str) -> NotFiniteError:
    """The error for a sentence that `label` has no prediction for."""
    return NotFiniteError(f"the model's scores of {place} are not finite, so it has no label: {one_line(text)[:80]!r}")


def as_text(predictions: Sequence[Prediction]) -> str:
    """Predictions as a table for a terminal: label, its probability, sentence."""
    from tabulate import tabulate

    rows = [[one_line(p.label), f"{p.probabilities[p.label]:.3f}", one_line(p.text)] for p in predictions]
    return tabulate(rows, headers=["label", "probability", "sentence"], tablefmt="simple", disable_numparse=True)


def _prediction(text: str, logits_C: NDArray[np.float64], label_names: Sequence[str]) -> Prediction | None:
    from scipy.special import softmax

    if not np.isfinite(logits_C).all():
        return None
    probabilities_C = softmax(logits_C)
    return Prediction(
        text=text,
        label=label_names[int(probabilities_C.argmax())],
        probabilities=dict(zip(label_names, probabilities_C.tolist(), strict=True)),
    )
