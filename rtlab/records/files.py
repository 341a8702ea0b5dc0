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
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtlab.cycles import not_sought
from rtlab.records.checking import record_of
from rtlab.records.record import RunRecord
from rtlab.values import Json, one_line
from rtlab.writing import write_whole

MANY = 2000  # files, for which it pays to start processes
LARGEST_FILE = 2**28  # bytes: a million held-out sentences of ten classes


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


def load(path: Path, *, logits: bool = True, history: bool = True, within: Path | None = None) -> RunRecord:
    """Read one record.

    Args:
        path: Its file.
        logits: Whether to keep logits; without them a record takes less memory, and cannot be written.
        history: Whether to keep the loss history.
        within: Folder that a link may not lead out of; its own by default.

    Raises:
        ValueError: If the file is no record; the message names it.
        OSError: If it cannot be read.
    """
    try:
        return record_of(_read(path, within or path.parent), logits=logits, history=history)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # RuntimeError: nested or linked without end
        name = str(path) if str(path).isprintable() else repr(str(path))
        what = one_line(str(error))
        raise ValueError(f"{name} is no readable record ({what}); move it away") from error


def load_records(
    folder: Path | str, *, logits: bool = True, up_to: int | None = None, history: bool = True, processes: int = 1
) -> Loaded:
    """Read every record below a folder, as `load` does; a bad file is named and stops none of the others.

    Args:
        folder: The folder.
        logits: Whether to keep logits.
        up_to: The largest number of files whose logits are kept; any number by default.
        history: Whether to keep the loss history; without either, a record is a few kilobytes.
        processes: How many processes read `MANY` files or more. With two, the program's own first lines must stand
            under `if __name__ == "__main__"`, since each of them runs them too.
    """
    folder, records = Path(folder), []
    labels: dict[bytes, NDArray[np.int32]] = {}
    environments: dict[str, Mapping[str, Json]] = {}
    files, broken = _files(folder)
    few = up_to is None or len(files) <= up_to
    read = partial(_load_or_say, logits=logits and few, history=history, within=folder)
    with not_sought(), ExitStack() as stack:
        found: Iterable[RunRecord | str] = map(read, files)
        if processes > 1 and len(files) >= MANY:
            spawned = get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(processes, mp_context=spawned, initializer=gc.disable))
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
        return load(path, logits=logits, history=history, within=within)
    except (ValueError, OSError) as error:
        return str(error)


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


def _read(path: Path, within: Path) -> bytes:
    if path.is_symlink() and _leads_out(path, within):
        raise ValueError(f"it is a link that leads out of {within}")
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("it is no plain file")
    if about.st_size > LARGEST_FILE:
        raise ValueError(f"it has {about.st_size:,} bytes, and no record has more than {LARGEST_FILE:,}")
    return path.read_bytes()


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
