"""Which way to recommend, by validation alone, and which others these sentences and runs do not rule out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rtlab.choice import Undecided, points
from rtlab.choosing.standing import Standing, common, difference, levels
from rtlab.recipe import ChoiceMetric
from rtlab.statistics import Interval, seeds_to_tell

MOST_SENTENCES = 1_000_000  # more of them nobody will label
MOST_SEEDS = 100


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is recommended.

    Attributes:
        recommended: The cheapest way whose estimate by validation is within the margin of the best.
        cheaper: The best of the cheaper ones.
        better: The best, if that is another.
        undecided: Those that may be the better choice.
    """

    recommended: Standing
    cheaper: Standing | None
    better: Standing | None
    undecided: tuple[Undecided, ...]


def decide(standings: Sequence[Standing], metric: ChoiceMetric, margin: float) -> Decision | None:
    """The decision; `None` if nothing was tried to its end.

    Args:
        standings: The ways, the cheapest first.
        metric: What is compared.
        margin: By how much the estimate of the cheapest way may be below the best.
    """
    level = levels(standings, metric)
    if not level:
        return None
    compared = list(level)
    best = max(compared, key=lambda one: level[one])
    number = next(number for number, one in enumerate(compared) if level[one] >= level[best] - margin)
    recommended = compared[number]
    cheaper = max(compared[:number], key=lambda one: level[one], default=None)
    return Decision(
        recommended=recommended,
        cheaper=cheaper,
        better=None if best is recommended else best,
        undecided=tuple(
            found
            for one in compared
            if one is not recommended and one.status == "finished"
            for found in [_undecided(one, recommended, best, metric, margin, cheaper=one in compared[:number])]
            if found is not None
        ),
    )


def _undecided(
    one: Standing, recommended: Standing, best: Standing, metric: ChoiceMetric, margin: float, *, cheaper: bool
) -> Undecided | None:
    """A cheaper way that may be within the margin of the best, or a dearer one that may be better by more than it."""
    if cheaper:
        other, threshold = best, -margin
        found = difference(one, other, metric)
        open_still = found.high >= threshold
        what = f"whether it is within {points(margin)} of the best"
    else:
        other, threshold = recommended, margin
        found = difference(one, other, metric)
        open_still = found.high > threshold
        what = f"whether it is better by more than {points(margin)}"
    if not open_still:
        return None
    sentences = _sentences(found, threshold, len(common(one, other)))
    minutes = _minutes(found, threshold, one, recommended)
    means = [
        *([f"about {sentences:,} sentences of validation"] if sentences else []),
        *([f"about {math.ceil(minutes):,} minutes of further seeds"] if minutes else []),
    ]
    tells = f"{' or '.join(means)} would tell {what}" if means else f"no number of sentences would tell {what}"
    return Undecided(
        name=one.way.name,
        difference=difference(one, recommended, metric),
        tells=tells,
        sentences=sentences,
        minutes=minutes,
    )


def _sentences(found: Interval, threshold: float, there: int) -> int | None:
    """About how many sentences would bring the threshold out of the interval, whose reach falls with their root."""
    distance = abs(found.value - threshold)
    reach = max(found.high - found.value, found.value - found.low)
    if not distance or not math.isfinite(reach):
        return None
    needed = math.ceil(there * (reach / distance) ** 2)
    if not there < needed <= MOST_SENTENCES:
        return None
    unit = int(10 ** max(0, len(str(needed)) - 2))  # two digits: it is a rough number
    return math.ceil(needed / unit) * unit


def _minutes(found: Interval, threshold: float, *both: Standing) -> float | None:
    """About how many minutes of further seeds of both would do it; `None` without seeds, or where none would."""
    trained = [one for one in both if one.largest[0].experiment.chance]
    seeds = min((len(one.largest) for one in trained), default=0)
    if seeds < 2:
        return None
    needed = seeds_to_tell(found, -math.inf, threshold, seeds)
    if needed is None or needed > MOST_SEEDS:
        return None
    return sum((needed - len(one.largest)) * one.largest[0].seconds for one in trained) / 60
