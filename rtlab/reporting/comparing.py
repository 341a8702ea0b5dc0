"""Compare recorded runs pairwise, sentence by sentence: what changes, how surely, and at what speed.

The others are compared to the first, A; every difference is theirs less A's, on the same sentences. Where several are
compared to A, their p-values are adjusted for it (Holm).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from rtlab.records import RunRecord
from rtlab.reporting.groups import Group, groups, latest
from rtlab.reporting.wording import score, setups, spread, times
from rtlab.statistics import (
    Interval,
    accuracy_interval,
    holm,
    mcnemar,
    paired_difference,
    paired_f1_difference,
    ratio_of_times,
)

SPLITS = ("test", "validation")
_LISTED = 12  # names in an error's one line


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What B has more than A on one split.

    Attributes:
        accuracy: Difference of accuracies, as `rtlab.statistics.paired_difference`.
        f1: Difference of F1, as `rtlab.statistics.paired_f1_difference`.
        p: Of McNemar's exact test, as `rtlab.statistics.mcnemar`.
        p_holm: The same, adjusted for the number of runs or groups that are compared to A on this split.
    """

    accuracy: Interval
    f1: Interval
    p: float
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One run or group, B, beside another, A.

    Attributes:
        a: What is compared to.
        b: What is compared.
        differences: By split.
        speed: Training sentences per second of B over those of A, warm-up included; `None` on different devices.
    """

    a: Group
    b: Group
    differences: Mapping[str, Difference]
    speed: Interval | None

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON types; the limits of an interval that one run gives none for are null."""
        return {
            "a": _named(self.a),
            "b": _named(self.b),
            "differences": {
                split: {
                    "accuracy": _limits(found.accuracy),
                    "f1": _limits(found.f1),
                    "p": found.p,
                    "p_holm": found.p_holm,
                }
                for split, found in self.differences.items()
            },
            "speed": None if self.speed is None else _limits(self.speed),
        }


def find(name: str, records: Iterable[RunRecord]) -> Group:
    """The run or the group of runs that a name means.

    Args:
        name: The label of an experiment, such as `full-dynamic-lr2e-05`, for its group; or a record's id, or the
            beginning of one, for one run. Behind an `@` may stand a part of the encoder's, the data set's or the
            device's name, or of the recipe in words (`@5 epochs`), that tells several of one name apart.
        records: Records of any kind, in order of creation.

    Raises:
        ValueError: If the name means nothing, several things, or a run without a result; the message, of one line,
            lists what there is.
    """
    kept = latest(records)
    word, _, part = name.partition("@")
    there = groups(kept)
    runs = [
        Group(place=group.place, experiment=record.experiment, records=(record,))
        for group in there
        for record in group.records
        if word and record.id.startswith(word)
    ]
    meant = [group for group in there if group.experiment.label == word] or runs
    chosen = [group for group in meant if part.lower() in _described(group).lower()]
    if len(chosen) == 1:
        return chosen[0]
    if meant:
        several = _listed([f"{group.records[0].id} ({_described(group)})" for group in chosen or meant])
        raise ValueError(f"{name!r} means {len(chosen)} of these; tell them apart by id or @PART: {several}")
    lost = [record for record in kept if word and record.status != "ok" and record.id.startswith(word)]
    if lost:
        raise ValueError(f"run {lost[0].id} has no result to compare; it ended {lost[0].status}: {lost[0].error}")
    labels = _listed(sorted({group.experiment.label for group in there})) or "no runs with a result"
    raise ValueError(f"{name!r} is no label or record id; there are: {labels}")


def compare(a: Group, others: Sequence[Group]) -> tuple[Comparison, ...]:
    """Compare runs or groups to one, `a`.

    Raises:
        ValueError: If one of them was measured on other sentences than `a`, or its records hold no predictions.
    """
    for group in (a, *others):
        if not all(group.has_predictions(split) for split in SPLITS):
            raise ValueError(f"the records of {_described(group)} hold no predictions to compare")
        if group.place.dataset_sha256 != a.place.dataset_sha256:
            raise ValueError(
                "only runs on the same sentences can be compared; got "
                f"{_dataset(a)} for {a.experiment.label} and {_dataset(group)} for {group.experiment.label}"
            )
    found = {split: _differences(a, others, split) for split in SPLITS}
    return tuple(
        Comparison(
            a=a,
            b=b,
            differences={split: found[split][number] for split in SPLITS},
            speed=ratio_of_times(a.seconds_per_sentence(), b.seconds_per_sentence())
            if a.place.device == b.place.device
            else None,
        )
        for number, b in enumerate(others)
    )


