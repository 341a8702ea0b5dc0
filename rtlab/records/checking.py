"""What a file must hold to be a record: a record's fields and types, ranges, and scores that follow from its logits.

A run can have left what passes here. What does not is refused with a `ValueError` that names the field.
"""

import contextlib
import dataclasses
import json
import re
from array import array
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from math import isfinite
from operator import itemgetter
from typing import Literal, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from rtlab.metrics import ClassScores, Scores, scores
from rtlab.records.record import SCHEMA, Classes, LogEntry, Predictions, RunRecord
from rtlab.values import Json, from_json, shown

SPLITS = ("validation", "test")
T = TypeVar("T", np.int32, np.float32)

_LOG_ENTRY = itemgetter(*(field.name for field in dataclasses.fields(LogEntry)))  # its step first
_LOGGED = frozenset(field.name for field in dataclasses.fields(LogEntry))


def record_of(text: bytes, *, logits: bool) -> RunRecord:
    """The record that a file's bytes are.

    Args:
        text: The file.
        logits: Whether to keep logits.

    Raises:
        ValueError: If they are none.
        TypeError, OverflowError, RecursionError: If they are none, and come to that.
    """
    return _record(_parsed(text), logits=logits)


def _parsed(text: bytes) -> Json:
    found: Json = orjson.loads(text)
    start = max(0, text.rfind(b'"predictions"'))
    if text.find(b"u", start) >= 0 or text.find(b"f", start) >= 0:  # of true and false, which arrays take for numbers
        _refuse_booleans(found)
    if text.count(b'":') != _keys(found) or re.search(rb'"\s+:', text):  # else no key can stand there twice
        json.loads(text, object_pairs_hook=_without_repeats)
    return found


def _refuse_booleans(value: Json) -> None:
    """Refuse labels and logits that are true or false."""
    said = value.get("predictions") if isinstance(value, Mapping) else None
    for split, found in said.items() if isinstance(said, Mapping) else ():
        for name, wanted in (("labels", "whole numbers"), ("logits", "numbers for each label")):
            part = found.get(name) if isinstance(found, Mapping) else None
            for row in part if isinstance(part, list) else ():
                if bool in set(map(type, row if isinstance(row, list) else [row])):
                    raise ValueError(f"predictions.{split}.{name} must be a list of {wanted}; got {shown(row)}")


def _keys(value: Json) -> int:
    """Number of keys in all objects within a value; those deeper in lists are left out, where a record has none.

    It is never above what stands in the text, so that a key that stands there twice is not missed.
    """
    if isinstance(value, dict):
        return len(value) + sum([_keys(part) for part in value.values() if type(part) in (dict, list)])
    if isinstance(value, list) and value and type(value[0]) is dict and {*map(type, value)} == {dict}:
        return sum(map(len, value))
    return 0


