"""Where a choice is made, and how one that was killed is found again and goes on."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from rtlab.choosing.ways import Rungs
from rtlab.values import Json, from_json, is_number, to_json
from rtlab.writing import write_whole

CHOICE = "choice.json"  # written last: a folder without it was not finished
STATE = "state.json"  # seconds that were spent, the plan, and whether a model waits to be handed over


def digest(*asked: object) -> str:
    """What a choice is known again by: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps([str(one) for one in asked]).encode()).hexdigest()[:16]


def folder_of(choices: Path, asked: str) -> Path:
    """Where a choice is made: where a process was killed at it, interrupted, or could not save its model; or anew."""
    for there in sorted(choices.glob(f"{asked}-*")):
        if _read(there / CHOICE).get("interrupted", True) or _read(there / STATE).get("unsaved") is True:
            return there
    folder = choices / f"{asked}-{datetime.now(UTC):%Y%m%d%H%M%S%f}"
    folder.mkdir(parents=True)
    return folder


def keep_time(folder: Path, seconds: float) -> None:
    """Remember what was spent, for who goes on after a kill."""
    _keep(folder, "seconds", seconds)


def keep_unsaved(folder: Path, *, unsaved: bool) -> None:
    """Remember whether a model lies here that could not be handed over, for who tries that again."""
    _keep(folder, "unsaved", unsaved)


def spent(folder: Path) -> float:
    """Seconds that a process spent here before it was killed."""
    seconds = _read(folder / STATE).get("seconds")
    return float(seconds) if is_number(seconds) and seconds >= 0 else 0.0


def planned(folder: Path, plan: Callable[[], Rungs | None]) -> Rungs | None:
    """The plan that a process made here before it was killed, else a new one, which is kept."""
    with contextlib.suppress(ValueError):
        return from_json(Rungs, _read(folder / STATE).get("rungs"), "rungs")
    rungs = plan()
    if rungs is not None:
        _keep(folder, "rungs", to_json(rungs))
    return rungs


def _read(file: Path) -> Mapping[str, Json]:
    """A file's fields; none where it is not there, or holds none."""
    with contextlib.suppress(OSError, ValueError):
        found: Json = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, Mapping):
            return found
    return {}


def _keep(folder: Path, name: str, value: Json) -> None:
    with contextlib.suppress(OSError):  # a full disk costs the way on after a kill, and no answer
        write_whole(folder / STATE, json.dumps({**_read(folder / STATE), name: value}) + "\n")
