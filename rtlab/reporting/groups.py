"""Which records speak of the same thing, which of them give its scores and which its times.

Records are compared at one place: one encoder, one data set. A group is an experiment there, one run for each seed.
Several records may be of one run (one id): its score is the oldest one's, so that it never changes, and its time on a
testbed the newest one's there that nothing disturbed. Scores of a group may come from several testbeds; times never do.
An epoch takes as long whatever their number, so a group's times come from undisturbed whole runs of any number of
epochs, and its training time is their seconds an epoch times its own epochs.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rtlab.experiment import Experiment
from rtlab.records import Classes, Predictions, RunRecord
from rtlab.reporting.frame import COLUMNS, TIMES, Cell, setup_fields
from rtlab.statistics import Interval, accuracy_interval
from rtlab.testbed import Testbed

Found = TypeVar("Found")
Key = TypeVar("Key", bound=Hashable)
SPLITS = ("validation", "test")
_BY_EPOCH = ("train_s", "seconds")  # what grows with their number


@dataclass(frozen=True, order=True)
class Place:
    """What records must have in common to be compared: contents, not names, decide for encoder and data set.

    Both of an encoder are empty where there are only runs that read none.
    """

    encoder: str
    dataset: str
    encoder_sha256: str
    dataset_sha256: str


@dataclass(frozen=True)
class Group:
    """Finished runs of one experiment at one place, one for each seed.

    Attributes:
        place: Where they were made.
        experiment: The first run's experiment; the others differ from it in the seed alone.
        fields: The columns of the frame that say what it is.
        scored: The runs that scores are taken from, by seed.
        timed: The runs that times are taken from, by testbed and seed; those of other lengths are scaled to its own.
        disturbed: How many of the runs have no time, since others took the processor meanwhile.
    """

    place: Place
    experiment: Experiment
    fields: Mapping[str, Cell]
    scored: tuple[RunRecord, ...]
    timed: Mapping[Testbed, tuple[RunRecord, ...]]
    disturbed: int = 0

    def but_for(self, *names: str) -> tuple[Cell, ...]:
        """What it is, but for some fields: those that differ in nothing else have it in common."""
        return tuple((dict(self.fields) | dict.fromkeys(names)).values())

    @property
    def method(self) -> str:
        """Its method's name."""
        return self.experiment.method.name

    @property
    def chance(self) -> bool:
        """Whether other seeds could give other scores."""
        return self.experiment.chance

    def seeded(self, least: int) -> bool:
        """Whether it was run under so many seeds, or has no chance in it."""
        return len(self.scored) >= least or not self.chance

    @property
    def results(self) -> int:
        """The results version of its engine."""
        return self.scored[0].results

    @property
    def whole(self) -> bool:
        """Whether it trained all of its epochs, or has none."""
        return self.fields["max_steps"] is None

    @cached_property
    def testbed(self) -> Testbed | None:
        """The testbed that its times are taken from: that of most runs, of several the newest."""
        return max(self.timed, key=self.worth, default=None)

    @property
    def scaled(self) -> bool:
        """Whether its training time is taken from runs of another number of epochs."""
        return any(_epochs(record) != _epochs(self.scored[0]) for record in self.on_testbed)

    @property
    def on_testbed(self) -> tuple[RunRecord, ...]:
        """The runs on it."""
        return () if self.testbed is None else self.timed[self.testbed]

    def timed_on(self, machine: Testbed) -> "Group":
        """The group with all its scores, and with the times of one machine alone."""
        timed = {testbed: runs for testbed, runs in self.timed.items() if without_code(testbed) == machine}
        return dataclasses.replace(self, timed=timed)

    def values(self, name: str) -> list[float]:
        """A column of the frame for each run that has a value in it; times are those of one testbed, for its epochs."""
        found = []
        for record in self.on_testbed if name in TIMES else self.scored:
            if (value := COLUMNS[name](record)) is not None:
                found.append(float(value))
                if name in _BY_EPOCH and record.timing is not None:
                    # What the epochs that the run lacks of those that are asked for here add; below 0 if it has more.
                    found[-1] += record.timing.train_s * (_epochs(self.scored[0]) / _epochs(record) - 1)
        return found

    def mean(self, name: str) -> float:
        """The mean of `values`."""
        values = self.values(name)
        return sum(values) / len(values)

    @property
    def points(self) -> list[tuple[float, float]]:
        """Seconds of training and test accuracy of each seed that was timed on its testbed."""
        accuracies = {record.experiment.seed: record.scores["test"].accuracy for record in self.scored}
        seeds = (record.experiment.seed for record in self.on_testbed)
        timed = zip(seeds, self.values("seconds"), strict=True)
        return [(seconds, accuracies[seed]) for seed, seconds in timed if seed in accuracies]

    def predicted(self, split: str) -> NDArray[np.integer]:
        """The class that each sentence of a split was given, under each seed: (S, N)."""
        return np.stack([record.predictions[split].classes for record in self.scored])

    def held_out(self, split: str) -> Predictions | Classes:
        """What its first run says of a split; its true classes and their number are those of every run there."""
        return self.scored[0].predictions[split]

    def correct(self, split: str) -> NDArray[np.bool_]:
        """Whether each sentence of a split was labelled rightly, under each seed: (S, N)."""
        return np.asarray(self.predicted(split) == self.held_out(split).labels)

    def has_predictions(self, split: str) -> bool:
        """Whether every run says of each sentence of a split what it takes it for, and all of the same sentences."""
        first, *others = (record.predictions.get(split) for record in self.scored)
        return first is not None and all(o is not None and same_labels(o.labels, first.labels) for o in others)

    @cached_property
    def accuracies(self) -> Mapping[str, Interval]:
        """The accuracy of each split that it has predictions of, with its interval."""
        there = filter(self.has_predictions, SPLITS)
        return {split: accuracy_interval(self.correct(split), chance=self.chance) for split in there}

    def worth(self, testbed: Testbed) -> tuple[int, str]:
        """How good a source of times a testbed is: its runs, and the newest of them."""
        runs = self.timed[testbed]
        return len(runs), max(record.created_at for record in runs)