def as_text(comparisons: Sequence[Comparison]) -> str:
    """Comparisons to one A for a terminal."""
    a, several = comparisons[0].a, len(comparisons) > 1
    names = [f"B{number}" if several else "B" for number in range(1, len(comparisons) + 1)]
    sides = dict(zip(["A", *names], [a, *(comparison.b for comparison in comparisons)], strict=True))
    who = [f"{name:3} {_described(group)}; {_runs(group)}" for name, group in sides.items()]
    found = dict(zip(names, comparisons, strict=True))
    rows = [_cells(split, name, group, found.get(name)) for split in SPLITS for name, group in sides.items()]
    if not several:
        for row in rows:
            del row["Holm p"]
    table = tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)
    speeds = [_speed(name, comparison) for name, comparison in zip(names, comparisons, strict=True)]
    note = "In brackets: 95 % intervals; those of differences by paired bootstrap over sentences and seeds."
    return "\n".join([*who, "", table, "", *speeds, note])


def _differences(a: Group, others: Sequence[Group], split: str) -> list[Difference]:
    right, labels, classes = a.correct(split), a.labels(split), a.predicted(split)
    num_labels = len(a.records[0].predictions[split].logits[0])
    p_values = [mcnemar(b.correct(split), right) for b in others]
    return [
        Difference(
            accuracy=paired_difference(b.correct(split), right),
            f1=paired_f1_difference(labels, b.predicted(split), classes, num_labels=num_labels),
            p=p,
            p_holm=p_holm,
        )
        for b, p, p_holm in zip(others, p_values, holm(p_values), strict=True)
    ]


def _cells(split: str, name: str, group: Group, comparison: Comparison | None) -> dict[str, str]:
    values = group.values(f"scores.{split}.accuracy")
    row = {
        "": name,
        "split": split,
        "accuracy": score(values, accuracy_interval(group.correct(split))),
        "F1": spread(group.values(f"scores.{split}.f1"), 4),
    }
    more = ("accuracy less A's", "F1 less A's", "McNemar p", "Holm p")
    if comparison is None:
        return row | dict.fromkeys(more, "")
    found = comparison.differences[split]
    differences = (f"{d.value:+.4f} [{d.low:+.3f}, {d.high:+.3f}]" for d in (found.accuracy, found.f1))
    p_values = ("< 0.0001" if p < 0.0001 else f"{p:.4f}" for p in (found.p, found.p_holm))
    return row | dict(zip(more, [*differences, *p_values], strict=True))


def _speed(name: str, comparison: Comparison) -> str:
    if comparison.speed is None:
        devices = f"A ran on {comparison.a.place.device}, {name} on {comparison.b.place.device}"
        return f"No speed ratio for {name}: {devices}."
    alone = min(len(comparison.a.records), len(comparison.b.records)) < 2
    return f"{name} trains at {times(comparison.speed)} the speed of A{' (one run: no interval)' if alone else ''}."


def _described(group: Group) -> str:
    [setup], recipe = setups([group.experiment])
    place = group.place
    return f"{setup}, {recipe}; {place.encoder} on {_dataset(group)}; {place.device}"


def _dataset(group: Group) -> str:
    return f"{group.place.dataset} ({group.place.dataset_sha256[:8]})"


def _runs(group: Group) -> str:
    seeds = ", ".join(str(record.experiment.seed) for record in group.records)
    return f"seed{'s' if len(group.records) != 1 else ''} {seeds}"


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _named(group: Group) -> dict[str, Any]:
    return {
        "label": group.experiment.label,
        **{name: getattr(group.place, name) for name in ("encoder", "dataset", "device")},
        "ids": [record.id for record in group.records],
        "seeds": [record.experiment.seed for record in group.records],
    }


def _limits(interval: Interval) -> dict[str, float | None]:
    known = math.isfinite(interval.high)
    return {"value": interval.value, "low": interval.low if known else None, "high": interval.high if known else None}
