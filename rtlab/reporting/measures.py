"""What is measured off one or several groups, each with its interval; `None` where their records do not hold it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import product
from statistics import mean

import numpy as np

from rtlab.recipe import Recipe
from rtlab.records import RunRecord
from rtlab.reporting.groups import Group, same_labels, without_code
from rtlab.statistics import (
    Interval,
    Verdict,
    deviation_interval,
    equal,
    mean_interval,
    paired_difference,
    ratio_of_times,
)

Measure = Callable[..., Interval | None]
SEEDS_FOR_EQUALITY = 5


def on_one_testbed(a: Group, b: Group) -> list[Group]:
    """Both with the times of one testbed alone, that of most runs; nothing where they have none in common.

    The code of two engines differs, so there it is the rest of the testbed that must be the same.
    """
    alike = a.experiment.engine == b.experiment.engine
    pairs = [
        [dataclasses.replace(a, timed={mine: a.timed[mine]}), dataclasses.replace(b, timed={theirs: b.timed[theirs]})]
        for mine, theirs in product(a.timed, b.timed)
        if (mine == theirs if alike else without_code(mine) == without_code(theirs))
    ]
    return max(pairs, key=lambda pair: sorted(one.worth(testbed) for one in pair for testbed in one.timed), default=[])


def time_ratio(a: Group, b: Group) -> Interval | None:
    """Ratio of the training times for one sentence, a / b, warm-up included; None without a testbed in common."""
    pair = on_one_testbed(a, b)
    each = [[r.timing.seconds / r.counts.samples for r in g.on_testbed if r.timing and r.counts] for g in pair]
    return ratio_of_times(*each) if each else None


def accuracy_difference(a: Group, b: Group) -> Interval | None:
    """Difference of test accuracies, a - b, on the same sentences; None where one of them holds no predictions."""
    known = a.has_predictions("test") and b.has_predictions("test")
    if not known or not same_labels(a.held_out("test").labels, b.held_out("test").labels):
        return None
    return paired_difference(a.correct("test"), b.correct("test"), a_chance=a.chance, b_chance=b.chance)


def quality(a: Group, b: Group) -> Verdict:
    """Whether two reach the same test accuracy: it takes whole epochs and five seeds of either to show."""
    enough = all(group.whole and group.seeded(SEEDS_FOR_EQUALITY) for group in (a, b))
    difference = accuracy_difference(a, b) if enough else None
    return "not shown" if difference is None else equal(difference)


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


def memory_ratio(a: Group, b: Group) -> Interval | None:
    """Ratio of peak memory, a / b, as `ratio`: the device's, or the host's where the device has none of its own."""
    device = a.values("peak_device") and b.values("peak_device")
    return ratio("peak_device" if device else "peak_host")(a, b)


def lead_over_the_best(chosen: Group, *others: Group) -> Interval | None:
    """Test accuracy of `chosen` less that of the best other one.

    The other one is chosen on validation and compared on test, so the choice among several costs no correction.
    """
    return accuracy_difference(chosen, max(others, key=lambda group: group.mean("validation_accuracy")))


def deviation(*groups: Group) -> Interval | None:
    """Standard deviation of test accuracy over seeds, pooled over groups."""
    return deviation_interval([group.values("test_accuracy") for group in groups])


def deviation_to_difference(a: Group, b: Group, *others: Group) -> Interval | None:
    """Seeds' standard deviation over the difference of test accuracies of two methods, a - b.

    The limits are those of the one over the opposite ones of the other, so the interval is rather too wide.
    """
    seeds, methods = deviation(a, b, *others), accuracy_difference(a, b)
    if seeds is None or methods is None:
        return None
    size = abs(methods.value)
    least, most = sorted((abs(methods.low), abs(methods.high)))
    told = size > 0 and not methods.low <= 0 <= methods.high  # else they may be the same, and no share is too large
    return Interval(
        value=seeds.value / size if size else math.inf,
        low=seeds.low / most,
        high=seeds.high / least if told else math.inf,
        over="seeds",
    )


def sentences(split: str) -> Measure:
    """Sentences of a split."""
    return lambda group: _spanned([n for record in group.scored if (n := _size(record, split)) is not None])


def positives(group: Group) -> Interval | None:
    """Share of class 1 in validation and test together."""
    labels = [np.asarray(held_out.labels) for r in group.scored for held_out in r.predictions.values()]
    return stated(float(np.mean(np.concatenate(labels) == 1)))() if labels else None


def _spanned(values: Sequence[float]) -> Interval | None:
    return Interval(value=mean(values), low=min(values), high=max(values)) if values else None


def _size(record: RunRecord, split: str) -> float | None:
    if split != "train":
        return len(record.predictions[split].labels) if split in record.predictions else None
    recipe = record.experiment.method.recipe or Recipe(epochs=1)
    ends_early = recipe.max_steps is not None or recipe.patience is not None
    return None if record.counts is None or ends_early else record.counts.samples / recipe.epochs