def same_labels(a: NDArray[np.integer], b: NDArray[np.integer]) -> bool:
    """Whether two are of the same sentences, as far as their labels tell."""
    return a is b or np.array_equal(a, b)


def place_of(record: RunRecord) -> Place:
    """Where a record was made."""
    name, sha256 = ("", "") if record.encoder is None else (record.encoder.name, record.encoder.sha256)
    return Place(name, record.dataset.name, sha256, record.dataset.sha256)


def without_code(testbed: Testbed) -> Testbed:
    """The machine with its versions: what runs of two engines, whose code differs, can have in common."""
    return dataclasses.replace(testbed, code="")


def grouped(found: Iterable[Found], by: Callable[[Found], Key]) -> dict[Key, list[Found]]:
    """In lists by a key; keys and members in the order in which they come."""
    lists: dict[Key, list[Found]] = {}
    for one in found:
        lists.setdefault(by(one), []).append(one)
    return lists


def groups(records: Iterable[RunRecord], *, everywhere: bool = True) -> tuple[Group, ...]:
    """The finished ones of `records`, grouped by place, experiment without its seed, and results version.

    Records of one id are of one group, however their encoder, data set or modules were named.

    Args:
        records: Of any kind.
        everywhere: Whether runs that read no encoder stand at each encoder's place of their data set, or once.
    """
    finished = sorted((r for r in records if r.status == "ok"), key=lambda r: (r.created_at, r.id))
    alone = {record.id: would_be(record) for record in reversed(finished)}  # the oldest record of each run
    keys = {id_: (one.place, one.results, *one.fields.values()) for id_, one in alone.items()}
    members = grouped(finished, lambda record: keys[record.id])
    found = [_group([alone[id_] for id_ in dict.fromkeys(run.id for run in runs)], runs) for runs in members.values()]
    if everywhere:
        found = list(_everywhere(found))
    return tuple(sorted(_timed_by_epoch(found), key=lambda group: (group.place, str(group.fields), group.results)))


def _everywhere(found: Sequence[Group]) -> Iterator[Group]:
    """The groups, those that read no encoder at each place of their data set: there they are compared."""
    places = dict.fromkeys(group.place for group in found if group.place.encoder_sha256)
    for group in found:
        there = [place for place in places if place.dataset_sha256 == group.place.dataset_sha256]
        of = [group.place] if group.place.encoder_sha256 or not there else there
        yield from (dataclasses.replace(group, place=place) for place in of)


