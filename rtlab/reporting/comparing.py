"""Compare recorded runs pairwise, sentence by sentence: what changes, how surely, and at what speed.

The others are compared to the first, A; every difference is theirs less A's, on the same sentences. Where several are
compared to A, their p-values are adjusted for it (Holm). Of single runs nothing is known about other seeds: their
intervals and p-values are over sentences alone, and say so.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rtlab.records import RunRecord
from rtlab.reporting.classes import by_class, side_by_side
from rtlab.reporting.groups import Group, groups, lost_runs
from rtlab.reporting.markup import clean, simple
from rtlab.reporting.measures import quality, time_ratio
from rtlab.reporting.wording import begun, contents, difference, listed, plural, score, setup, spread, times
from rtlab.statistics import Interval, Verdict, holm, mcnemar, paired_difference, paired_f1_difference
from rtlab.values import Json

SPLITS = ("test", "validation")
NOTE = "In brackets: 95 % intervals over sentences and seeds. p-values are over sentences: they speak of these runs."
ONE_RUN = (
    "Where a method with chance was run once, intervals are over sentences alone: other seeds may give other scores, "
    "so no difference is shown to hold across seeds."
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What B has more than A on one split, as `rtlab.statistics` has it, and the p-value of McNemar's exact test.

    `p_holm` is adjusted for the number of runs or groups that are compared to A on this split.
    """

    accuracy: Interval
    f1: Interval
    p: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One run or group, B, beside another, A: differences by split, and speed.

    Attributes:
        settled: By split, the sentences that all seeds of A have right and all of B wrong, and the other way round.
        speed: Training sentences per second of B over those of A, warm-up included; `None` without a common testbed.
        quality: Whether B reaches the test accuracy of A.
    """

    a: Group
    b: Group
    differences: Mapping[str, Difference]
    settled: Mapping[str, tuple[list[int], list[int]]]
    speed: Interval | None
    quality: Verdict

    def to_json(self) -> dict[str, Json]:
        """The comparison as JSON types; the limits of an interval that one run gives none for are null."""
        return {
            "a": _named(self.a),
            "b": _named(self.b),
            "differences": {
                split: {"accuracy": of.accuracy.to_json(), "f1": of.f1.to_json(), "p": of.p, "p_holm": of.p_holm}
                for split, of in self.differences.items()
            },
            "settled": {split: {"a": a, "b": b} for split, (a, b) in self.settled.items()},
            "speed": None if self.speed is None else self.speed.to_json(),
            "quality": self.quality,
            "classes": {
                split: {name: by_class(group, split).to_json() for name, group in (("a", self.a), ("b", self.b))}
                for split in self.differences
            },
        }


def find(name: str, records: Iterable[RunRecord]) -> Group:
    """The run or the group of runs that a name means.

    Args:
        name: The label of an experiment, such as `full-dynamic-lr2e-05`, for its group; or a record's id, or the
            beginning of one, for one run. Behind an `@` may stand a part of the encoder's, the data set's or a
            testbed's name, or of the recipe in words (`@5 epochs`), that tells several of one name apart.
        records: Records of any kind.

    Raises:
        ValueError: If the name means nothing, several things, or a run without a result; the message, of one line,
            lists what there is.
    """
    every = tuple(records)
    word, _, part = name.partition("@")
    there = groups(every, everywhere=False)
    ids = [record.id for group in there for record in group.scored if word and record.id.startswith(word)]
    meant = [group for group in there if group.experiment.label == word]
    meant = meant or [one for id_ in ids for one in groups(record for record in every if record.id == id_)]
    chosen = [group for group in meant if part.lower() in _described(group).lower()]
    if len(chosen) == 1:
        return chosen[0]
    if meant:
        several = listed([f"{group.scored[0].id} ({_described(group)})" for group in chosen or meant])
        raise ValueError(f"{name!r} means {len(chosen)} of these; tell them apart by id or @PART: {several}")
    lost = [record for record in lost_runs(every) if word and record.id.startswith(word)]
    if lost:
        ended = clean(f"{lost[0].status}: {lost[0].error}")
        raise ValueError(f"run {lost[0].id} has no result to compare; it ended {ended}")
    labels = listed(sorted({clean(group.experiment.label) for group in there})) or "no runs with a result"
    raise ValueError(f"{name!r} is no label or record id; there are: {labels}")


def compare(a: Group, others: Sequence[Group]) -> tuple[Comparison, ...]:
    """Compare runs or groups to one, `a`.

    Raises:
        ValueError: If one of them was measured on other sentences than `a`, or its records hold no predictions.
    """
    for group in (a, *others):
        if not all(map(group.has_predictions, SPLITS)):
            raise ValueError(f"the records of {_described(group)} hold no predictions to compare")
        if group.place.dataset_sha256 != a.place.dataset_sha256:
            both = " and ".join(f"{clean(contents(one.place))} for {one.experiment.label}" for one in (a, group))
            raise ValueError(f"only runs on the same sentences can be compared; got {both}")
        ours, theirs = (one.held_out("test").num_labels for one in (a, group))
        if ours != theirs:
            raise ValueError(f"only runs on the same classes can be compared; got {ours} and {theirs} of them")
    found = zip(*(_differences(a, others, split) for split in SPLITS), strict=True)
    return tuple(
        Comparison(
            a=a,
            b=b,
            differences=dict(zip(SPLITS, of_splits, strict=True)),
            settled={split: (_settled(a, b, split), _settled(b, a, split)) for split in SPLITS},
            speed=time_ratio(a, b),
            quality=quality(b, a),
        )
        for b, of_splits in zip(others, found, strict=True)
    )


def as_text(comparisons: Sequence[Comparison]) -> str:
    """Comparisons to one A for a terminal."""
    a, several = comparisons[0].a, len(comparisons) > 1
    names = [f"B{number}" if several else "B" for number in range(1, len(comparisons) + 1)]
    sides = dict(zip(["A", *names], [a, *(comparison.b for comparison in comparisons)], strict=True))
    seeds = {name: [str(record.experiment.seed) for record in group.scored] for name, group in sides.items()}
    who = [
        f"{name:3} {_described(group)}; seed{'s' * (len(seeds[name]) > 1)} {', '.join(seeds[name])}"
        for name, group in sides.items()
    ]
    found = dict(zip(names, comparisons, strict=True))
    rows = [_cells(split, name, group, found.get(name)) for split in SPLITS for name, group in sides.items()]
    if not several:
        rows = [{title: cell for title, cell in row.items() if title != "Holm p"} for row in rows]
    below = [line for name, comparison in found.items() for line in _by_seed(name, comparison)]
    below += [_speed(name, comparison) for name, comparison in found.items()]
    single = not all(group.seeded(2) for group in sides.values())
    classes = side_by_side({name: by_class(group, SPLITS[0]) for name, group in sides.items()}, SPLITS[0])
    return "\n".join([*who, "", simple(rows), "", *below, NOTE, *([ONE_RUN] if single else []), "", classes])


def _differences(a: Group, others: Sequence[Group], split: str) -> list[Difference]:
    right, said, held_out = a.correct(split), a.predicted(split), a.held_out(split)
    p_values = [mcnemar(b.correct(split), right) for b in others]
    found = []
    for b, p, p_holm in zip(others, p_values, holm(p_values), strict=True):
        chance = {"a_chance": b.chance, "b_chance": a.chance}
        accuracy = paired_difference(b.correct(split), right, **chance)
        b_said, count = b.predicted(split), held_out.num_labels
        f1 = paired_f1_difference(held_out.labels, b_said, said, num_labels=count, **chance)
        found.append(Difference(accuracy=accuracy, f1=f1, p=p, p_holm=p_holm))
    return found


def _settled(right: Group, wrong: Group, split: str) -> list[int]:
    """The sentences that all seeds of one have right and all of the other wrong."""
    return np.flatnonzero(right.correct(split).all(axis=0) & ~wrong.correct(split).any(axis=0)).tolist()


def _by_seed(name: str, comparison: Comparison) -> list[str]:
    """What is paired by seed: each one's difference, and sentences on which no seed of one agrees with any other's."""
    a, b = ({r.experiment.seed: r.scores[SPLITS[0]].accuracy for r in g.scored} for g in (comparison.a, comparison.b))
    seeds = [seed for seed in a if seed in b]
    if len(seeds) < 2:
        return []
    each = ", ".join(f"{b[seed] - a[seed]:+.4f} ({seed})" for seed in seeds)
    only_a, only_b = map(len, comparison.settled[SPLITS[0]])
    return [
        f"{begun(SPLITS[0])} accuracy less A's, seed by seed: {each}.",
        f"All seeds of A are right and all of {name} wrong on {plural(only_a, 'sentence')} of {SPLITS[0]}, "
        f"the other way round on {only_b:,}.",
    ]


def _cells(split: str, name: str, group: Group, comparison: Comparison | None) -> dict[str, str]:
    row = {
        "": name,
        "split": split,
        "accuracy": score(group.values(f"{split}_accuracy"), group.accuracies.get(split)),
        "F1": spread(group.values(f"{split}_f1"), 4),
    }
    more = ("accuracy less A's", "F1 less A's", "McNemar p", "Holm p")
    if comparison is None:
        return row | dict.fromkeys(more, "")
    found = comparison.differences[split]
    p_values = ("< 0.0001" if p < 0.0001 else f"{p:.4f}" for p in (found.p, found.p_holm))
    return row | dict(zip(more, [difference(found.accuracy), difference(found.f1), *p_values], strict=True))


def _speed(name: str, comparison: Comparison) -> str:
    if comparison.speed is None:
        where = [clean(_testbeds(group)) for group in (comparison.a, comparison.b)]
        return f"No speed ratio for {name}: A was timed on {where[0]}, {name} on {where[1]}."
    alone = not math.isfinite(comparison.speed.high)
    accuracy = f"accuracy {comparison.quality}{' to be equal' * (comparison.quality == 'not shown')}"
    return f"{name} trains at {times(comparison.speed)} the speed of A{' (one run: no interval)' * alone}, {accuracy}."


def _testbeds(group: Group) -> str:
    return " and ".join(sorted({testbed.name for testbed in group.timed})) or "no undisturbed testbed"


def _described(group: Group) -> str:
    return clean(f"{setup(group.experiment)}; {contents(group.place)}; {_testbeds(group)}")


def _named(group: Group) -> dict[str, Json]:
    return {
        "label": group.experiment.label,
        "encoder": group.place.encoder,
        "dataset": group.place.dataset,
        "testbeds": sorted({testbed.name for testbed in group.timed}),
        "ids": [record.id for record in group.scored],
        "seeds": [record.experiment.seed for record in group.scored],
    }
