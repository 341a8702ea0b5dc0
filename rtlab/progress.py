"""How far a run is, on standard error: a bar on a terminal, a line at every quarter elsewhere."""

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

QUARTERS = 4


class Bars:
    """One bar per phase of a run, each closed when the next begins.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._phase: str | None = None
        self._bar: tqdm[NoReturn] | None = None
        self._quarter = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, phase: str, done: int, total: int, *, note: str = "") -> None:
        """Show that `done` of `total` units of a phase are done.

        Args:
            phase: What is being done.
            done: Units done.
            total: Their number.
            note: What else is known, such as the time left; elsewhere than on a terminal it gets a line each time.
        """
        if phase != self._phase:
            self._begin(phase, total)
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
        elif note or done * QUARTERS // total > self._quarter:
            self._quarter = done * QUARTERS // total
            self._line(f"{phase} {done}/{total}{note and f', {note}'}")

    def begun(self, what: str) -> None:
        """Say in a line what begins, elsewhere than on a terminal: for who shows no phases of it there."""
        if not self._stream.isatty():
            self._line(what)

    def _line(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a run goes on where nobody looks any more
            print(text, file=self._stream, flush=True)

    def _begin(self, phase: str, total: int) -> None:
        if self._bar is not None:
            self._bar.close()
        self._phase, self._quarter, self._bar = phase, 0, None
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=phase, file=self._stream, dynamic_ncols=True)
