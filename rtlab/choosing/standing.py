"""How a way stands in the search: what its trials came to, what it scores, and beside others."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtlab.choice import Ended
from rtlab.choosing.expecting import estimate, expected_score
from rtlab.choosing.results import FailedError, Result, Tried
from rtlab.choosing.ways import Extent, Rungs, Way
from rtlab.ending import StoppedError
from rtlab.recipe import ChoiceMetric
from rtlab.statistics import Interval, accuracy_interval, macro_f1_by_sentence, paired_difference


class Trying(Protocol):
    """What a search needs to be able to do; `rtlab.choosing.trials.Trials` does it, and a simulator may."""

    @property
    def sentences(self) -> int:
        """Training sentences that there are."""

    @property
    def sample(self) -> int:
        """Sentences of a first trial of words, where there are many more."""

    @property
    def left(self) -> float:
        """Seconds that are left."""

    @property
    def held_out(self) -> tuple[int, ...]:
        """Sentences that ways are compared on: of validation alone, then of one fold, of two, and so on, if any."""

    def after(self, way: Way, extent: Extent) -> float:
        """Seconds that are needed after the search if such a trial is recommended; 0 if nothing is known yet."""

    def cost(self, way: Way, extent: Extent, seed: int) -> float | None:
        """About how many seconds a trial takes, 0 of what is recorded; `None` if nothing is known yet."""

    def planned(self, plan: Callable[[], Rungs | None]) -> Rungs | None:
        """The plan that a process made before it was killed, else a new one."""

    def probe(self, way: Way) -> None:
        """Find out what a sentence costs."""

    @property
    def jobs(self) -> int:
        """How many trials there may be at once."""

    def together(self, seconds: Sequence[float], extent: Extent) -> float:
        """Seconds until trials have ended that take so many each when they are alone."""

    def run_all(self, ways: Sequence[Way], extent: Extent, seed: int) -> Iterable[tuple[Way, Tried]]:
        """Try ways, each with what it came to as soon as that is known."""


@dataclass(kw_only=True, eq=False)
class Standing:
    """How a way stands in the search.

    Attributes:
        way: Which.
        results: Of its trials, in order.
        status: How trying it ended, or would if the search ended now.
        why: Why, in a clause.
    """

    way: Way
    results: list[Result] = field(default_factory=list)
    status: Ended = "left out"
    why: str = "the search ended before it"

    @property
    def largest(self) -> list[Result]:
        """The trials with most training, on most folds; one per seed."""
        most = max(self.results, key=lambda one: (one.extent.seen, len(one.rows)), default=None)
        return [one for one in self.results if most is not None and one.extent == most.extent]


def probed(standing: Standing, trying: Trying) -> bool:
    """Whether a way can be done, and what it costs is known now."""
    try:
        trying.probe(standing.way)
    except FailedError as error:
        standing.status, standing.why = "failed", str(error)
        return False
    except StoppedError as error:
        standing.why = str(error)
        return False
    return True


def attempt(standing: Standing, trying: Trying, extent: Extent, seed: int) -> bool:
    """Try a way, and say whether there is a result."""
    return bool(attempt_all([standing], trying, extent, seed))


def attempt_all(standings: Sequence[Standing], trying: Trying, extent: Extent, seed: int) -> list[Standing]:
    """Try ways, and give those that there is a result of, in their order."""
    of_way = {one.way.name: one for one in standings}
    tried = trying.run_all([one.way for one in standings], extent, seed)
    done = {way.name for way, found in tried if _stands(of_way[way.name], found)}
    return [one for one in standings if one.way.name in done]


def _stands(standing: Standing, found: Tried) -> bool:
    """Whether that is a result, which stands from now on."""
    if isinstance(found, Result):
        standing.results.append(found)
        standing.status, standing.why = "finished", "compared"
        return True
    if not standing.results:
        standing.status, standing.why = "failed" if isinstance(found, FailedError) else "left out", str(found)
    return False


def needed_after(standings: Sequence[Standing], trying: Trying) -> float:
    """Seconds to be kept for what comes after the search, whichever way of those that have results is recommended."""
    return max((trying.after(one.way, last.extent) for one in standings for last in one.largest), default=0)


def too_dear(trying: Trying, way: Way, extent: Extent, seed: int) -> str:
    """Why a trial is not begun: what it takes, and what comes after it if it is recommended."""
    cost = trying.cost(way, extent, seed)
    if not cost:
        return "no time was left"
    return f"about {cost + trying.after(way, extent):,.0f} s, with {max(0.0, trying.left):,.0f} s left"


def scores_of(
    results: Sequence[Result], metric: ChoiceMetric, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """What each sentence that was held out scored under each seed, (S, N); its mean over sentences is the metric.

    Args:
        results: Of seeds that held out the same sentences.
        metric: What is counted.
        rows: Of which of these sentences, by where they stand (`Result.rows`); `None` for all.
    """
    places = _places(results[0], rows)
    classes_SN = np.stack([one.held_out.classes[places] for one in results])
    return by_sentence(results[0].held_out.labels[places], classes_SN, metric)


def _places(result: Result, rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Where some of the sentences that a trial held out stand among them; all for `None`."""
    if rows is None:
        return np.arange(len(result.rows))
    order = np.argsort(result.rows)
    return np.asarray(order[np.searchsorted(result.rows, rows, sorter=order)])


