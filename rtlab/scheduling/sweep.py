"""A study, one run after another: every run in a fresh process, what is recorded left out, failures survived.

A process of its own for each run means that neither an out-of-memory error nor an allocator's state reaches the next
one, and that the sweep records what a run could not: that the kernel killed it. Interrupted at any moment and started
again, a sweep ends with the same set of finished runs. Several sweeps into one folder share the runs.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

from rtlab.data import load_splits
from rtlab.encoders import load_encoder
from rtlab.ending import status_of
from rtlab.environment import ENDING, ended_by_signals, interrupts_wait
from rtlab.experiment import Experiment
from rtlab.preparing import Prepared, check_writable, prepare
from rtlab.records import RunRecord, Status, load
from rtlab.running import OUTPUT, Run, RunFailedError
from rtlab.scheduling.estimating import Estimate, estimate
from rtlab.scheduling.sharing import claim, remove_dead_claims
from rtlab.testbed import code_digest, testbed

PATIENCE_S = 30  # that an interrupted run has for its record
FINISHED = ("ok", "nan")  # a run that diverged diverges again; other failures are tried again


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run of a sweep.

    Attributes:
        experiment: What is to be done.
        id: Its identity.
        to_do: Whether it is still to be done.
        recorded: How it ended: `ok` or `nan` if it ever did, else how it ended last, `None` if it was never recorded.
        estimate: About how long it takes, by records of runs like it; `None` if there are none.
        path: The record of a run that was just done.
        by_another: Whether another sweep has done it meanwhile.
        prepared: What it needs.
        known: When the records of it were made that were known when it was planned.
        retime: Whether it is to be done for its time.
    """

    experiment: Experiment
    id: str
    to_do: bool
    recorded: Status | None
    estimate: Estimate | None = None
    path: Path | None = None
    by_another: bool = False
    prepared: Prepared | None = field(default=None, repr=False, compare=False)
    known: frozenset[str] = frozenset()
    retime: bool = False


def plan(
    experiments: Sequence[Experiment],
    recorded: Iterable[RunRecord] = (),
    *,
    device: str | None = None,
    retime: bool = False,
) -> list[Planned]:
    """Which of the experiments are still to do; what they have in common is loaded, and digested, once.

    Args:
        experiments: A study; one that occurs twice is planned once.
        recorded: What there is, in order of creation. What is there beside it when the sweep comes to a run, another
            sweep has done.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        retime: Whether a finished run is to be repeated unless it was timed on this testbed, undisturbed.

    Raises:
        ValueError: If an experiment cannot work (as `rtlab.preparing.prepare`).
    """
    of_id: dict[str, list[RunRecord]] = {}
    recorded = tuple(recorded)
    for record in recorded:
        of_id.setdefault(record.id, []).append(record)
    splits, encoders = cache(load_splits), cache(load_encoder)
    planned = []
    for experiment in dict.fromkeys(experiments):
        prepared = prepare(experiment, device=device, load_splits=splits, load_encoder=encoders)
        there = of_id.get(prepared.id, [])
        finished = [record for record in there if record.status in FINISHED]
        enough = [record for record in finished if _is_timed(record, prepared)] if retime else finished
        statuses = [record.status for record in there]
        known = next((status for status in FINISHED if status in statuses), statuses[-1] if statuses else None)
        planned.append(
            Planned(
                experiment=experiment,
                id=prepared.id,
                to_do=not enough,
                recorded=known,
                estimate=estimate(prepared, recorded),
                prepared=prepared,
                known=frozenset(record.created_at for record in there),
                retime=retime,
            )
        )
    return planned


def sweep(
    planned: Iterable[Planned], *, output_dir: Path | str = OUTPUT, device: str | None = None
) -> Iterator[Planned]:
    """Do what is still to do, one run at a time, each in a fresh process.

    What another sweep into the folder does meanwhile is left to it, and waited for in the end: if it dies, this one
    does its run. A `UserWarning` says so.

    Yields:
        Each run that was done, with the status that it was recorded with.

    Raises:
        ValueError: If `output_dir` cannot be written, or rtlab's own sources were changed meanwhile: the records would
            not be of one state of the code.
        KeyboardInterrupt, SystemExit: If it was interrupted; the run in flight is recorded as cancelled.
    """
    folder = Path(output_dir)
    check_writable(folder)
    remove_dead_claims(folder)
    elsewhere = []
    for one in planned:
        if one.to_do:
            done = _do(one, folder, device, wait=False)
            if done is None:
                elsewhere.append(one)
            else:
                yield done
    if elsewhere:
        runs = "run is" if len(elsewhere) == 1 else "runs are"
        warnings.warn(f"{len(elsewhere)} {runs} being done by another sweep; waiting for it", stacklevel=2)
    for one in elsewhere:
        done = _do(one, folder, device, wait=True)
        assert done is not None, "it was waited for"
        yield done


