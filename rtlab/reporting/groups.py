"""Which records speak of the same thing, and which may stand in one table.

Records are compared within a place only: one encoder, one data set, one device. Within it, records that differ in
the seed alone are one group, and every average is taken over the seeds of a group.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtlab.experiment import Experiment
from rtlab.records import RunRecord


@dataclass(frozen=True, order=True)
class Place:
    """What records must have in common to be compared: contents, not names, decide for encoder and data set."""

    encoder: str
    dataset: str
    device: str
    encoder_sha256: str
    dataset_sha256: str


@dataclass(frozen=True)
class Group:
    """Finished runs of one experiment at one place, one for each seed.

    Attributes:
        place: Where they were made.
        experiment: The first run's experiment; the others differ from it in the seed alone.
        records: The runs, by seed.
    """

    place: Place
    experiment: Experiment
    records: tuple[RunRecord, ...]

    def values(self, field: str) -> list[float]:
        """One number of every run, such as `timing.train_s` or `scores.test.f1`; runs without it are left out."""
        found = (_look_up(record, field) for record in self.records)
        return [float(value) for value in found if value is not None]

    def correct(self, split: str) -> NDArray[np.bool_]:
        """Whether each sentence of a split was labelled rightly, under each seed: (S, N)."""
        return np.asarray(self.predicted(split) == self.labels(split))

    def predicted(self, split: str) -> NDArray[np.intp]:
        """The class that each sentence of a split was given, under each seed: (S, N)."""
        return np.stack([np.asarray(record.predictions[split].logits).argmax(axis=1) for record in self.records])

    def labels(self, split: str) -> NDArray[np.int32]:
        """True class of each sentence of a split, (N,); the runs share it, as their place's data set is one."""
        return np.asarray(self.records[0].predictions[split].labels, dtype=np.int32)

    def has_predictions(self, split: str) -> bool:
        """Whether every run says of each sentence of a split what it takes it for."""
        return all(split in record.predictions for record in self.records)

    def seconds(self) -> list[float]:
        """Training time of every run; warm-up is part of it, as speed-ups are quoted with it."""
        return [record.timing.warmup_s + record.timing.train_s for record in self.records if record.timing]

    def seconds_per_sentence(self) -> list[float]:
        """The same for one sentence."""
        return [time / count for time, count in zip(self.seconds(), self.values("counts.samples"), strict=True)]


def place_of(record: RunRecord) -> Place:
    """Where a record was made."""
    return Place(
        encoder=record.encoder.name,
        dataset=record.dataset.name,
        device=str(record.environment["device"]),
        encoder_sha256=record.encoder.sha256,
        dataset_sha256=record.dataset.sha256,
    )


def latest(records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    """Of several records of one run on one device, made by different states of the code, the one made last.

    Args:
        records: In order of creation, as `rtlab.records.load_records` gives them.
    """
    return tuple({(record.id, record.environment["device"]): record for record in records}.values())


def groups(records: Iterable[RunRecord]) -> tuple[Group, ...]:
    """The finished ones of `records`, grouped by place and by experiment without its seed, in a stable order."""
    found: dict[tuple[Place, str], list[RunRecord]] = {}
    for record in latest(records):
        if record.status == "ok":
            fields = {name: value for name, value in record.experiment.to_json().items() if name != "seed"}
            found.setdefault((place_of(record), json.dumps(fields, sort_keys=True)), []).append(record)
    by_seed = {key: sorted(members, key=lambda record: record.experiment.seed) for key, members in found.items()}
    return tuple(
        Group(place=key[0], experiment=members[0].experiment, records=tuple(members))
        for key, members in sorted(by_seed.items(), key=lambda item: item[0])
    )


def families(groups: Iterable[Group], field: str, *with_it: str) -> tuple[tuple[Group, ...], ...]:
    """Sets of groups that differ in one field of the experiment, and in nothing else but the seed.

    Args:
        groups: Of any places; groups of two places are in no common family.
        field: Such as `padding` or `lora.target_modules`; a family has two values of it or more.
        with_it: Fields that may differ too.
    """
    found: dict[tuple[Place, str], list[tuple[Any, Group]]] = {}
    for group in groups:
        fields = group.experiment.to_json()
        for name in ("seed", *with_it):
            fields.pop(name, None)
        *path, last = field.split(".")
        holder: Any = fields
        for name in path:
            holder = holder.get(name, {})
        value = holder.pop(last, None)
        if value is not None:
            found.setdefault((group.place, json.dumps(fields, sort_keys=True)), []).append((value, group))
    return tuple(
        tuple(group for _, group in members)
        for members in found.values()
        if any(value != members[0][0] for value, _ in members)
    )


def _look_up(record: RunRecord, field: str) -> Any:
    value: Any = record
    for name in field.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name, None)
    return value
