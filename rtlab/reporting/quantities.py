"""What can be read off the records of one place, each with an interval: the quantities that claims speak of.

A quantity names the experiments that it is about, so the same words find its records strictly (the lab's recipe, as a
verdict needs) or, only to be shown beside a verdict, with fewer epochs or on other sentences.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from rtlab.experiment import Experiment
from rtlab.reporting.groups import Group, Place
from rtlab.statistics import Interval, mean_interval, paired_difference, ratio_of_times

Measure = Callable[..., Interval | None]

FEWEST_RUNS = 3  # a side: below it neither a t nor a bootstrap interval knows how much the seed matters
LAB_EPOCHS = Experiment().epochs
NOT_COMPARED = frozenset({"encoder", "dataset", "limit", "seed", "logging_steps"})  # the place decides, or nothing
_MODULES = {  # the groups of target modules, spelt out by DistilBERT's names
    frozenset({"q_lin", "k_lin", "v_lin", "out_lin"}): ["attention"],
    frozenset({"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"}): ["attention+mlp"],
}


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A figure of one or several groups of records.

    Attributes:
        what: Its name, for people.
        of: The experiments that it is about, in the order in which `measure` takes their groups; empty for a figure
            that the lab itself states.
        measure: The figure and its interval, from the groups; `None` if the records do not hold it.
        form: How its numbers are written.
        rivals: Experiments whose groups are handed to `measure` too, as far as there are any.
        runs: Runs of every experiment that a verdict needs.
        any_length: Whether runs that were cut short, or of other lengths, may be shown too (throughput).
    """

    what: str
    of: tuple[Experiment, ...]
    measure: Measure
    form: str = "{:.4f}"
    rivals: tuple[Experiment, ...] = ()
    runs: int = FEWEST_RUNS
    any_length: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A quantity as one place's records have it.

    Attributes:
        quantity: What was read.
        place: Where; `None` for a figure that the lab itself states.
        interval: The figure and its 95 % interval, infinite where one run gives none.
        records: Ids of the records that it was read off.
        runs: Runs of the experiment that has the fewest.
        note: How the runs differ from the lab's recipe; empty if they do not.
    """

    quantity: Quantity
    place: Place | None
    interval: Interval
    records: tuple[str, ...] = ()
    runs: int = 0
    note: str = ""

    @property
    def text(self) -> str:
        """Such as `speed-up 7.40 × [7.31, 7.49] (n = 5)`."""
        form, interval = self.quantity.form, self.interval
        text = f"{self.quantity.what} {form.format(interval.value)}"
        if interval.low < interval.high and math.isfinite(interval.high - interval.low):
            number = form.partition("}")[0] + "}"  # the unit once is enough
            text += f" [{number.format(interval.low)}, {number.format(interval.high)}]"
        details = [f"n = {self.runs}"] * bool(self.records) + [self.note] * bool(self.note)
        return f"{text} ({', '.join(details)})" if details else text


def read(quantity: Quantity, groups: Sequence[Group], *, strictly: bool) -> Reading | None:
    """Read a quantity off the groups of one place.

    Args:
        quantity: What to read.
        groups: All of one place.
        strictly: Whether only the lab's recipe will do. If not, the runs of most epochs are taken.

    Returns:
        The reading; `None` if the records do not hold it.
    """
    for length in [LAB_EPOCHS] if strictly else _lengths(groups, quantity):
        ignored = NOT_COMPARED | (set() if strictly else {"epochs"} if length else {"epochs", "max_steps"})
        of_length = [group for group in groups if length is None or group.experiment.epochs in (length, None)]
        chosen = [_find(experiment, of_length, ignored) for experiment in quantity.of]
        found = [group for group in chosen if group is not None]
        if len(found) < len(quantity.of):
            continue
        rivals = [_find(experiment, of_length, ignored) for experiment in quantity.rivals]
        used = found + [group for group in rivals if group is not None]
        interval = quantity.measure(*used)
        if interval is not None:
            return Reading(
                quantity=quantity,
                place=used[0].place if used else None,
                interval=interval,
                records=tuple(record.id for group in used for record in group.records),
                runs=min((len(group.records) for group in used), default=0),
                note=_note(used),
            )
    return None


def stated(value: float) -> Measure:
    """A figure that the lab itself states."""
    return lambda: Interval(value=value, low=value, high=value)


def exact(field: str) -> Measure:
    """A figure without chance in it; its interval is what the runs span."""

    def measure(group: Group) -> Interval | None:
        values = group.values(field)
        return Interval(value=mean(values), low=min(values), high=max(values)) if values else None

    return measure


def over_seeds(field: str) -> Measure:
    """Mean over seeds as `mean_interval`."""

    def measure(group: Group) -> Interval | None:
        values = group.values(field)
        return mean_interval(values) if values else None

    return measure


def ratio(field: str) -> Measure:
    """Ratio of the geometric means of a positive figure, a / b, with Welch's interval on the logarithms."""

    def measure(a: Group, b: Group) -> Interval | None:
        over, under = a.values(field), b.values(field)
        return ratio_of_times(over, under) if over and under and min(*over, *under) > 0 else None

    return measure