def _do(one: Planned, folder: Path, device: str | None, *, wait: bool) -> Planned | None:
    """Do a run, or find that another sweep has done it; `None` if another one is at it."""
    with claim(folder, one.id, wait=wait) as ours:
        if not ours:
            return None
        done = _done_meanwhile(one, folder)
        if done is not None:
            return done
        engine = one.experiment.engine
        if code_digest.__wrapped__(engine) != code_digest(engine):  # the next process would run something else
            raise ValueError("the sources of rtlab changed during the sweep; start it again")
        status, path = _in_a_process(one, folder, device)
        return dataclasses.replace(one, recorded=status, to_do=status not in FINISHED, path=path)


def _done_meanwhile(one: Planned, folder: Path) -> Planned | None:
    """The run, if another sweep has tried it since it was planned; a cancelled one was not tried to its end."""
    new = {}
    for path in _files(folder, one.id):
        with contextlib.suppress(ValueError, OSError):
            record = load(path, logits=False)
            if record.created_at not in one.known and record.status != "cancelled" and _is_enough(record, one):
                new[path] = record
    for path, record in sorted(new.items(), key=lambda item: item[1].status not in FINISHED):
        to_do = record.status not in FINISHED
        return dataclasses.replace(one, recorded=record.status, to_do=to_do, path=path, by_another=True)
    return None


def _is_enough(record: RunRecord, one: Planned) -> bool:
    return not one.retime or one.prepared is None or record.status not in FINISHED or _is_timed(record, one.prepared)


def _files(folder: Path, run: str) -> set[Path]:
    """The records of a run that sweeps have written."""
    return set((folder / "records").glob(f"{run}-*.json"))


def _is_timed(record: RunRecord, prepared: Prepared) -> bool:
    here = testbed(prepared.device, prepared.experiment.engine)
    return record.status == "nan" or (record.undisturbed and record.testbed == here)


class _Answer(NamedTuple):
    """What a run's process says of its end: a record's status, and where it lies, or why there is none."""

    status: Status
    path: Path | None = None
    error: str = ""


def _in_a_process(one: Planned, folder: Path, device: str | None) -> tuple[Status, Path]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run_one, args=(one.experiment, str(folder), device, theirs))
    before = _files(folder, one.id)
    resource_tracker.ensure_running()  # it would unblock signals while it is started
    try:
        with interrupts_wait(), _signals_blocked():
            process.start()
            theirs.close()
        process.join()
    except BaseException as error:
        with interrupts_wait():  # a second Ctrl-C
            _end(process)
            _recorded(one, folder, device, before, _Answer("cancelled", None, type(error).__name__))
        raise
    try:
        answer: _Answer = ours.recv()
    except EOFError:
        answer = _death(process.exitcode or 0)
    return _recorded(one, folder, device, before, answer)


def _end(process: SpawnProcess) -> None:
    """End an interrupted run; the terminal's Ctrl-C may have reached it as well."""
    if process.pid is not None:
        process.terminate()
        process.join(timeout=PATIENCE_S)
        process.kill()
        process.join()


def _death(exit_code: int) -> _Answer:
    """What a process that said nothing died of."""
    if exit_code == -signal.SIGKILL:
        return _Answer("oom", None, "its process was killed (signal 9): most likely out of memory")
    if exit_code < 0:
        with contextlib.suppress(ValueError):  # a number without a name
            name = signal.Signals(-exit_code).name
            return _Answer("failed", None, f"its process died of signal {-exit_code} ({name})")
    return _Answer("failed", None, f"its process ended with status {exit_code} and left no record")


def _recorded(
    one: Planned, folder: Path, device: str | None, before: set[Path], answer: _Answer
) -> tuple[Status, Path]:
    """How a run ended, and its record: the one that its process left, else one that is made here."""
    if answer.path is not None:
        return answer.status, answer.path
    for path in sorted(_files(folder, one.id) - before):  # it died just after it
        return load(path, logits=False).status, path
    run = Run(one.experiment, output_dir=folder, device=device, prepared=one.prepared)
    try:
        return answer.status, run.leave(answer.status, answer.error)
    except OSError as error:
        error.add_note(answer.error)  # a full disk, and where the run's own record is then
        raise


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes that are started meanwhile hear of signals once they unblock them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_one(
    experiment: Experiment, output_dir: str, device: str | None, to_sweep: "Connection[_Answer, None]"
) -> None:
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    with ended_by_signals(once=True):  # it writes its record and answers, whatever comes after
        to_sweep.send(_answer(experiment, output_dir, device))


def _answer(experiment: Experiment, output_dir: str, device: str | None) -> _Answer:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        one = Run(experiment, output_dir=output_dir, device=device)
        return _Answer(one.execute().status, one.path)
    except RunFailedError as error:
        return _Answer(error.record.status, error.path)
    except BaseException as error:  # noqa: BLE001  # before it could record anything; the sweep does
        said = "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        return _Answer(status_of(error), None, said)


def _end_with_the_sweep() -> None:
    """End this process when the sweep's dies, so that a sweep that is started again does not meet an old one's run."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a sweep started it"
    parent.join()
    os._exit(1)
