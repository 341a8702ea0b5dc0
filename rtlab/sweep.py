"""A study outside pytest: every run in a fresh process, what is recorded already left out, failures survived.

A process of its own for each run means that neither an out-of-memory error nor an allocator's state reaches the next
one. Interrupted at any moment and started again, a sweep ends with the same set of records.
"""

import dataclasses
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtlab import environment, records
from rtlab.experiment import Experiment
from rtlab.records import Status
from rtlab.running import RESULTS, RunFailedError, check_writable, prepare, run


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run of a sweep.

    Attributes:
        experiment: What is to be done.
        path: Where its record lies, or will.
        recorded: Status of the record that is there for this id, device and code; `None` where the run is still to do.
            A cancelled run is to do.
    """

    experiment: Experiment
    path: Path
    recorded: Status | None


def plan(
    experiments: Sequence[Experiment], *, output_dir: Path | str = RESULTS, device: str | None = None
) -> list[Planned]:
    """Which of the experiments are recorded already, for this device and state of the code.

    Args:
        experiments: A study; one that occurs twice is planned once.
        output_dir: Folder of results.
        device: `cpu` or `cuda`; CUDA where there is one by default.

    Raises:
        ValueError: If an experiment cannot work (as `rtlab.running.prepare`), or `output_dir` cannot be written.
    """
    check_writable(Path(output_dir))
    planned = []
    for experiment in dict.fromkeys(experiments):
        prepared = prepare(experiment, device=device)
        name = records.file_name(prepared.id, environment.device_name(prepared.device), environment.code_digest())
        path = Path(output_dir) / "records" / name
        planned.append(Planned(experiment=experiment, path=path, recorded=_recorded(path)))
    return planned


def sweep(
    planned: Sequence[Planned], *, output_dir: Path | str = RESULTS, device: str | None = None
) -> Iterator[Planned]:
    """Do what is still to do, one run at a time, each in a fresh process.

    Yields:
        Each run that was done, with the status that it was recorded with; `None` if its process died without a record.

    Raises:
        ValueError: If rtlab's own sources were changed meanwhile: the records would not be of one state of the code.
        KeyboardInterrupt: If it was interrupted; the run in flight has recorded itself as cancelled.
    """
    code = environment.code_digest()
    for one in planned:
        if one.recorded is None:
            if environment.code_digest.__wrapped__() != code:  # the next process would run something else
                raise ValueError("the sources of rtlab changed during the sweep; start it again")
            _in_a_process(one.experiment, str(output_dir), device)
            yield dataclasses.replace(one, recorded=_recorded(one.path))


def _recorded(path: Path) -> Status | None:
    try:
        status = records.load(path).status
    except (OSError, ValueError):  # none yet, or a broken one: the run writes it anew
        return None
    return None if status == "cancelled" else status


def _in_a_process(experiment: Experiment, output_dir: str, device: str | None) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_run_one, args=(experiment, output_dir, device))
    process.start()
    try:
        process.join()
    finally:
        if process.is_alive():  # interrupted: the terminal's Ctrl-C reached the run as well, and it records that
            process.join(timeout=30)
            process.kill()


def _run_one(experiment: Experiment, output_dir: str, device: str | None) -> None:
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    try:
        run(experiment, output_dir=output_dir, device=device)
    except (RunFailedError, KeyboardInterrupt):
        raise SystemExit(1) from None  # it is recorded, and the sweep reads the record


def _end_with_the_sweep() -> None:
    """End this process when the sweep's dies, so that a sweep that is started again does not meet an old one's run."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)
