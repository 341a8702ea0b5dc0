"""How a run ended that several ranks share: which of them records it, and what of, when one fails or dies.

The first one that meets an error records it, as all that others then meet, a broken connection or torchrun's SIGTERM,
follows from it. Who was killed can record nothing: another finds its process gone and says so.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from rtlab.ending import one_line_of, status_of
from rtlab.engines.ranks import Ranks, store
from rtlab.over_ranks import machine
from rtlab.records import Status

LOOK_S = 5.0  # that a rank looks for one that died, when a library's error or a signal ended its own part
PATIENCE_S = 10.0  # that one has which must know of a death; torchrun kills it after 30
GOODBYE_S = 30.0  # that the first rank waits for the others at the end


class RankEndings:
    """What a rank knows of how the others end.

    Args:
        ranks: Who shares the run.
        run: Tells this run from others of the same processes.
    """

    def __init__(self, ranks: Ranks, run: str) -> None:
        self._ranks, self._run, self._store = ranks, run, store(run)
        self._others = [rank for rank in range(ranks.number) if rank != ranks.rank]
        self._processes: dict[int, int] = {}  # of those of this machine
        self._over = threading.Event()
        self._store.set(f"process/{ranks.rank}", f"{os.getpid()} {machine()}")

    def meet(self) -> None:
        """Learn of the others' processes; they must have got as far as this."""
        for rank in self._others:
            process, _, where = self._store.get(f"process/{rank}").decode().partition(" ")
            if where == machine():
                self._processes[rank] = int(process)

    def recorded_as(self, error: BaseException) -> tuple[Status, str] | None:
        """Status and error of the record, for the rank that is to write it; `None` for all others.

        Args:
            error: What ended this rank's part.
        """
        self.leave()
        if not self._first_to_tell():
            return None
        if isinstance(error, RuntimeError | KeyboardInterrupt | SystemExit):
            until = time.monotonic() + LOOK_S
            while time.monotonic() < until and self._somebody_is_left():
                if (dead := self.dead()) is not None:
                    return "failed", self._died(dead)
                time.sleep(0.05)
        return status_of(error), one_line_of(error)

    def watch(self, record: Callable[[Status, str], object]) -> None:
        """From now on have a thread record the death of a rank, and end this process, if it does neither itself.

        On CUDA it may wait for ever for one that is no more, in a library that hears of no signal.

        Args:
            record: Writes the record.
        """

        def look() -> None:
            while not self._over.wait(1.0):
                if (dead := self.dead()) is None:
                    continue
                if self._over.wait(PATIENCE_S):
                    return
                try:
                    if self._first_to_tell():
                        record("failed", self._died(dead))
                finally:
                    os._exit(1)

        threading.Thread(target=look, daemon=True).start()

    def leave(self) -> None:
        """This rank ends in order, whatever ends it."""
        self._over.set()
        with contextlib.suppress(RuntimeError):  # the store is gone, with whoever held it
            self._store.set(f"left/{self._ranks.rank}", "")

    def see_off(self) -> None:
        """Wait until all others have left: what is under way to them ends with this process."""
        with contextlib.suppress(RuntimeError):
            self._store.wait([f"left/{rank}" for rank in self._others], timedelta(seconds=GOODBYE_S))

    def dead(self) -> int | None:
        """A rank of this machine whose process is no more, and that did not leave."""
        for rank, process in self._processes.items():
            if _is_gone(process) and not self._left(rank):
                return rank
        return None

    def _died(self, rank: int) -> str:
        return f"rank {rank} of {self._ranks.number} died without a word, as a process does that is killed"

    def _somebody_is_left(self) -> bool:
        return not all(map(self._left, self._others))

    def _left(self, rank: int) -> bool:
        try:
            return bool(self._store.check([f"left/{rank}"]))
        except RuntimeError:
            return False

    def _first_to_tell(self) -> bool:
        gone = [rank in self._processes and _is_gone(self._processes[rank]) for rank in range(self._ranks.rank)]
        return first_to(f"tell of {self._run}", or_else=all(gone))


def first_to(do: str, *, or_else: bool) -> bool:
    """Whether no other rank was first to do something; `or_else` where nobody holds what ranks tell each other."""
    try:
        return bool(store(do).add("first", 1) == 1)
    except RuntimeError:
        return or_else


def _is_gone(process: int) -> bool:
    """Whether a process of this machine has ended, also where nobody has asked for its status yet."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
