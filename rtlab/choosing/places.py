"""Where a choice is made, and how one that was killed is found again."""

import contextlib
import hashlib
import json
import time
from pathlib import Path

from rtlab.choosing.budget import Budget
from rtlab.choosing.trials import Question
from rtlab.values import is_number
from rtlab.writing import write_whole

CHOICE = "choice.json"  # written last: a folder without it was not finished
SPENT = "spent.json"


def digest(question: Question, *asked: object) -> str:
    """What a choice is known again by: 16 hexadecimal digits."""
    encoder = None if question.encoder is None else question.encoder.sha256
    parts = [question.splits.sha256, encoder, question.usual.seed, *(str(one) for one in asked)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def folder_of(choices: Path, asked: str) -> Path:
    """Where a choice is made: where a process was killed at it, or a new folder."""
    for there in sorted(choices.glob(f"{asked}-*")):
        if not (there / CHOICE).exists():
            return there
    folder = choices / f"{asked}-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"
    folder.mkdir(parents=True)
    return folder


def keep_time(folder: Path, allowed: Budget) -> None:
    """Remember what was spent, for who goes on after a kill."""
    with contextlib.suppress(OSError):  # a full disk costs the way on after a kill, and no answer
        write_whole(folder / SPENT, json.dumps({"seconds": allowed.spent}) + "\n")


def spent(folder: Path) -> float:
    """Seconds that a process spent here before it was killed."""
    try:
        seconds = json.loads((folder / SPENT).read_text())["seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    return float(seconds) if is_number(seconds) and seconds >= 0 else 0.0
