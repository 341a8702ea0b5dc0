"""A study, several runs at once or one after another: what is recorded is left out, failures are survived.

Interrupted at any moment and started again, a sweep ends with the same set of finished runs. Several sweeps into one
folder share the runs. How one run is done is `processes`' affair: this is the loop over many.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rtlab.environment import interrupts_wait
from rtlab.preparing import check_writable
from rtlab.records import RunRecord, load
from rtlab.running import OUTPUT
from rtlab.scheduling.jobs import rooms
from rtlab.scheduling.planning import FINISHED, Planned, is_timed
from rtlab.scheduling.processes import Begun, Room, RunProcess, records_of
from rtlab.scheduling.sharing import claim, remove_dead_claims
from rtlab.testbed import code_digest

if TYPE_CHECKING:
    from rtlab.scheduling.cluster import Cluster

Begin: TypeAlias = Callable[[Planned, Path, Room], Begun]


def sweep(
    planned: Iterable[Planned],
    *,
    output_dir: Path | str = OUTPUT,
    device: str | None = None,
    jobs: int = 1,
    cluster: "Cluster | None" = None,
) -> Generator[Planned, None, None]:
    """Do what is still to do, each run in a fresh process.

    What another sweep into the folder does meanwhile is left to it, and waited for in the end: if it dies, this one
    does its run. A `UserWarning` says so.

    Args:
        planned: The runs.
        output_dir: Folder of results.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        jobs: Runs at once (`rtlab.scheduling.jobs.fitting` says how many there is room for). They have the threads of
            the machine, or its GPUs, in equal parts; their times stand in no table.
        cluster: Where to do the runs, in place of this machine: it says on what device, and how many at once.

    Yields:
        Each run that was done, as soon as it is, with the status that it was recorded with.

    Raises:
        ValueError: If `output_dir` cannot be written, or rtlab's own sources were changed meanwhile: the records would
            not be of one state of the code.
        KeyboardInterrupt, SystemExit: If it was interrupted; the runs in flight are recorded as cancelled. So they are
            where the generator is closed, and after any other error.
    """
    folder = Path(output_dir)
    check_writable(folder)
    remove_dead_claims(folder)
    waiting = [one for one in planned if one.to_do]
    if cluster is None:
        several = jobs > 1 and len(waiting) > 1
        underway = _Underway(folder, [room._replace(beside=several) for room in rooms(device, jobs)], RunProcess)
    else:
        underway = _Underway(folder, cluster.rooms(waiting), cluster.begin)
    try:
        yield from _all(waiting, underway, here=cluster is None)
    except BaseException as error:
        with interrupts_wait():  # a second Ctrl-C
            underway.cancel(type(error).__name__)
        raise


@dataclass(frozen=True)
class _Job:
    """A run that was begun, the claim on it, and the room that it has."""

    process: Begun
    claimed: contextlib.ExitStack
    room: Room


class _Underway:
    """The runs in flight, at most one in each room."""

    def __init__(self, folder: Path, places: Iterable[Room], begin: Begin) -> None:
        self._folder, self._begin = folder, begin
        self._free = list(places)
        self._jobs: list[_Job] = []

    def __bool__(self) -> bool:
        return bool(self._jobs)

    @property
    def full(self) -> bool:
        """Whether no other run can be begun."""
        return not self._free

    def begin(self, one: Planned, *, wait: bool) -> Planned | None:
        """Begin a run; gives it as it is once this is known: done by another sweep, else as begun, `None` if not."""
        with contextlib.ExitStack() as claimed:
            if not claimed.enter_context(claim(self._folder, one.id, wait=wait)):
                return None
            if (done := _done_meanwhile(one, self._folder)) is not None:
                return done
            with interrupts_wait():  # until the run is among those that an interrupt ends
                process = self._begin(one, self._folder, self._free[0])
                self._jobs.append(_Job(process, claimed.pop_all(), self._free.pop(0)))
        return one

    def ended(self) -> Iterator[Planned]:
        """The runs that have ended, recorded; waits for the first."""
        processes = self._kind.first(job.process for job in self._jobs)
        for job in [job for job in self._jobs if job.process in processes]:
            with interrupts_wait(), job.claimed:
                self._jobs.remove(job)
                self._free.append(job.room)
                done = job.process.done()
            yield done

    def cancel(self, why: str) -> None:
        """End all, and see to it that each has its record: also where that of another one cannot be written."""
        if self._jobs:
            self._kind.end(job.process for job in self._jobs)
        with contextlib.ExitStack() as all_of_them:
            for job in self._jobs:
                all_of_them.enter_context(job.claimed)
                all_of_them.callback(job.process.cancelled, why)

    @property
    def _kind(self) -> type[Begun]:
        """How those in flight are waited for, and ended, together."""
        return type(self._jobs[0].process)


def _all(waiting: list[Planned], underway: _Underway, *, here: bool) -> Iterator[Planned]:
    """Do the runs, those last that other sweeps are at; a cluster's workers look at their sources themselves.

    To wait for another sweep while a run of ours is in flight would keep that run's claim after its end: two sweeps
    could wait for each other.
    """
    told = False
    while waiting:
        elsewhere = []
        for one in waiting:
            if underway.full:
                yield from underway.ended()
            if here and _sources_changed(one):  # the next process would run something else
                while underway:
                    yield from underway.ended()
                raise ValueError("the sources of rtlab changed during the sweep; start it again")
            begun = underway.begin(one, wait=told and not underway)
            if begun is None:
                elsewhere.append(one)
            elif begun is not one:
                yield begun
        waiting = elsewhere
        if underway:
            yield from underway.ended()
        elif waiting and not told:
            told = True
            runs = "run is" if len(waiting) == 1 else "runs are"
            warnings.warn(f"{len(waiting)} {runs} being done by another sweep; waiting for it", stacklevel=4)
    while underway:
        yield from underway.ended()


def _sources_changed(one: Planned) -> bool:
    engine = one.experiment.engine
    return code_digest.__wrapped__(engine) != code_digest(engine)


def _done_meanwhile(one: Planned, folder: Path) -> Planned | None:
    """The run, if another sweep has tried it since it was planned; a cancelled one was not tried to its end."""
    new = {}
    for path in records_of(folder, one.id):
        with contextlib.suppress(ValueError, OSError):
            record = load(path, logits=False)
            if record.created_at not in one.known and record.status != "cancelled" and _is_enough(record, one):
                new[path] = record
    for path, record in sorted(new.items(), key=lambda item: item[1].status not in FINISHED):
        to_do = record.status not in FINISHED
        return dataclasses.replace(one, recorded=record.status, to_do=to_do, path=path, by_another=True)
    return None


def _is_enough(record: RunRecord, one: Planned) -> bool:
    return not one.retime or one.prepared is None or record.status not in FINISHED or is_timed(record, one.prepared)
