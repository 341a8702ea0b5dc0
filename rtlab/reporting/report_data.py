"""What the report's script draws from: names, loss curves, points of accuracy over time, and packed predictions.

A page with many records should stay small: losses are thinned to `CURVE_POINTS` a run, a predicted class takes one
character, a logit 16 bits (steps of 1/32767 of the run's largest, 0.0003 where that is 10). True labels, which runs on
one data set share, are kept once.
"""

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rtlab.records import LogEntry, Predictions, RunRecord
from rtlab.reporting.groups import Group, Place, groups
from rtlab.reporting.tables import METHODS
from rtlab.statistics import accuracy_interval, mean_interval

CURVE_POINTS = 400
LOGIT_STEPS = 2**15 - 1

Texts = Mapping[str, Mapping[str, Sequence[str]]]
"""SHA-256 of a data set -> split -> its sentences, in order."""


def page_data(records: Sequence[RunRecord], texts: Texts) -> dict[str, Any]:
    """The report's data, as JSON types.

    Args:
        records: The runs, in the order of the run table.
        texts: Sentences to show; those of data sets that no record used are left out.
    """
    names = run_names(records)
    labels: dict[str, int] = {}
    runs = [
        {
            "name": name,
            "group": _but_seed(name, record),
            "dataset": record.dataset.sha256,
            "loss": _thinned(record.history),
            "splits": {split: _packed(p, labels) for split, p in record.predictions.items() if len(p.labels)},
        }
        for record, name in zip(records, names, strict=True)
    ]
    used = {record.dataset.sha256 for record in records}
    return {
        "runs": runs,
        "labels": list(labels),
        "methods": METHODS,
        "texts": {
            sha256: {split: list(sentences) for split, sentences in splits.items()}
            for sha256, splits in texts.items()
            if sha256 in used
        },
        **_points(records, dict(zip(map(id, records), names, strict=True))),
    }


def run_names(records: Sequence[RunRecord]) -> list[str]:
    """A name for each run: label, what else tells it from runs of the same label, seed; no two are the same."""
    alike: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
    for record in records:
        alike[record.experiment.label].append(_traits(record))
    names = []
    for record in records:
        traits, others = _traits(record), alike[record.experiment.label]
        telling = [name for name in traits if len({str(other[name]) for other in others}) > 1]
        parts = [f"{name} {traits[name]}" for name in telling if traits[name] is not None]
        names.append(", ".join([record.experiment.label, *parts, f"seed {record.experiment.seed}"]))
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name}, {r.id}" for r, name in zip(records, names, strict=True)]


def on_front(points: Iterable[tuple[float, float]]) -> list[bool]:
    """For each point (seconds, accuracy): whether no other is at least as fast and as accurate, and better in one."""
    points = list(points)
    return [
        not any(other != (seconds, accuracy) and other[0] <= seconds and other[1] >= accuracy for other in points)
        for seconds, accuracy in points
    ]


def _traits(record: RunRecord) -> dict[str, object]:
    """What the label of an experiment leaves out."""
    experiment, lora = record.experiment, record.experiment.lora
    fields = ("engine", "epochs", "max_steps", "limit", "batch_size", "max_length", "precision", "logging_steps")
    return {
        "encoder": record.encoder.name,
        "data set": record.dataset.name,
        "device": record.environment["device"],
        "learning rate": experiment.learning_rate,
        "alpha": None if lora is None else lora.alpha,
        "dropout": None if lora is None else lora.dropout,
        **{name.replace("_", " "): getattr(experiment, name) for name in fields},
    }


def _points(records: Sequence[RunRecord], names: Mapping[int, str]) -> dict[str, Any]:
    """Groups of runs as points of accuracy over time, and the places within which they may be compared.

    A run that was cut short says nothing of the accuracy that its recipe reaches, and is left out.
    """
    found = [group for group in groups(records) if group.experiment.max_steps is None]
    places = list(dict.fromkeys(group.place for group in found))
    points: list[dict[str, Any]] = []
    for number, place in enumerate(places):
        here = [_point(group, names[id(group.records[0])]) for group in found if group.place == place]
        best = on_front((point["seconds"], point["accuracy"]) for point in here)
        points += [point | {"place": number, "front": b} for point, b in zip(here, best, strict=True)]
    return {"points": points, "places": _place_names(places)}


def _point(group: Group, name: str) -> dict[str, Any]:
    times, accuracies = group.seconds(), group.values("scores.test.accuracy")
    time = mean_interval(times)
    accuracy = accuracy_interval(group.correct("test")) if group.has_predictions("test") else None
    return {
        "name": _but_seed(name, group.records[0]),
        "method": group.experiment.method,
        "seeds": list(zip(times, accuracies, strict=True)),
        "seconds": mean(times),
        "accuracy": mean(accuracies),
        # What there is no interval of, with one seed or without predictions, has no bar.
        "secondsSpan": [time.low, time.high] if isfinite(time.high) else None,
        "accuracySpan": None if accuracy is None else [accuracy.low, accuracy.high],
    }


def _place_names(places: Sequence[Place]) -> list[str]:
    """Places in words, with digests where names alone do not tell them apart (a data set cut to a limit)."""
    names = [f"{place.encoder}, {place.dataset}, {place.device}" for place in places]
    digests = [f"data {place.dataset_sha256[:8]}, encoder {place.encoder_sha256[:8]}" for place in places]
    alone = Counter(names)
    return [name if alone[name] == 1 else f"{name} ({d})" for name, d in zip(names, digests, strict=True)]


def _but_seed(name: str, record: RunRecord) -> str:
    return name.replace(f", seed {record.experiment.seed}", "")


def _thinned(history: Sequence[LogEntry]) -> list[list[float]]:
    """(step, loss) per entry, or per few entries: their mean loss, at the last one's step."""
    few = -(-len(history) // CURVE_POINTS)
    parts = [history[start : start + few] for start in range(0, len(history), few or 1)]
    return [[part[-1].step, float(f"{mean(entry.loss for entry in part):.6g}")] for part in parts]


def _packed(predictions: Predictions, labels: dict[str, int]) -> dict[str, Any]:
    """One split's predictions; the true labels go into `labels`, unless they are there."""
    logits_NC = np.asarray(predictions.logits, dtype=np.float64)
    largest = float(np.abs(logits_NC).max()) or 1.0
    steps = np.rint(logits_NC / largest * LOGIT_STEPS).astype("<i2")
    return {
        "labels": labels.setdefault(_characters(predictions.labels), len(labels)),
        "predicted": _characters(logits_NC.argmax(axis=1)),
        "logits": base64.b64encode(steps.tobytes()).decode(),
        "largest": float(f"{largest:.6g}"),
    }


def _characters(classes: ArrayLike) -> str:
    """Classes as one character each, counted from "0"."""
    return "".join(chr(ord("0") + int(number)) for number in np.asarray(classes))
