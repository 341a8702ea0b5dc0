"""A planned run in a process of its own, and the record of how it ended, whatever became of that process.

Neither an out-of-memory error nor an allocator's state reaches another run so, and what a run could not record, such
as that the kernel killed it, is recorded here.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from rtlab.data import Splits
from rtlab.ending import StoppedError, status_of
from rtlab.environment import ENDING, ended_by_signals
from rtlab.experiment import Experiment
from rtlab.preparing import Prepared, prepare
from rtlab.records import Status, load
from rtlab.running import Run, RunFailedError
from rtlab.scheduling.planning import FINISHED, PLAIN, Own, Planned

PATIENCE_S = 30  # that interrupted runs have for their records


class Room(NamedTuple):
    """What of the machine a run has.

    Attributes:
        device: `cpu` or `cuda`; CUDA where there is one by default.
        threads: Threads to compute with; `None` for all.
        gpu: The GPU, as CUDA_VISIBLE_DEVICES names it; `None` for the first.
        beside: Whether other runs of the sweep may be done beside it.
    """

    device: str | None = None
    threads: int | None = None
    gpu: str | None = None
    beside: bool = False

    @property
    def variables(self) -> Mapping[str, str]:
        """What the libraries read as they are imported."""
        named = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu}
        return named if self.threads is None else named | dict.fromkeys(_THREADS, str(self.threads))


class Answer(NamedTuple):
    """What a run's process says of its end: a record's status, and where it lies, or why there is none."""

    status: Status
    path: Path | None = None
    error: str = ""


class Begun(Protocol):
    """A run that was begun: `RunProcess` here, or one on a cluster."""

    def done(self) -> Planned:
        """The run with how it ended, once it is among the `first`."""

    def cancelled(self, why: str) -> Planned:
        """The run with its record, after `end`."""

    @classmethod
    def first(cls, begun: Iterable[Self]) -> list[Self]:
        """Those that have ended; waits for the first."""

    @classmethod
    def end(cls, begun: Iterable[Self]) -> None:
        """End runs that were interrupted, all at once."""


class RunProcess:
    """A run that was begun; whoever begins it holds back signals until it is where an interrupt finds it.

    Args:
        one: The run.
        folder: Folder of results.
        room: What of the machine it has.
    """

    def __init__(self, one: Planned, folder: Path, room: Room) -> None:
        context = multiprocessing.get_context("spawn")
        self._one, self._folder, self._room = one, folder, room
        self._before = records_of(folder, one.id)
        self._start = time.monotonic()
        self._answers, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_run_one, args=(one.experiment, str(folder), room, theirs, one.own))
        resource_tracker.ensure_running()  # it would unblock signals while it is started
        with theirs, _signals_blocked(), _variables(room.variables):
            self._process.start()

    def done(self) -> Planned:
        """The run with how it ended, once its process has; waits for that."""
        self._process.join()
        with self._answers:
            try:
                answer: Answer = self._answers.recv()
            except (EOFError, OSError):  # it sent nothing, or not all of it
                answer = _death(self._process.exitcode or 0)
        return self._recorded(answer)

    def cancelled(self, why: str) -> Planned:
        """The run with its record, after `end`."""
        return self._recorded(Answer("cancelled", None, why))

    @classmethod
    def first(cls, begun: Iterable[Self]) -> list[Self]:
        """Those that have ended; waits for the first."""
        of = {one._process.sentinel: one for one in begun}
        return [of[sentinel] for sentinel in wait(list(of)) if isinstance(sentinel, int)]

    @classmethod
    def end(cls, begun: Iterable[Self]) -> None:
        """End runs that were interrupted, all at once; the terminal's Ctrl-C may have reached them as well."""
        ending = list(begun)
        for one in ending:
            one._process.terminate()
        patience = max((PATIENCE_S if (s := one._one.own.patience) is None else s for one in ending), default=0.0)
        until = time.monotonic() + patience
        for process in (one._process for one in ending):
            process.join(timeout=max(0.0, until - time.monotonic()))
            process.kill()
            process.join()

    def _recorded(self, answer: Answer) -> Planned:
        status, path = self._record(answer)
        return ended(self._one, status, path, time.monotonic() - self._start)

    def _record(self, answer: Answer) -> tuple[Status, Path]:
        """How it ended, and its record: the one that its process left, else one that is made here."""
        if answer.path is not None:
            return answer.status, answer.path
        for path in sorted(records_of(self._folder, self._one.id) - self._before):  # it died just after it
            return load(path, logits=False).status, path
        return answer.status, leave(self._one, self._folder, self._room, answer)