def by_sentence(
    labels_N: NDArray[np.integer], predicted_SN: NDArray[np.integer], metric: ChoiceMetric
) -> NDArray[np.float64]:
    """What each sentence scored under each seed, (S, N); its mean over sentences is the metric."""
    if metric == "macro-f1":
        return macro_f1_by_sentence(labels_N, predicted_SN)
    return np.asarray(predicted_SN == labels_N, dtype=np.float64)


def score(results: Sequence[Result], metric: ChoiceMetric) -> float:
    """The metric, the mean over seeds; -inf without results."""
    return float(scores_of(results, metric).mean()) if results else -math.inf


def estimated(results: Sequence[Result], metric: ChoiceMetric, rows: NDArray[np.int64] | None = None) -> float:
    """What the metric would be on many more sentences, the mean over seeds; -inf without results.

    Args:
        results: As of `scores_of`.
        metric: What is counted.
        rows: As of `scores_of`.
    """
    if not results:
        return -math.inf
    places = _places(results[0], rows)
    labels_N = results[0].held_out.labels[places]
    expected = fmean(
        expected_score(labels_N, one.held_out.classes[places], one.probabilities[places], metric) for one in results
    )
    return estimate(float(scores_of(results, metric, rows).mean()), expected, len(places))


def levels(standings: Iterable[Standing], metric: ChoiceMetric) -> dict[Standing, float]:
    """What is estimated of each way that has results, to be compared with one another, in their order.

    One that was compared on fewer sentences, some of the folds or validation alone, stands as far from the best of
    those on more as it does on the sentences that they have in common: which of them were held out must not count.
    """
    compared = [one for one in standings if one.results]
    found: dict[Standing, float] = {}
    for number in sorted({len(one.largest[0].rows) for one in compared}, reverse=True):
        best = max(found, key=lambda one: found[one], default=None)
        for one in (one for one in compared if len(one.largest[0].rows) == number):
            rows = None if best is None else common(one, best)
            found[one] = estimated(one.largest, metric, rows)
            if best is not None:
                found[one] = round(found[one] + found[best] - estimated(best.largest, metric, rows), 4)
    return {one: found[one] for one in compared}


def common(one: Standing, other: Standing) -> NDArray[np.int64]:
    """Which sentences both held out, by where they stand."""
    return np.intersect1d(one.largest[0].rows, other.largest[0].rows, assume_unique=True)


def difference(one: Standing, other: Standing, metric: ChoiceMetric) -> Interval:
    """Metric of one way minus that of another, on the same sentences, with its interval."""
    rows = common(one, other)
    return paired_difference(
        scores_of(one.largest, metric, rows),
        scores_of(other.largest, metric, rows),
        a_chance=one.largest[0].experiment.chance,
        b_chance=other.largest[0].experiment.chance,
    )


def interval(standing: Standing, metric: ChoiceMetric) -> Interval:
    """Its metric over all seeds of its largest trial, with its interval."""
    return accuracy_interval(scores_of(standing.largest, metric), chance=standing.largest[0].experiment.chance)


def interval_on_test(results: Sequence[Result], metric: ChoiceMetric) -> Interval:
    """The metric on test over all seeds, with its interval."""
    tests = [one.records[0].predictions["test"] for one in results]
    scores_SN = by_sentence(tests[0].labels, np.stack([one.classes for one in tests]), metric)
    return accuracy_interval(scores_SN, chance=results[0].experiment.chance)
