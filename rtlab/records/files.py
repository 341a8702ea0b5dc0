"""The folder of records: written once, never replaced, and read strictly.

A record is one JSON file. It is written whole or not at all, under a name of its own, so what is finished stays,
whatever comes after it. A file that is read is checked against a record's types, ranges and its own logits; a bad one
is named and left out, and what is no plain file within the folder is never opened. Reading takes orjson, which is
several times faster than the standard library's reader, and no torch.
"""

import contextlib
import dataclasses
import gc
import json
import os
import re
import secrets
import stat
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from math import isfinite
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from rtlab.metrics import scores
from rtlab.records.record import SCHEMA, Classes, LogEntry, Predictions, RunRecord
from rtlab.values import Json, from_json, one_line, shown

MANY = 2000  # files, for which it pays to start processes
LARGEST_FILE = 2**28  # bytes: a million held-out sentences of ten classes
SPLITS = ("validation", "test")
T = TypeVar("T", np.int32, np.float32)

_LOG_ENTRY = itemgetter(*(field.name for field in dataclasses.fields(LogEntry)))  # its step first
_LOGGED = frozenset(field.name for field in dataclasses.fields(LogEntry))


class Loaded(NamedTuple):
    """What a folder of records holds: those that could be read, oldest first, and for each bad file why not."""

    records: tuple[RunRecord, ...]
    broken: Mapping[Path, str]


def save(record: RunRecord, folder: Path) -> Path:
    """Add a record to a folder, whole or not at all, and give its file; nothing that is there is touched.

    Raises:
        ValueError: If the record holds NaN or infinity, which JSON has no word for.
        OSError: If the folder cannot be written.
    """
    text = json.dumps(record.to_json(), allow_nan=False, ensure_ascii=False)
    text = re.sub("[\ud800-\udfff]", "\ufffd", text)  # of a path that is no UTF-8: no reader would take it
    moment = re.sub(r"\D", "", record.created_at)[:14]
    path = folder / f"{record.id}-{moment}-{secrets.token_hex(4)}.json"
    write_whole(path, text + "\n")
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a crash at any moment, sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Path, *, logits: bool = True, within: Path | None = None) -> RunRecord:
    """Read one record.

    Args:
        path: Its file.
        logits: Whether to keep logits; without them a record takes a tenth of the memory, and cannot be written.
        within: Folder that a link may not lead out of; its own by default.

    Raises:
        ValueError: If the file is no record; the message names it.
        OSError: If it cannot be read.
    """
    try:
        return _record(_read(path, within or path.parent), logits=logits)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # RuntimeError: nested or linked without end
        name = str(path) if str(path).isprintable() else repr(str(path))
        what = one_line(str(error))
        raise ValueError(f"{name} is no readable record ({what}); move it away or run its experiment again") from error


def load_records(folder: Path | str, *, logits: bool = True, history: bool = True, processes: int = 1) -> Loaded:
    """Read every record below a folder, as `load` does; a bad file is named and stops none of the others.

    Args:
        folder: The folder.
        logits: Whether to keep logits.
        history: Whether to keep the loss history; without either, a record is a few kilobytes.
        processes: How many processes read `MANY` files or more. With two, the program's own first lines must stand
            under `if __name__ == "__main__"`, since each of them runs them too.
    """
    folder, records = Path(folder), []
    labels: dict[bytes, NDArray[np.int32]] = {}
    environments: dict[str, Mapping[str, Json]] = {}
    files, broken = _files(folder)
    read = partial(_load_or_say, logits=logits, history=history, within=folder)
    with _no_garbage_collection(), ExitStack() as stack:
        found: Iterable[RunRecord | str] = map(read, files)
        if processes > 1 and len(files) >= MANY:
            pool = stack.enter_context(ProcessPoolExecutor(processes, mp_context=get_context("spawn")))
            found = pool.map(read, files, chunksize=200)
        for path, record in zip(files, found, strict=True):
            if isinstance(record, str):
                broken[path] = record
            else:
                records.append(_sharing(record, labels, environments))
    return Loaded(tuple(sorted(records, key=lambda record: (record.created_at, record.id))), broken)


def _load_or_say(path: Path, *, logits: bool, history: bool, within: Path) -> RunRecord | str:
    """A record, or what is wrong with its file."""
    try:
        record = load(path, logits=logits, within=within)
    except (ValueError, OSError) as error:
        return str(error)
    return record if history else dataclasses.replace(record, history=())


