"""Trials at once: how many of them end soonest, and each run in a process of its own, as in a sweep.

A process of its own costs its start, and runs at once share the cores. So runs that take seconds are done one after
another in this process, and longer ones side by side. Times are told roughly, by what each run takes alone.
"""

import contextlib
import time
from collections.abc import Collection, Generator, Sequence
from dataclasses import replace
from heapq import heapreplace
from pathlib import Path

from rtlab.preparing import Prepared
from rtlab.records import RunRecord, load
from rtlab.scheduling.estimating import memory
from rtlab.scheduling.jobs import fitting, work_at_once
from rtlab.scheduling.planning import Own, Planned
from rtlab.scheduling.sweep import sweep

PATIENCE_S = 2.0  # that interrupted runs have for their records: Ctrl-C gives an answer within 5 seconds
START_S = 6.0  # of a process: torch, transformers and PEFT imported, the encoder checked


def soonest(seconds: Sequence[float], jobs: int, device: str | None) -> tuple[int, float]:
    """How many of some runs to do at once so that all end soonest, and after how many seconds; of equals the fewest.

    Args:
        seconds: What each takes alone, in the order in which they are begun.
        jobs: How many there may be at once.
        device: `cpu` or `cuda`; CUDA where there is one by default.
    """
    numbers = range(1, max(1, min(jobs, len(seconds))) + 1)
    return min(((number, _until_all_end(seconds, number, device)) for number in numbers), key=lambda found: found[1])


def _until_all_end(seconds: Sequence[float], number: int, device: str | None) -> float:
    if number == 1:
        return sum(seconds)
    work, _ = work_at_once(device, number)
    ends = [0.0] * number
    for one in seconds:
        heapreplace(ends, ends[0] + START_S + one * number / work)
    return max(ends)


def room_for(runs: Sequence[Prepared], records: Sequence[RunRecord], number: int, device: str | None) -> int:
    """How many of so many at once there is room for: on the GPUs, and in free memory."""
    return fitting([_planned(one, records) for one in runs], number, device=device)[0]


def at_once(
    runs: Sequence[Prepared],
    number: int,
    *,
    folder: Path,
    device: str | None,
    records: Sequence[RunRecord],
    save: Collection[str],
    seconds: float,
) -> Generator[tuple[str, RunRecord | str], None, None]:
    """Do runs, so many at once, each in a process of its own; those in flight are ended where the iterator is closed.

    Args:
        runs: What to do, all of other ids.
        number: How many at once, at least 2.
        folder: Folder of results.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        records: What lies in the folder already.
        save: Ids of those whose model is to be saved.
        seconds: After which each run in flight stops.

    Yields:
        Of each run, as soon as it has ended, its id, and its record or why it came to none.

    Raises:
        KeyboardInterrupt, SystemExit: If it was interrupted.
    """
    until = time.monotonic() + seconds
    planned = [
        replace(
            _planned(one, records),
            own=Own(splits=one.splits, save_model=one.id in save, until=until, patience=PATIENCE_S),
        )
        for one in runs
    ]
    with contextlib.closing(sweep(planned, output_dir=folder, device=device, jobs=number)) as done:
        for one in done:
            assert one.path is not None, "a run that has ended has a record"
            record = load(one.path)
            if record.status == "ok" and record.id != one.id:
                yield one.id, "the encoder is another one than it was"
            else:
                yield one.id, record if record.status == "ok" else record.error or record.status


def _planned(prepared: Prepared, records: Sequence[RunRecord]) -> Planned:
    return Planned(
        experiment=prepared.experiment,
        id=prepared.id,
        to_do=True,
        recorded=None,
        prepared=prepared,
        known=frozenset(record.created_at for record in records if record.id == prepared.id),
        memory=memory(prepared, records),
    )
