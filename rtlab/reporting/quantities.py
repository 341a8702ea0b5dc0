"""What can be read off the records of one site, each with an interval: the quantities that claims speak of.

A site is a place, for figures that testbeds share, or a place and one machine, for times. A quantity names the
experiments that it is about, so the same words find its records strictly (the lab's recipe, as a verdict needs) or,
only to be shown beside a verdict, with fewer epochs or on other sentences.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from statistics import mean
from typing import Literal

import numpy as np

from rtlab.experiment import Experiment
from rtlab.recipe import Recipe
from rtlab.records import RunRecord
from rtlab.reporting.frame import setup_fields
from rtlab.reporting.groups import Group, Place, without_code
from rtlab.reporting.pairs import accuracy_difference, on_one_testbed, quality, time_ratio
from rtlab.reporting.wording import plural, versions
from rtlab.statistics import Interval, mean_interval, ratio_of_times

Measure = Callable[..., Interval | None]
Verdict = Literal["confirmed", "refuted", "undecided"]

FEWEST_RUNS = 3  # a side: below it no interval knows how much the seed matters
LAB_EPOCHS = Recipe().epochs
NOT_COMPARED = frozenset({"limit", "logging_steps"})  # the place decides, or nothing


@dataclass(frozen=True, order=True)
class Site:
    """Where a quantity is read: a place, and for times one machine with its versions."""

    place: Place
    machine: str = ""


@dataclass(frozen=True)
class Quantity:
    """A figure of one or several groups of records, and what a claim says of it.

    Attributes:
        what: Its name, for people.
        of: The experiments that it is about, in the order in which `measure` takes their groups; empty for a figure
            that the lab itself states.
        measure: The figure and its interval, from the groups; `None` if the records do not hold it.
        form: How its numbers are written.
        rivals: Experiments whose groups are handed to `measure` too, as far as there are any.
        runs: Runs of every experiment that a verdict needs.
        any_length: Whether runs that were cut short, or of other lengths, may be shown too (throughput).
        timed: Whether it is a time, which belongs to one testbed.
        low: Where the open range begins that it must lie in for the claim to hold.
        high: Where it ends.
        stated: The range in words; empty for what is only shown.
    """

    what: str
    of: tuple[Experiment, ...]
    measure: Measure
    _: KW_ONLY
    form: str = "{:.4f}"
    rivals: tuple[Experiment, ...] = ()
    runs: int = FEWEST_RUNS
    any_length: bool = False
    timed: bool = False
    low: float = -math.inf
    high: float = math.inf
    stated: str = ""

    def number(self, value: float) -> str:
        """A number in its form, without the unit."""
        return (self.form.partition("}")[0] + "}").format(value)

    def within(self, low: float, high: float, stated: str) -> "Quantity":
        """The quantity with the range that it must lie in."""
        return replace(self, low=low, high=high, stated=stated)

    def near(self, value: float, margin: float) -> "Quantity":
        """The quantity with the value that it must come near to."""
        return self.within(value - margin, value + margin, f"{self.number(value)} ± {self.form.format(margin)}")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A quantity as one site's records have it.

    Attributes:
        quantity: What was read.
        site: Where; `None` for a figure that the lab itself states.
        interval: The figure and its 95 % interval, infinite where one run gives none.
        records: Ids of the records that it was read off.
        runs: Runs of the experiment that has the fewest.
        note: How the runs differ from the lab's recipe, and the quality beside a ratio of times.
    """

    quantity: Quantity
    site: Site | None
    interval: Interval
    records: tuple[str, ...] = ()
    runs: int = 0
    note: str = ""

    @property
    def text(self) -> str:
        """Such as `speed-up 7.40 × [7.31, 7.49] (n = 5)`."""
        form, number, interval = self.quantity.form, self.quantity.number, self.interval
        text = f"{self.quantity.what} {form.format(interval.value)}"
        if interval.low < interval.high and math.isfinite(interval.high - interval.low):
            text += f" [{number(interval.low)}, {number(interval.high)}]"  # the unit once is enough
            text += " over sentences alone" if interval.over == "sentences" else ""
        details = [f"n = {self.runs}"] * bool(self.records) + [self.note] * bool(self.note)
        return f"{text} ({', '.join(details)})" if details else text

    @property
    def verdict(self) -> Verdict:
        """What it says of the range that is claimed: its whole interval must lie inside, or outside."""
        low, high, interval = self.quantity.low, self.quantity.high, self.interval
        if self.runs < self.quantity.runs:
            return "undecided"
        if low < interval.low and interval.high < high:
            return "confirmed"
        return "refuted" if interval.high < low or high < interval.low else "undecided"


