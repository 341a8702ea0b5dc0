"""What a file must hold to be a record: a record's fields and types, ranges, and scores that follow from its logits.

A run can have left what passes here. What does not is refused with a `ValueError` that names the field.
"""

import contextlib
import dataclasses
import json
import re
import struct
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

# What stands before, between and after labels and logits of the two splits at the end of a record that `save` wrote.
_AS_SAVED = (
    *(b', "predictions": {"validation": {"labels": [', b'], "logits": [['),
    *(b']]}, "test": {"labels": [', b'], "logits": [[', b"]]}}}"),
)
_DIGITS = b"0123456789"

_LOG_ENTRY = itemgetter(*(field.name for field in dataclasses.fields(LogEntry)))  # its step first
_LOGGED = frozenset(field.name for field in dataclasses.fields(LogEntry))


def record_of(text: bytes, *, logits: bool, history: bool = True) -> RunRecord:
    """The record that a file's bytes are.

    Args:
        text: The file.
        logits: Whether to keep logits.
        history: Whether to keep the loss history.

    Raises:
        ValueError: If they are none.
        TypeError, OverflowError, RecursionError: If they are none, and come to that.
    """
    as_saved = _as_saved(text)
    value, predictions = (_parsed(text), None) if as_saved is None else as_saved
    return _record(value, predictions, logits=logits, history=history)


def _as_saved(text: bytes) -> tuple[Json, dict[str, Predictions]] | None:
    """A record's other fields and its predictions, if its text is what `save` writes, else none.

    It gives what `_parsed` and `_predictions` do, in half the time: logits are read as one list, and no list is made
    for each sentence. Whatever is not as it should be is left to these two, which say what.
    """
    parts, rest = [], text
    for mark in _AS_SAVED:
        part, _, rest = rest.partition(mark)
        parts.append(part)
    if not parts[-1] or rest.strip(b" \t\r\n"):
        return None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        value = _parsed(parts[0] + b"}")
        if isinstance(value, Mapping) and value and "predictions" not in value:
            return value, {"validation": _rows(*parts[1:3]), "test": _rows(*parts[3:])}
    return None


def _rows(labels: bytes, logits: bytes) -> Predictions:
    """What one split says, out of the texts between the brackets; a `ValueError` if it is nothing sound."""
    if labels.translate(None, _DIGITS + b", "):
        raise ValueError("no sound predictions")
    labels_N = _array("i", orjson.loads(b"[" + labels + b"]"), "labels", np.int32)
    columns = logits.partition(b"]")[0].count(b",") + 1
    between = logits.translate(None, _DIGITS + b"+-.eE")
    if columns < 2 or labels_N.max() >= columns or between != b"], [".join([b", " * (columns - 1)] * len(labels_N)):
        raise ValueError("no sound predictions")
    numbers = orjson.loads(b"[" + logits.translate(None, b"[]") + b"]")
    logits_NC = _array("d", numbers, "logits", np.float32).reshape(-1, columns)
    if not np.isfinite(logits_NC).all():
        raise ValueError("no sound predictions")
    return Predictions(labels=labels_N, logits=logits_NC)


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


def _record(value: Json, predictions: Mapping[str, Predictions] | None, *, logits: bool, history: bool) -> RunRecord:
    """The record of these fields, among which predictions stand if they were not read before."""
    if not isinstance(value, Mapping):
        raise ValueError(f"a record is an object; got {shown(value)}")
    schema = value.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise ValueError(f"it is of schema {shown(schema)}, and this rtlab reads schema {SCHEMA}")
    said = value.get("predictions", {})
    if not isinstance(said, Mapping):
        raise ValueError(f"predictions must be an object; got {shown(said)}")
    entries = _history(value.get("history", []), keep=history)
    rest = {k: v for k, v in value.items() if k not in ("schema", "predictions", "history")}
    record = from_json(RunRecord, rest, "record")
    if predictions is None:
        predictions = {split: _predictions(found, f"predictions.{split}") for split, found in said.items()}
    _check(record)
    small = {split: _small(found) for split, found in predictions.items()}
    scores = _checked_scores(record, small, logits=logits)
    return dataclasses.replace(record, history=entries, scores=scores, predictions=predictions if logits else small)


def _small(said: Predictions) -> Classes:
    """The predicted classes in as few bytes as they need."""
    classes = said.classes.astype(np.min_scalar_type(said.num_labels))
    return Classes(labels=said.labels, classes=classes, num_labels=said.num_labels)


def _history(value: Json, *, keep: bool) -> tuple[LogEntry, ...]:
    """The loss history, checked column by column, which is faster; what does not fit is named by `from_json`."""
    if not isinstance(value, list):
        raise ValueError(f"record.history must be a list; got {shown(value)}")
    if value and {*map(type, value)} == {dict} and {frozenset(entry) for entry in value} == {_LOGGED}:
        steps, *columns = zip(*map(_LOG_ENTRY, value), strict=True)
        numbers = [number for column in columns for number in column]
        types = {*map(type, steps)} == {int}, {*map(type, numbers)} == {float}
        if all(types) and all(map(isfinite, numbers)) and min(*steps, *numbers) >= 0:
            return tuple([LogEntry(**entry) for entry in value]) if keep else ()
    found = tuple(from_json(LogEntry, entry, "record.history") for entry in value)
    for entry in found:
        _check_numbers("history", {name: getattr(entry, name) for name in sorted(_LOGGED)})
    return found if keep else ()


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
    """Numbers as an array; `struct` refuses what is none, and reads a list twice as fast as numpy."""
    try:
        with np.errstate(over="ignore"):
            return np.frombuffer(struct.pack(f"{len(values)}{code}", *values), dtype=code).astype(of)
    except (struct.error, OverflowError):
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


def _checked_scores(record: RunRecord, predictions: Mapping[str, Classes], *, logits: bool) -> dict[str, Scores]:
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
