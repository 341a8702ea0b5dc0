"""How a run ended that an error ended: in a word and a line, as its record says it."""

import re

from rtlab.engines.engine import NonFiniteLossError, out_of_memory
from rtlab.records import Status


class StoppedError(Exception):
    """Whoever asked for a run has stopped it, by raising this out of its progress."""


def status_of(error: BaseException) -> Status:
    """The status of its record."""
    if isinstance(error, NonFiniteLossError):
        return "nan"
    if isinstance(error, KeyboardInterrupt | SystemExit | StoppedError):
        return "cancelled"
    return "oom" if out_of_memory(error) else "failed"


def one_line_of(error: BaseException) -> str:
    """An exception in one line, as `without_folders`."""
    return without_folders(" ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":"))


def without_folders(text: str) -> str:
    """A text without the folders of any absolute path in it: a record names no machine."""
    text = re.sub(r"(['\"])/[^'\"]*/([^'\"]*)\1", r"\1\2\1", text)
    return re.sub(r"(?<![\w.])/(?:[^\s/'\":]+/)+", "", text)