def time_ratio(a: Group, b: Group) -> Interval:
    """Ratio of the training times for one sentence, a / b, warm-up included, as `ratio`."""
    return ratio_of_times(a.seconds_per_sentence(), b.seconds_per_sentence())


def accuracy_difference(a: Group, b: Group) -> Interval | None:
    """Difference of test accuracies, a - b, on the same sentences, with a bootstrap over sentences and seeds."""
    if not (a.has_predictions("test") and b.has_predictions("test")):
        return None
    return paired_difference(a.correct("test"), b.correct("test"))


def lead_over_the_best(chosen: Group, *others: Group) -> Interval | None:
    """Test accuracy of `chosen` less that of the best other one.

    The other one is chosen on validation and compared on test, so the choice among several costs no correction.
    """
    return accuracy_difference(chosen, max(others, key=lambda group: mean(group.values("scores.validation.accuracy"))))


def sentences(split: str) -> Measure:
    """Sentences of a split."""

    def measure(group: Group) -> Interval | None:
        sizes = [_size(record, split) for record in group.records]
        known = [size for size in sizes if size is not None]
        return Interval(value=mean(known), low=min(known), high=max(known)) if known else None

    return measure


def positives(group: Group) -> Interval | None:
    """Share of class 1 in validation and test together."""
    labels = [np.asarray(held_out.labels) for r in group.records for held_out in r.predictions.values()]
    return stated(float(np.mean(np.concatenate(labels) == 1)))() if labels else None


def _size(record: Any, split: str) -> float | None:
    if split == "train":
        whole = record.experiment.max_steps is None
        return record.counts.samples / (record.experiment.epochs or 1) if whole else None
    return len(record.predictions[split].labels) if split in record.predictions else None


def _lengths(groups: Sequence[Group], quantity: Quantity) -> Sequence[int | None]:
    """Numbers of epochs to look among, the best first; `None` for runs of any length."""
    if quantity.any_length:
        return [None]
    return sorted({group.experiment.epochs or 1 for group in groups}, reverse=True)


def _find(experiment: Experiment, groups: Sequence[Group], ignored: Collection[str]) -> Group | None:
    """The group of an experiment but for `ignored` fields; of several, the one trained most, then of most runs."""
    wanted = _fields(experiment, ignored)
    found = [group for group in groups if _fields(group.experiment, ignored) == wanted]
    return max(found, key=lambda group: (mean(group.values("counts.samples")), len(group.records)), default=None)


def _fields(experiment: Experiment, ignored: Collection[str]) -> dict[str, Any]:
    fields = {name: value for name, value in experiment.to_json().items() if name not in ignored}
    if "lora" in fields:
        modules = fields["lora"]["target_modules"]
        fields["lora"]["target_modules"] = _MODULES.get(frozenset(modules), sorted(modules))
    return fields


def _note(groups: Sequence[Group]) -> str:
    experiments = [group.experiment for group in groups if group.experiment.epochs]
    lengths = {(e.epochs, e.max_steps) for e in experiments} - {(LAB_EPOCHS, None)}
    words = [f"{epochs} epoch{'s' * (epochs != 1)}" if steps is None else f"{steps} steps" for epochs, steps in lengths]
    return ", ".join(sorted(words))