def _files(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """Everything below a folder that is called a record, also what is none, and the folders that cannot be read.

    A link to a folder is not followed; it is called a record where it leads out, so that somebody hears of it.
    """
    found, unread, waiting = [], {}, [folder]
    while waiting:  # os.walk calls itself for each level, and there may be a thousand
        parent = waiting.pop()
        try:
            entries = list(os.scandir(parent))
        except FileNotFoundError:
            continue
        except OSError as error:
            unread[parent] = str(error)
            continue
        for entry in entries:
            path, linked, is_folder = Path(entry), entry.is_symlink(), _is_folder(entry)
            if path.suffix == ".json" or (linked and is_folder and _leads_out(path, folder)):
                found.append(path)
            if is_folder and not linked:
                waiting.append(path)
    return sorted(found), unread


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):  # such as a link to where nobody may look
        return entry.is_dir()
    return False


def _leads_out(link: Path, folder: Path) -> bool:
    return not link.resolve().is_relative_to(folder.resolve())


def _read(path: Path, within: Path) -> Json:
    if path.is_symlink() and _leads_out(path, within):
        raise ValueError(f"it is a link that leads out of {within}")
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("it is no plain file")
    if about.st_size > LARGEST_FILE:
        raise ValueError(f"it has {about.st_size:,} bytes, and no record has more than {LARGEST_FILE:,}")
    text = path.read_bytes()
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
    """Number of keys in all objects within a value, those in lists of lists left out, of which a record has none."""
    if isinstance(value, dict):
        return len(value) + sum([_keys(part) for part in value.values() if type(part) in (dict, list)])
    return sum(map(_keys, value)) if isinstance(value, list) and value and isinstance(value[0], dict) else 0


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
    record = dataclasses.replace(from_json(RunRecord, rest, "record"), history=history)
    predictions = {split: _predictions(found, f"predictions.{split}") for split, found in said.items()}
    _check(record)
    _check_scores(record, predictions)
    kept: dict[str, Predictions | Classes] = dict(predictions)
    if not logits:
        kept = {split: Classes(labels=found.labels, classes=_small(found)) for split, found in predictions.items()}
    return dataclasses.replace(record, predictions=kept)


def _small(predictions: Predictions) -> NDArray[np.integer]:
    """The predicted classes in as few bytes as they need."""
    return predictions.classes.astype(np.min_scalar_type(predictions.logits.shape[1]))


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
    try:
        columns = tuple(zip(*logits, strict=True))  # by class
    except (TypeError, ValueError):
        wrong = f"{name}.logits must be a list of numbers for each label, equally many"
        raise ValueError(f"{wrong}; got {shown(logits)}") from None
    if len(columns) < 2:
        raise ValueError(f"{name}.logits must be two scores or more for each sentence; got {len(columns)}")
    wrong = f"{name}.logits must be a list of numbers for each label"
    logits_NC = np.stack([_array("d", column, wrong, np.float32) for column in columns], axis=1)
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
    parts = {**measured, "testbed": record.testbed, "record": record}
    for name, found in parts.items():
        _check_numbers(name, {} if found is None else vars(found))
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


def _check_scores(record: RunRecord, predictions: Mapping[str, Predictions]) -> None:
    """Refuse scores that do not follow from the logits, and such as have none."""
    splits = set(SPLITS) if record.status == "ok" else set(predictions)
    if set(record.scores) != splits or set(predictions) != splits or not splits <= set(SPLITS):
        raise ValueError(f"scores and predictions must be those of {' and '.join(SPLITS)}")
    if len({found.logits.shape[1] for found in predictions.values()}) > 1:
        raise ValueError("predictions must be of the same classes in each split")
    for split, found in predictions.items():
        follows = scores(found.labels, found.classes, num_labels=found.logits.shape[1])
        for name, number in vars(follows).items():
            stated = getattr(record.scores[split], name)
            if abs(stated - number) > 1e-9:
                raise ValueError(f"scores.{split}.{name} is {stated!r}, and the logits give {number!r}")


def _sharing(
    record: RunRecord, known: dict[bytes, NDArray[np.int32]], environments: dict[str, Mapping[str, Json]]
) -> RunRecord:
    """The record with labels and environment in the memory of an equal earlier one's."""
    environment = environments.setdefault(repr(record.environment), record.environment)
    shared = {
        split: dataclasses.replace(found, labels=known.setdefault(found.labels.tobytes(), found.labels))
        for split, found in record.predictions.items()
    }
    return dataclasses.replace(record, predictions=shared, environment=environment)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Decoded JSON holds no cycles, and looking for them takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
