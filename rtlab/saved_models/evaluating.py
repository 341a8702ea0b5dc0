"""How good a saved model is on labelled sentences: scores with intervals, by class, and its surest errors.

Nothing is trained, so a file without splits counts as a whole. A result lies in `evaluations/`, never among the records
of runs: it says how one model does on one set of sentences, and of other seeds it knows nothing.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtlab.experiment import DatasetOptions
from rtlab.metrics import confusion
from rtlab.preparing import check_writable
from rtlab.records import write_whole
from rtlab.saved_models.labelled import Sentences, labelled_sentences
from rtlab.saved_models.opening import LoadedModel, load_model
from rtlab.saved_models.predicting import WINDOW, not_finite
from rtlab.statistics import Interval, accuracy_interval, macro_f1_interval
from rtlab.values import Json, check_whole, shown, to_json

FOLDER = "evaluations"
SCHEMA = 1
_AS_IT_IS = DatasetOptions()


@dataclass(frozen=True, kw_only=True)
class OfModel:
    """Which model was evaluated: the id and label of its run, its encoder's name and digest."""

    id: str
    label: str
    encoder: str | None
    encoder_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class OfDataset:
    """What it was evaluated on.

    Attributes:
        name: Of the data set; never a path.
        revision: Commit on the hub, if it came from there.
        split: Which of its splits; `all` where it has none.
        sha256: Digest of that split's sentences and labels.
        sentences: How many there are.
        notes: What was assumed when it was read, a sentence each.
    """

    name: str
    revision: str | None
    split: str
    sha256: str
    sentences: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """Scores of one class, with intervals over sentences.

    Attributes:
        label: The model's name of it.
        support: Sentences of it.
        predicted: Sentences that the model takes for it.
        precision: Share of those predicted that are right; `None` where none is predicted.
        recall: Share of its own sentences that are predicted; `None` where it has none.
        f1: Harmonic mean of both; `None` where it has no sentence and none is predicted.
    """

    label: str
    support: int
    predicted: int
    precision: Interval | None
    recall: Interval | None
    f1: Interval | None


@dataclass(frozen=True, kw_only=True)
class Error:
    """A sentence that was labelled wrongly: where it stands, its label, what was predicted and how surely."""

    place: str
    text: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good a saved model is on labelled sentences.

    Attributes:
        model: Which model.
        dataset: On what.
        labels: Label of the data set to the model's name of that class.
        accuracy: Share of sentences that are labelled rightly.
        macro_f1: Mean F1 over the classes that the data set has.
        by_class: Scores of each class of the model.
        confusion: Sentences by true and predicted class, (C, C), rows true, in the order of `by_class`.
        errors: Wrong labels, the surest first.
        created_at: When.
    """

    schema: int = SCHEMA
    model: OfModel
    dataset: OfDataset
    labels: Mapping[str, str]
    accuracy: Interval
    macro_f1: Interval
    by_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    errors: tuple[Error, ...]
    created_at: str

    def to_json(self) -> Json:
        """All fields as JSON types."""
        return to_json(self)


def evaluate(
    model_dir: Path | str,
    dataset: str,
    *,
    split: str | None = None,
    options: DatasetOptions = _AS_IT_IS,
    output_dir: Path | str | None = "results",
    device: str | None = None,
    show_errors: int = 10,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Measure a saved model on labelled sentences, and add the result to `output_dir`/evaluations.

    Args:
        model_dir: A directory that `rtlab` saved a model to.
        dataset: A file, a directory, a hub id, or `corpus`, as `rtlab.load_splits` takes it.
        split: `train`, `validation` or `test`; by default test, and of a data set without splits all of it. Where it
            is not there by itself it is cut as for a training run.
        options: How the data set is read where its files leave that open.
        output_dir: Folder of results; `None` writes nothing.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        show_errors: How many errors are kept, the surest first.
        progress: Called with a phase, its units done and their number.

    Raises:
        ValueError: If the model or the data set cannot be read, or that has a label that the model does not know.
        NotFiniteError: If the model's scores of a sentence are NaN or infinite; nothing is written.
    """
    check_whole("show_errors", show_errors, at_least=0)
    if output_dir is not None:
        check_writable(Path(output_dir), within=(FOLDER,))
    model = load_model(model_dir, device=device)
    sentences = labelled_sentences(dataset, split, options, description=model.description)
    found = _measure(model, sentences, show_errors, progress or _ignore)
    if output_dir is not None:
        save(found, Path(output_dir))
    return found


def save(evaluation: Evaluation, output_dir: Path) -> Path:
    """Add a result to `output_dir`/evaluations, under a name of its own, and give its file."""
    moment = re.sub(r"\D", "", evaluation.created_at)[:14]
    path = output_dir / FOLDER / f"{evaluation.model.id}-{moment}-{secrets.token_hex(4)}.json"
    write_whole(path, json.dumps(evaluation.to_json(), allow_nan=False) + "\n")
    return path