def read(quantity: Quantity, groups: Sequence[Group], site: Site | None, *, strictly: bool) -> Reading | None:
    """Read a quantity off all groups of one site; `None` if the records do not hold it.

    Strictly, only the lab's recipe will do; else the runs of most epochs are taken.
    """
    for length in [LAB_EPOCHS] if strictly else _lengths(groups, quantity):
        ignored = NOT_COMPARED | (set() if strictly else {"epochs"} if length else {"epochs", "max_steps"})
        of_length = [group for group in groups if length is None or group.fields["epochs"] in (length, None)]
        chosen = [_find(experiment, of_length, ignored) for experiment in quantity.of]
        if None in chosen:
            continue
        rivals = [_find(experiment, of_length, ignored) for experiment in quantity.rivals]
        used = [group for group in (*chosen, *rivals) if group is not None]
        if quantity.timed and len(used) == 2:
            used = list(on_one_testbed(*used) or ())
        interval = quantity.measure(*used) if used or not quantity.of else None
        if interval is not None:
            runs = [group.on_testbed if quantity.timed else group.scored for group in used]
            return Reading(
                quantity=quantity,
                site=site if used else None,
                interval=interval,
                records=tuple(record.id for members in runs for record in members),
                runs=min(map(len, runs), default=0),
                note=_note(quantity, used),
            )
    return None


def stated(value: float) -> Measure:
    """A figure that the lab itself states."""
    return lambda: Interval(value=value, low=value, high=value)


def exact(column: str) -> Measure:
    """A figure without chance in it, of the frame; its interval is what the runs span."""
    return lambda group: _spanned(group.values(column))


def over_seeds(column: str) -> Measure:
    """Mean of a figure of the frame over seeds as `mean_interval`."""
    return lambda group: mean_interval(values) if (values := group.values(column)) else None


def ratio(column: str) -> Measure:
    """Ratio of the geometric means of a positive figure, a / b, with Welch's interval on the logarithms."""

    def measure(a: Group, b: Group) -> Interval | None:
        over, under = a.values(column), b.values(column)
        return ratio_of_times(over, under) if over and under and min(*over, *under) > 0 else None

    return measure


def lead_over_the_best(chosen: Group, *others: Group) -> Interval | None:
    """Test accuracy of `chosen` less that of the best other one.

    The other one is chosen on validation and compared on test, so the choice among several costs no correction.
    """
    return accuracy_difference(chosen, max(others, key=lambda group: group.mean("validation_accuracy")))


def sentences(split: str) -> Measure:
    """Sentences of a split."""
    return lambda group: _spanned([n for record in group.scored if (n := _size(record, split)) is not None])


def positives(group: Group) -> Interval | None:
    """Share of class 1 in validation and test together."""
    labels = [np.asarray(held_out.labels) for r in group.scored for held_out in r.predictions.values()]
    return stated(float(np.mean(np.concatenate(labels) == 1)))() if labels else None


def sites(groups: Sequence[Group], *, timed: bool, device: str | None) -> dict[Site, list[Group]]:
    """The groups of each site: with the times of one machine, or of the runs on a device alone."""
    found: dict[Site, list[Group]] = {}
    for group in groups:
        if not timed and device is None:
            found.setdefault(Site(group.place), []).append(group)
            continue
        testbeds = (*(record.testbed for record in group.scored), *group.timed)
        for machine in dict.fromkeys(map(without_code, testbeds)):
            here = group.timed_on(machine) if timed else group.on(machine)
            if (device or "") in machine.device and (here.timed if timed else here.scored):
                found.setdefault(Site(group.place, versions(machine)), []).append(here)
    return found


def _spanned(values: Sequence[float]) -> Interval | None:
    return Interval(value=mean(values), low=min(values), high=max(values)) if values else None


def _size(record: RunRecord, split: str) -> float | None:
    if split != "train":
        return len(record.predictions[split].labels) if split in record.predictions else None
    recipe = record.experiment.method.recipe or Recipe(epochs=1)
    return None if record.counts is None or recipe.max_steps is not None else record.counts.samples / recipe.epochs


def _lengths(groups: Sequence[Group], quantity: Quantity) -> Sequence[int | None]:
    """Numbers of epochs to look among, the best first; `None` for runs of any length."""
    epochs = {int(group.fields["epochs"] or 1) for group in groups}
    return [None] if quantity.any_length else sorted(epochs, reverse=True)


def _find(experiment: Experiment, groups: Sequence[Group], ignored: Collection[str]) -> Group | None:
    """The group of an experiment but for `ignored` columns; of several, the one trained most, then of most runs."""
    wanted = {name: value for name, value in setup_fields(experiment).items() if name not in ignored}
    found = [group for group in groups if all(group.fields[name] == value for name, value in wanted.items())]
    return max(found, key=lambda g: (g.results, sum(g.values("samples")) / len(g.scored), len(g.scored)), default=None)


def _note(quantity: Quantity, groups: Sequence[Group]) -> str:
    lengths = {(group.fields["epochs"], group.fields["max_steps"]) for group in groups if group.fields["epochs"]}
    words = [
        plural(int(epochs or 0), "epoch") if steps is None else plural(int(steps), "step")
        for epochs, steps in lengths - {(LAB_EPOCHS, None)}
    ]
    beside = [f"accuracy {quality(*groups)}"] if quantity.measure is time_ratio else []
    return ", ".join([*sorted(words), *beside])