def ended(one: Planned, status: Status, path: Path, seconds: float | None) -> Planned:
    """A run with how it ended, where its record lies, and what it took."""
    return replace(one, recorded=status, to_do=status not in FINISHED, path=path, seconds=seconds)


def leave(one: Planned, folder: Path, room: Room, answer: Answer) -> Path:
    """Leave the record of a run that could leave none itself; gives its file.

    Raises:
        OSError: If it cannot be written; a note says what the run's process said, such as where its record is.
    """
    run = Run(one.experiment, output_dir=folder, device=room.device, prepared=one.prepared)
    try:
        return run.leave(answer.status, answer.error, threads=room.threads)
    except OSError as error:
        error.add_note(answer.error)  # a full disk, and where the run's own record is then
        raise


def records_of(folder: Path, run: str) -> set[Path]:
    """The records of a run that sweeps have written."""
    return set((folder / "records").glob(f"{run}-*.json"))


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def _death(exit_code: int) -> Answer:
    """What a process that said nothing died of."""
    if exit_code == -signal.SIGKILL:
        return Answer("oom", None, "its process was killed (signal 9): most likely out of memory")
    if exit_code < 0:
        with contextlib.suppress(ValueError):  # a number without a name
            name = signal.Signals(-exit_code).name
            return Answer("failed", None, f"its process died of signal {-exit_code} ({name})")
    return Answer("failed", None, f"its process ended with status {exit_code} and left no record")


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes that are started meanwhile hear of signals once they unblock them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _variables(given: Mapping[str, str]) -> Iterator[None]:
    """Processes that are started meanwhile have these variables from their first import on."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run_one(
    experiment: Experiment, output_dir: str, room: Room, to_sweep: "Connection[Answer, None]", own: Own
) -> None:
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    with ended_by_signals(once=True):  # it writes its record and answers, whatever comes after
        to_sweep.send(do(experiment, output_dir, room, own=own))


def do(experiment: Experiment, output_dir: str, room: Room, run: str | None = None, own: Own = PLAIN) -> Answer:
    """Do a run in this process, and say how it ended, whatever happens.

    Args:
        experiment: What to do.
        output_dir: Folder of results.
        room: What of the machine it has.
        run: The id that it must have; `None` for any.
        own: What it has beside its experiment.
    """

    def until(*_: object) -> None:
        if own.until is not None and time.monotonic() > own.until:
            raise StoppedError("its time was over")

    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        one = Run(
            experiment,
            output_dir=output_dir,
            save_model=own.save_model,
            device=room.device,
            progress=until,
            prepared=None if own.splits is None else _prepared(experiment, room, own.splits),
            beside=room.beside,
        )
        if run not in (None, one.prepared.id):
            raise ValueError("the data or the encoder here is another one than where the run was planned")
        return Answer(one.execute().status, one.path)
    except RunFailedError as error:
        return Answer(error.record.status, error.path)
    except BaseException as error:  # noqa: BLE001  # before it could record anything; the sweep does
        said = "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        return Answer(status_of(error), None, said)


def _prepared(experiment: Experiment, room: Room, splits: Splits) -> Prepared:
    return prepare(experiment, device=room.device, load_splits=lambda *_, **__: splits)


def _end_with_the_sweep() -> None:
    """End this process when the sweep's dies, so that a sweep that is started again does not meet an old one's run."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a sweep started it"
    parent.join()
    os._exit(1)
