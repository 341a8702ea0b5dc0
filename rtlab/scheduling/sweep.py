"""A study, one run after another: every run in a fresh process, what is recorded left out, failures survived.

A process of its own for each run means that neither an out-of-memory error nor an allocator's state reaches the next
one. Interrupted at any moment and started again, a sweep ends with the same set of finished runs.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from rtlab.data import load_splits
from rtlab.encoders import load_encoder
from rtlab.experiment import Experiment
from rtlab.preparing import Prepared, check_writable, prepare
from rtlab.records import RunRecord, Status
from rtlab.running import OUTPUT, Run, RunFailedError
from rtlab.testbed import code_digest, testbed

FINISHED = ("ok", "nan")  # a run that diverged diverges again; other failures are tried again


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run of a sweep.

    Attributes:
        experiment: What is to be done.
        id: Its identity.
        to_do: Whether it is still to be done.
        recorded: How it ended: `ok` or `nan` if it ever did, else how it ended last, `None` if it was never recorded;
            of a run that was just done, `died` if its process did not say.
        path: The record of a run that was just done.
        notes: What was assumed when its data set was read, a sentence each.
    """

    experiment: Experiment
    id: str
    to_do: bool
    recorded: Status | Literal["died"] | None
    path: Path | None = None
    notes: tuple[str, ...] = ()


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
        recorded: What there is, in order of creation.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        retime: Whether a finished run is to be repeated unless it was timed on this testbed, undisturbed.

    Raises:
        ValueError: If an experiment cannot work (as `rtlab.preparing.prepare`).
    """
    of_id: dict[str, list[RunRecord]] = {}
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
        notes = prepared.splits.notes
        planned.append(Planned(experiment=experiment, id=prepared.id, to_do=not enough, recorded=known, notes=notes))
    return planned


def sweep(
    planned: Iterable[Planned], *, output_dir: Path | str = OUTPUT, device: str | None = None
) -> Iterator[Planned]:
    """Do what is still to do, one run at a time, each in a fresh process.

    Yields:
        Each run that was done, with the status that it was recorded with.

    Raises:
        ValueError: If `output_dir` cannot be written, or rtlab's own sources were changed meanwhile: the records would
            not be of one state of the code.
        KeyboardInterrupt, SystemExit: If it was interrupted; the run in flight has recorded itself as cancelled, if it
            had begun.
    """
    check_writable(Path(output_dir))
    for one in planned:
        if one.to_do:
            engine = one.experiment.engine
            if code_digest.__wrapped__(engine) != code_digest(engine):  # the next process would run something else
                raise ValueError("the sources of rtlab changed during the sweep; start it again")
            status, path = _in_a_process(one.experiment, str(output_dir), device)
            yield dataclasses.replace(one, recorded=status, to_do=status not in FINISHED, path=path)


def _is_timed(record: RunRecord, prepared: Prepared) -> bool:
    here = testbed(prepared.device, prepared.experiment.engine)
    return record.status == "nan" or (record.undisturbed and record.testbed == here)


Ended = tuple[Status | Literal["died"], Path | None]


def _in_a_process(experiment: Experiment, output_dir: str, device: str | None) -> Ended:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run_one, args=(experiment, output_dir, device, theirs))
    with _deaf():  # until it can record an interrupt
        process.start()
    theirs.close()
    try:
        process.join()
    finally:
        if process.is_alive():  # interrupted; the terminal's Ctrl-C may have reached the run as well
            process.terminate()
            process.join(timeout=30)
            process.kill()
    try:
        ended: Ended = ours.recv()
    except EOFError:
        return "died", None
    return ended


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started meanwhile ignore Ctrl-C, as long as they say nothing else."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_once(number: int, _: object) -> None:
    """End this process by an exception at the first signal, and let it write its record whatever comes after."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _run_one(experiment: Experiment, output_dir: str, device: str | None, to_sweep: "Connection[Ended, None]") -> None:
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _end_once)
    try:
        one = Run(experiment, output_dir=output_dir, device=device)
        to_sweep.send((one.execute().status, one.path))
    except RunFailedError as error:
        to_sweep.send((error.record.status, error.path))


def _end_with_the_sweep() -> None:
    """End this process when the sweep's dies, so that a sweep that is started again does not meet an old one's run."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a sweep started it"
    parent.join()
    os._exit(1)