def _without_repeats(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _record(value: Json, *, logits: bool) -> RunRecord:
    if not isinstance(value, Mapping):
        raise ValueError(f"a record is an object; got {shown(value)}")
    schema = value.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise ValueError(f"it is of schema {shown(schema)}, and this rtlab reads schema {SCHEMA}")
    said = value.get("predictions", {})
    if not isinstance(said, Mapping):
        raise ValueError(f"predictions must be an object; got {shown(said)}")
    history = _history(value.get("history", []))
    rest = {k: v for k, v in value.items() if k not in ("schema", "predictions", "history")}
    record = from_json(RunRecord, rest, "record")
    predictions = {split: _predictions(found, f"predictions.{split}") for split, found in said.items()}
    _check(record)
    kept: dict[str, Predictions | Classes] = dict(predictions)
    if not logits:
        kept = {split: _small(found) for split, found in predictions.items()}
    scores = _checked_scores(record, predictions, logits=logits)
    return dataclasses.replace(record, history=history, scores=scores, predictions=kept)


def _small(said: Predictions) -> Classes:
    """The predicted classes in as few bytes as they need."""
    classes = said.classes.astype(np.min_scalar_type(said.num_labels))
    return Classes(labels=said.labels, classes=classes, num_labels=said.num_labels)


def _history(value: Json) -> tuple[LogEntry, ...]:
    """The loss history, checked column by column, which is faster; what does not fit is named by `from_json`."""
    if not isinstance(value, list):
        raise ValueError(f"record.history must be a list; got {shown(value)}")
    if value and {*map(type, value)} == {dict} and {frozenset(entry) for entry in value} == {_LOGGED}:
        steps, *columns = zip(*map(_LOG_ENTRY, value), strict=True)
        numbers = [number for column in columns for number in column]
        types = {*map(type, steps)} == {int}, {*map(type, numbers)} == {float}
        if all(types) and all(map(isfinite, numbers)) and min(*steps, *numbers) >= 0:
            return tuple([LogEntry(**entry) for entry in value])
    found = tuple(from_json(LogEntry, entry, "record.history") for entry in value)
    for entry in found:
        _check_numbers("history", {name: getattr(entry, name) for name in sorted(_LOGGED)})
    return found


def _predictions(value: Json, name: str) -> Predictions:
    if not isinstance(value, Mapping) or set(value) != {"labels", "logits"}:
        raise ValueError(f"{name} must be an object with labels and logits; got {shown(value)}")
    labels, logits = value["labels"], value["logits"]
    if not isinstance(labels, list) or not labels:
        raise ValueError(f"{name}.labels must be a list of whole numbers; got {shown(labels)}")
    if not isinstance(logits, list) or len(logits) != len(labels):
        raise ValueError(f"{name}.logits must be a list of numbers for each label; got {shown(logits)}")
    labels_N = _array("i", labels, f"{name}.labels must be a list of whole numbers", np.int32)
    wrong = f"{name}.logits must be a list of numbers for each label"
    if {*map(type, logits)} != {list} or len({*map(len, logits)}) > 1:
        raise ValueError(f"{wrong}, equally many; got {shown(logits)}")
    if len(logits[0]) < 2:
        raise ValueError(f"{name}.logits must be two scores or more for each sentence; got {len(logits[0])}")
    logits_NC = _array("d", [*chain.from_iterable(logits)], wrong, np.float32).reshape(len(logits), -1)
    if labels_N.min() < 0 or labels_N.max() >= logits_NC.shape[1]:
        raise ValueError(f"{name}.labels must be below {logits_NC.shape[1]}, the number of scores")
    if not np.isfinite(logits_NC).all():
        raise ValueError(f"{name}.logits must be finite in 32 bits")
    return Predictions(labels=labels_N, logits=logits_NC)


def _array(code: Literal["i", "d"], values: Sequence[Json], wrong: str, of: type[T]) -> NDArray[T]:
    """Numbers as an array; `array` refuses what is none, and reads a list three times as fast as numpy."""
    try:
        with np.errstate(over="ignore"):
            return np.asarray(array(code, values), dtype=of)  # type: ignore[arg-type]  # it checks that itself
    except (TypeError, OverflowError):
        raise ValueError(f"{wrong}; got {shown(values)}") from None


def _check(record: RunRecord) -> None:
    """Refuse what no run can have come to."""
    if not re.fullmatch(r"[0-9a-f]{16}", record.id):
        raise ValueError(f"id must be 16 hexadecimal digits; got {shown(record.id)}")
    if not _is_utc(record.created_at):
        raise ValueError(
            f"created_at must be in UTC and written as 2026-01-02T03:04:05+00:00; got {shown(record.created_at)}"
        )
    if not isinstance(record.environment.get("device"), str):
        raise ValueError("environment.device must be a text")
    measured = {"timing": record.timing, "counts": record.counts, "memory": record.memory}
    if record.status == "ok" and None in measured.values():
        raise ValueError(f"a run with a result has {', '.join(measured)}")
    if (record.encoder is None) != (record.experiment.method.reads is None):
        raise ValueError("encoder must be there where a method reads one, and only there")
    parts = {**measured, "testbed": record.testbed, "record": record}
    for name, found in parts.items():
        _check_numbers(name, {} if found is None else vars(found))
    _check_numbers("chosen", record.chosen)
    for entry in record.validated:
        _check_numbers("validated", vars(entry))
        if (most := max(entry.accuracy, entry.f1, entry.macro_f1)) > 1:
            raise ValueError(f"validated must have scores of at most 1; got {most!r}")
    if unknown := set(record.strongest) - set(record.dataset.classes):
        raise ValueError(f"strongest must be of classes in dataset.classes; got {shown(sorted(unknown))}")
    if record.timing is not None and (record.timing.others or 0) > 1:
        raise ValueError(f"timing.others must lie in 0 … 1; got {record.timing.others!r}")


def _is_utc(text: str) -> bool:
    """Whether it is written in the one way in which moments sort as texts."""
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment.utcoffset() == timedelta(0) and moment.isoformat() == text
    return False


def _check_numbers(part: str, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if isinstance(value, int | float) and value < 0:
            raise ValueError(f"{part}.{name} must not be negative; got {value!r}")


def _checked_scores(record: RunRecord, predictions: Mapping[str, Predictions], *, logits: bool) -> dict[str, Scores]:
    """The scores, with what older records lack. Such as do not follow from the logits, or miss a split, are refused."""
    splits = set(SPLITS) if record.status == "ok" else set(predictions)
    if set(record.scores) != splits or set(predictions) != splits or not splits <= set(SPLITS):
        raise ValueError(f"scores and predictions must be those of {' and '.join(SPLITS)}")
    counts = {found.num_labels for found in predictions.values()}
    if len(counts) > 1:
        raise ValueError("predictions must be of the same classes in each split")
    names = record.dataset.classes
    if names and (len(set(names)) < len(names) or counts - {len(names)}):
        raise ValueError(f"dataset.classes must be a name for each class, no two the same; got {shown(names)}")
    found = {}
    for split, said in predictions.items():
        follows = vars(scores(said.labels, said.classes, num_labels=said.num_labels))
        stated = {name: value for name, value in vars(record.scores[split]).items() if value not in (None, ())}
        for name, value in stated.items():
            if value != follows[name] and not _is_close(value, follows[name]):
                gives = f"{shown(value)}, and the logits give {shown(follows[name])}"
                raise ValueError(f"scores.{split}.{name} is {gives}")
        found[split] = Scores(**follows | stated | ({} if logits else {"by_class": (), "confusion": ()}))
    return found


def _is_close(stated: object, follows: object) -> bool:
    """Whether two values are equal but for the last digits of their numbers."""
    match stated, follows:
        case tuple(), tuple():
            return len(stated) == len(follows) and all(map(_is_close, stated, follows))
        case ClassScores(), ClassScores():
            return _is_close(tuple(vars(stated).values()), tuple(vars(follows).values()))
    return isinstance(stated, int | float) and isinstance(follows, int | float) and abs(stated - follows) <= 1e-9
