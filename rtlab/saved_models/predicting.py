"""Labels and probabilities for sentences, from whatever `rtlab` has trained and saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtlab.saved_models.opening import LoadedModel, load_model
from rtlab.soundness import check_sentences
from rtlab.tokens import token_arrays
from rtlab.values import one_line, shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WINDOW = 1024  # sentences that are computed at once, those of similar length together
SHORT = 2**15  # characters; such a text goes to the tokenizer whole, which takes some 200 bytes a character
NONE_GIVEN = "sentences must hold at least one; got none: give them as arguments, with --file, or on --file -"
LONGEST = 2**20  # characters that may hold fewer than max_length tokens


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
    """Label sentences with a saved model: a fine-tuned encoder, an adapter, or an SVM.

    Args:
        model_dir: A directory that `rtlab` saved a model to.
        sentences: What to label.
        device: `cpu` or `cuda`; CUDA where there is one by default.

    Returns:
        One prediction per sentence, in order. An SVM's probabilities come from temperature scaling on its
        validation split (`rtlab.engines.svm.fit_temperature`).

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
            sentences[start : start + WINDOW], logits(model, sentences[start : start + WINDOW]), strict=True
        )
    )


def not_finite(place: str, text: str) -> NotFiniteError:
    """The error for a sentence that `label` has no prediction for."""
    return NotFiniteError(f"the model's scores of {place} are not finite, so it has no label: {one_line(text)[:80]!r}")


def logits(model: LoadedModel, sentences: Sequence[str]) -> NDArray[np.float64]:
    """One score per class of N sentences, (N, C)."""
    max_length = model.description.experiment.max_length
    tokenizer = model.encoder.tokenizer
    texts = [cut(text, tokenizer, max_length) for text in sentences]
    check_sentences(model.encoder, texts, max_length, option="sentences")
    return model.logits(token_arrays(texts, tokenizer, max_length))


def cut(text: str, tokenizer: "PreTrainedTokenizerFast", max_length: int) -> str:
    """The part of a very long text that its tokens come from, up to a blank, so that the rest is never tokenized.

    Raises:
        ValueError: If a million characters hold fewer than `max_length` tokens, such as one endless word.
    """
    size, enough = SHORT, max_length + 16  # some more, lest the cut itself make a token
    while size < len(text):
        part = _end(text, size) if tokenizer.truncation_side == "left" else _beginning(text, size)
        if len(tokenizer(part, truncation=True, max_length=enough).input_ids) >= enough:
            return part
        if size >= LONGEST:
            raise ValueError(
                f"sentences must have words; got one of {len(text):,} characters that begins {text[:20]!r} and has "
                f"fewer than {max_length} tokens in a million of them"
            )
        size *= 2
    return text


def _beginning(text: str, size: int) -> str:
    """Its first characters, without a part of a word."""
    words = text[:size].rsplit(maxsplit=1)
    return words[0] if len(words) > 1 else text[:size]


def _end(text: str, size: int) -> str:
    words = text[-size:].split(maxsplit=1)
    return words[1] if len(words) > 1 else text[-size:]


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
