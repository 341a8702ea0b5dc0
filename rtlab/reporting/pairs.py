"""Two groups beside each other: how much faster, how much better, and whether as good."""

import dataclasses
from itertools import product

from rtlab.reporting.groups import Group, same_labels, without_code
from rtlab.statistics import Interval, Verdict, equal, paired_difference, ratio_of_times

SEEDS_FOR_EQUALITY = 5


def on_one_testbed(a: Group, b: Group) -> tuple[Group, Group] | None:
    """Both with the times of one testbed alone, that of most runs; None where they have none in common.

    The code of two engines differs, so there it is the rest of the testbed that must be the same.
    """
    alike = a.experiment.engine == b.experiment.engine
    worth = {
        (mine, theirs): min(a.worth(mine), b.worth(theirs)) + max(a.worth(mine), b.worth(theirs))
        for mine, theirs in product(a.timed, b.timed)
        if (mine == theirs if alike else without_code(mine) == without_code(theirs))
    }
    if not worth:
        return None
    mine, theirs = max(worth, key=worth.__getitem__)
    return (
        dataclasses.replace(a, timed={mine: a.timed[mine]}),
        dataclasses.replace(b, timed={theirs: b.timed[theirs]}),
    )


def time_ratio(a: Group, b: Group) -> Interval | None:
    """Ratio of the training times for one sentence, a / b, warm-up included; None without a testbed in common."""
    pair = on_one_testbed(a, b) or ()
    each = [[r.timing.seconds / r.counts.samples for r in g.on_testbed if r.timing and r.counts] for g in pair]
    return ratio_of_times(*each) if each else None


def accuracy_difference(a: Group, b: Group) -> Interval | None:
    """Difference of test accuracies, a - b, on the same sentences; None where one of them holds no predictions."""
    known = a.has_predictions("test") and b.has_predictions("test")
    if not known or not same_labels(a.labels("test"), b.labels("test")):
        return None
    return paired_difference(a.correct("test"), b.correct("test"), a_chance=a.chance, b_chance=b.chance)


def quality(a: Group, b: Group) -> Verdict:
    """Whether two reach the same test accuracy: it takes whole epochs and five seeds of either to show."""
    enough = all(g.whole and (not g.chance or len(g.scored) >= SEEDS_FOR_EQUALITY) for g in (a, b))
    difference = accuracy_difference(a, b) if enough else None
    return "not shown" if difference is None else equal(difference)