def match_labels(names: Sequence[str], known: Sequence[str], where: str) -> dict[str, str]:
    """The model's name of each label: the same one, else the only one that differs in case alone.

    Raises:
        ValueError: If the model knows no such label.
    """
    folded = [name.casefold() for name in known]
    found = {
        name: name if name in known else known[folded.index(name.casefold())]
        for name in names
        if name in known or folded.count(name.casefold()) == 1
    }
    if unknown := [name for name in names if name not in found]:
        raise ValueError(
            f"{where}: the model does not know the label {', '.join(map(shown, unknown[:5]))}; it knows "
            f"{', '.join(map(shown, known[:8]))}{' …' if len(known) > 8 else ''}; a --label-column of these would do"
        )
    return found


def _measure(
    model: LoadedModel, sentences: Sentences, show_errors: int, progress: Callable[[str, int, int], None]
) -> Evaluation:
    names = model.description.label_names
    labels = match_labels(sentences.label_names, names, f"dataset {sentences.name!r}")
    index = {name: number for number, name in enumerate(names)}
    true_N = np.array([index[labels[label]] for label in sentences.labels], dtype=np.int64)
    probabilities_NC = _probabilities(model, sentences, progress)
    predicted_N = probabilities_NC.argmax(axis=1)
    confusion_CC = confusion(true_N, predicted_N, num_labels=len(names))
    description = model.description
    return Evaluation(
        model=OfModel(
            id=description.id,
            label=description.experiment.label,
            encoder=description.encoder_name,
            encoder_sha256=description.encoder_sha256,
        ),
        dataset=OfDataset(
            name=sentences.name,
            revision=sentences.revision,
            split=sentences.split,
            sha256=sentences.sha256,
            sentences=len(sentences.texts),
            notes=sentences.notes,
        ),
        labels=labels,
        accuracy=accuracy_interval((predicted_N == true_N)[None]),
        macro_f1=macro_f1_interval(true_N, predicted_N),
        by_class=tuple(of_class(name, true_N == number, predicted_N == number) for name, number in index.items()),
        confusion=tuple(map(tuple, confusion_CC.tolist())),
        errors=_errors(sentences, names, true_N, probabilities_NC, show_errors),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _probabilities(
    model: LoadedModel, sentences: Sentences, progress: Callable[[str, int, int], None]
) -> NDArray[np.float64]:
    from scipy.special import softmax

    parts = []
    for start in range(0, len(sentences.texts), WINDOW):
        window = sentences.texts[start : start + WINDOW]
        logits_NC = model.logits(window)
        if not (finite_N := np.isfinite(logits_NC).all(axis=1)).all():
            row = int(finite_N.argmin())
            raise not_finite(sentences.place(start + row), window[row])
        parts.append(softmax(logits_NC, axis=1))
        progress("evaluating", start + len(window), len(sentences.texts))
    return np.concatenate(parts)


def of_class(label: str, is_N: NDArray[np.bool_], called_N: NDArray[np.bool_]) -> ClassScores:
    """Scores of one class, where each of N sentences is of it and is called it, with intervals over sentences."""
    share = _share(is_N & called_N, is_N | called_N)
    return ClassScores(
        label=label,
        support=int(is_N.sum()),
        predicted=int(called_N.sum()),
        precision=_share(is_N, called_N),
        recall=_share(called_N, is_N),
        f1=None if share is None else _f1(share),
    )


def _share(right_N: NDArray[np.bool_], of_N: NDArray[np.bool_]) -> Interval | None:
    """Share of some sentences that are right, with its interval."""
    return accuracy_interval(right_N[of_N][None]) if of_N.any() else None


def _f1(share: Interval) -> Interval:
    """F1 of a class, out of the share of right ones among all that are of it or called it: F1 = 2 s / (1 + s)."""
    value, low, high = (2 * part / (1 + part) for part in (share.value, share.low, share.high))
    return Interval(value=value, low=low, high=high, over=share.over)


def _errors(
    sentences: Sentences,
    names: Sequence[str],
    true_N: NDArray[np.int64],
    probabilities_NC: NDArray[np.float64],
    most: int,
) -> tuple[Error, ...]:
    predicted_N, surest_N = probabilities_NC.argmax(axis=1), probabilities_NC.max(axis=1)
    wrong = np.flatnonzero(predicted_N != true_N)
    rows = wrong[np.argsort(-surest_N[wrong], kind="stable")][:most]
    return tuple(
        Error(
            place=sentences.place(row),
            text=sentences.texts[row],
            label=names[true_N[row]],
            predicted=names[predicted_N[row]],
            probability=float(surest_N[row]),
        )
        for row in rows.tolist()
    )


def _ignore(*_: object) -> None:
    """Where nobody listens."""
