"""The time that a choice may take, by the clock."""

import time
from collections.abc import Callable

from rtlab.ending import StoppedError

GRACE_S = 20.0  # that the first result may take beyond the budget: without one there is no answer

SPENT = "the budget was spent"


class Budget:
    """Seconds that are allowed and spent.

    Args:
        seconds: What is allowed.
        spent: What was spent before, by a process that was killed.
        clock: Gives the time in seconds.
    """

    def __init__(self, seconds: float, *, spent: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._start = clock() - spent
        self._grace = GRACE_S

    @property
    def spent(self) -> float:
        """Seconds that were spent."""
        return self._clock() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left; below 0 if it was overrun."""
        return self.seconds - self.spent

    def begun(self) -> None:
        """There is a result: from now on the budget holds as it is."""
        self._grace = 0.0

    @property
    def patience(self) -> float:
        """Seconds until `check` raises."""
        return self.left + self._grace

    def check(self) -> None:
        """Raise (`StoppedError`) if nothing is left."""
        if self.patience <= 0:
            raise StoppedError(SPENT)


def seconds_of(text: str) -> float:
    """A budget as people write it: `30m`, `90s` or `1.5h`.

    Raises:
        ValueError: If it is anything else, or not above 0.
    """
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        word = text.strip().lower()
        seconds = float(word[:-1]) * units[word[-1]]
    except (AttributeError, ValueError, LookupError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"budget must be a time such as 30m, 90s or 1.5h, above 0; got {text!r}")
    return seconds
