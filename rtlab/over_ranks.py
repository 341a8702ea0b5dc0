"""What each of several ranks measures of itself, put together for the one record of their run."""

import json
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rtlab.engines.ranks import Ranks


class OwnTime:
    """Processor time of this process, from its construction on."""

    def __init__(self) -> None:
        self._own_s, self._start = sum(os.times()[:4]), time.perf_counter()

    def others_share(self, share: float | None, ranks: Ranks) -> float | None:
        """The share of this machine's time that others took, those left out that share the run.

        Args:
            share: What all processes but this one took.
            ranks: Who shares the run; all of them ask at once.
        """
        if share is None or ranks.alone:
            return share
        own_s = sum(os.times()[:4]) - self._own_s
        told = [json.loads(one) for one in ranks.bytes_of_all(json.dumps([machine(), own_s]).encode())]
        ranks_s = sum(float(seconds) for where, seconds in told if where == machine()) - own_s
        return max(0.0, share - ranks_s / ((time.perf_counter() - self._start) * (os.cpu_count() or 1)))


def largest(own: Sequence[int | None], ranks: Ranks) -> Sequence[int | None]:
    """Of each number the largest that a rank has; `None` where none has one."""
    if ranks.alone:
        return own
    told = [json.loads(one) for one in ranks.bytes_of_all(json.dumps(list(own)).encode())]
    return [max((number for number in each if number is not None), default=None) for each in zip(*told, strict=True)]


def machine() -> str:
    """Where processor time and process ids are shared; it stays in memory."""
    with suppress(OSError):
        return f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()
