"""Which runs of a study are still to do, about how long each takes, and how much memory it needs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rtlab.data import Splits, load_splits
from rtlab.encoders import load_encoder
from rtlab.experiment import Experiment
from rtlab.preparing import Checks, Prepared, prepare
from rtlab.records import RunRecord, Status
from rtlab.scheduling.estimating import Estimate, estimate, memory

FINISHED = ("ok", "nan")  # a run that diverged diverges again; other failures are tried again


class Own(NamedTuple):
    """What a run has that its experiment does not say.

    Attributes:
        splits: Its sentences, where it cannot load them by their name.
        save_model: Whether to save what was trained.
        until: When it is to stop, by `time.monotonic`, which is the same in all processes; `None` for never.
        patience: Seconds that it has for its record once it is interrupted; `None` for the usual number.
    """

    splits: Splits | None = None
    save_model: bool = False
    until: float | None = None
    patience: float | None = None


PLAIN = Own()


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
        own: What it has that its experiment does not say.
        known: When the records of it were made that were known when it was planned.
        retime: Whether it is to be done for its time.
        memory: Bytes that it needs, about; 0 if that was not looked at.
        seconds: What a run that was just done took; `None` if that is not known, as of another sweep's.
    """

    experiment: Experiment
    id: str
    to_do: bool
    recorded: Status | None
    estimate: Estimate | None = None
    path: Path | None = None
    by_another: bool = False
    prepared: Prepared | None = field(default=None, repr=False, compare=False)
    own: Own = field(default=PLAIN, repr=False, compare=False)
    known: frozenset[str] = frozenset()
    retime: bool = False
    memory: int = 0
    seconds: float | None = None


def plan(
    experiments: Sequence[Experiment],
    recorded: Iterable[RunRecord] = (),
    *,
    device: str | None = None,
    retime: bool = False,
    elsewhere: bool = False,
) -> list[Planned]:
    """Which of the experiments are still to do; what they have in common is loaded, digested and checked once.

    Args:
        experiments: A study; what occurs twice, be it on a copy of the data, is planned once.
        recorded: What there is, in order of creation. What is there beside it when the sweep comes to a run, another
            sweep has done.
        device: `cpu` or `cuda`; CUDA where there is one by default.
        retime: Whether a finished run is to be repeated unless it was timed on this testbed, undisturbed.
        elsewhere: Whether other machines do the runs: then the device is theirs, and is not looked at.

    Raises:
        ValueError: If an experiment cannot work (as `rtlab.preparing.prepare`).
    """
    of_id: dict[str, list[RunRecord]] = {}
    recorded = tuple(recorded)
    for record in recorded:
        of_id.setdefault(record.id, []).append(record)
    splits, encoders, checks = cache(load_splits), cache(load_encoder), Checks.remembered()
    planned: dict[str, Planned] = {}
    for experiment in dict.fromkeys(experiments):
        prepared = prepare(
            experiment,
            device=device,
            load_splits=splits,
            load_encoder=encoders,
            checks=checks,
            elsewhere=elsewhere,
        )
        if prepared.id in planned:
            continue
        there = of_id.get(prepared.id, [])
        finished = [record for record in there if record.status in FINISHED]
        enough = [record for record in finished if is_timed(record, prepared)] if retime else finished
        statuses = [record.status for record in there]
        known = next((status for status in FINISHED if status in statuses), statuses[-1] if statuses else None)
        planned[prepared.id] = Planned(
            experiment=experiment,
            id=prepared.id,
            to_do=not enough,
            recorded=known,
            estimate=estimate(prepared, recorded),
            prepared=prepared,
            known=frozenset(record.created_at for record in there),
            retime=retime,
            memory=memory(prepared, recorded),
        )
    return list(planned.values())


def is_timed(record: RunRecord, prepared: Prepared) -> bool:
    """Whether a finished run has a time of this testbed, undisturbed, or can have none."""
    return record.status == "nan" or (record.undisturbed and record.testbed == prepared.testbed)
