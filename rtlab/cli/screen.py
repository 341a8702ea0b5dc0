"""Standard output and error while a verb runs: whatever is printed, by whomever, a terminal only shows.

Data holds what its authors wanted: escape sequences, marks that reverse the writing, characters that the terminal's
encoding lacks. All of it passes here, so no verb has to think of it. JSON is not changed: it is ASCII as it is written.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

from rtlab.engines.ranks import Ranks
from rtlab.values import visible

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # by the numbers of their files
OUTPUT, ERROR = "standard output", "standard error"  # as errors of the system call them


class Screen:
    """A text stream that shows what is written to it, and does nothing else that a text may ask for.

    What its encoding lacks is shown by its number, as in Python's own text. An error of the system names the stream;
    of standard error none is raised: a run goes on where nobody reads its progress, and a status says how it ended.

    Args:
        stream: Where to write.
        name: What it is called in errors.
        bars: Whether bars may be drawn where it is a terminal; nothing else than text may be written otherwise.
    """

    def __init__(self, stream: TextIO, name: str, *, bars: bool) -> None:
        self._stream, self._name, self._bars = stream, name, bars and stream.isatty()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Whether it takes more than text."""
        return self._bars

    def write(self, text: str) -> int:
        """Write a text, made visible."""
        encoding = self._stream.encoding or "utf-8"
        shown = (
            visible(text, keep="\n\t\r" if self._bars else "\n\t").encode(encoding, "backslashreplace").decode(encoding)
        )
        with self._naming():
            self._stream.write(shown)
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        with self._naming():
            self._stream.flush()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._name != ERROR:
                raise OSError(error.errno, error.strerror, self._name) from error
            drop(self._stream)


@contextlib.contextmanager
def screens() -> Iterator[None]:
    """Meanwhile standard output and error are screens, and all three streams are there.

    A stream that was closed before the start would be the first file that is opened: a record, full of what libraries
    print. In its place is one that nothing can be read from, or written to but for standard error.
    """
    for number, (name, mode) in enumerate(STREAMS):
        if getattr(sys, name) is None:
            setattr(sys, name, open(_nothing(number), mode))  # noqa: SIM115  # for the rest of the process
    out = Screen(sys.stdout, OUTPUT, bars=False)
    error = Screen(sys.stderr, ERROR, bars=True)
    with contextlib.redirect_stdout(cast(TextIO, out)), contextlib.redirect_stderr(cast(TextIO, error)):
        yield


@contextlib.contextmanager
def only_first(ranks: Ranks) -> Iterator[None]:
    """Meanwhile what all of several ranks would print is printed once, by the first."""
    with contextlib.ExitStack() as stack:
        if not ranks.first:
            nothing = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(contextlib.redirect_stdout(nothing))
            stack.enter_context(contextlib.redirect_stderr(nothing))
        yield


def _nothing(number: int) -> int:
    """A file of that number: nothing, which takes only what is written to standard error."""
    opened = os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    if opened != number:
        with contextlib.suppress(OSError):
            os.fstat(number)
            return opened  # somebody has it by now
        os.dup2(opened, number)
        os.close(opened)
    return number


def drop(stream: TextIO) -> None:
    """What is left of a stream, and what comes, goes nowhere: nobody reads it, or it cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