def _timed_by_epoch(found: Sequence[Group]) -> list[Group]:
    """The groups, those of whole epochs with the times of all that differ from them in the number of epochs alone.

    A seed's own run goes before that of another length. Runs that end once they have had patience are of as many epochs
    as they came to: they keep their own times.
    """
    made = {id(group): group for group in found}
    for family in families([group for group in found if group.whole and group.fields["patience"] is None], "epochs"):
        for group in family:
            timed: dict[Testbed, dict[int, RunRecord]] = {}
            for member in sorted(family, key=lambda member: member is group):
                for testbed, runs in member.timed.items():
                    timed.setdefault(testbed, {}).update({record.experiment.seed: record for record in runs})
            by_seed = {testbed: _by_seed(runs.values()) for testbed, runs in timed.items()}
            made[id(group)] = dataclasses.replace(group, timed=by_seed)
    return list(made.values())


def _epochs(record: RunRecord) -> int:
    method = record.experiment.method
    return 1 if method.recipe is None else method.recipe.epochs


def would_be(record: RunRecord) -> Group:
    """The group of one run alone, without its times; for one without a result, the group that it would have been of."""
    return Group(place_of(record), record.experiment, setup_fields(record.experiment), (record,), {})


def _group(alone: Sequence[Group], runs: Sequence[RunRecord]) -> Group:
    """One group of what would be several, each of the oldest record of a run, and of all records of these runs."""
    newest: dict[Testbed, dict[str, RunRecord]] = {}
    for record in runs:
        if record.undisturbed and _was_timed(record):
            newest.setdefault(record.testbed, {})[record.id] = record
    first, *_ = by_seed = sorted(alone, key=lambda one: one.experiment.seed)
    scored = tuple(record for one in by_seed for record in one.scored)
    return dataclasses.replace(
        first,
        scored=scored,
        timed={testbed: _by_seed(there.values()) for testbed, there in newest.items()},
        disturbed=len(scored) - len({id_ for there in newest.values() for id_ in there}),
    )


def _by_seed(records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.experiment.seed))


def _was_timed(record: RunRecord) -> bool:
    """Whether it took any time for any sentence: a ratio needs both."""
    timing, counts = record.timing, record.counts
    if timing is None or counts is None or not isfinite(timing.seconds):
        return False
    return min(timing.seconds, timing.samples_per_s, counts.samples) > 0


def lost_runs(records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    """Of every run that no record says the result of, the last record."""
    every = tuple(records)
    finished = {record.id for record in every if record.status == "ok"}
    return tuple({record.id: record for record in every if record.id not in finished}.values())


def by_place(found: Iterable[Group]) -> dict[Place, list[Group]]:
    """Groups by place: whole data sets before those that were cut to a limit, then the place of most runs first."""
    places = grouped(found, lambda group: group.place)
    limited = {place: all(group.experiment.limit is not None for group in here) for place, here in places.items()}
    runs = {place: sum(len(group.scored) for group in here) for place, here in places.items()}
    return {place: places[place] for place in sorted(places, key=lambda at: (limited[at], -runs[at], at))}


def families(found: Iterable[Group], field: str, *with_it: str) -> tuple[tuple[Group, ...], ...]:
    """Sets of groups that differ in one field, and in nothing else but the seed.

    Args:
        found: Of any places; groups of two places are in no common family.
        field: A column of the frame, such as `padding`; a family has two values of it or more.
        with_it: Columns that may differ too.
    """
    engines = "engine" in (field, *with_it)  # which count their results versions by themselves
    sets = grouped(
        (group for group in found if group.fields[field] is not None),
        lambda group: (group.place, None if engines else group.results, group.but_for(field, *with_it)),
    )
    return tuple(tuple(members) for members in sets.values() if len({group.fields[field] for group in members}) > 1)


def machines(here: Iterable[Group]) -> list[Testbed]:
    """The machines that groups were timed on, that of most runs first."""
    counts: Counter[Testbed] = Counter()
    for testbed, runs in (timed for group in here for timed in group.timed.items()):
        counts[without_code(testbed)] += len(runs)
    return sorted(counts, key=lambda machine: (-counts[machine], str(machine)))
